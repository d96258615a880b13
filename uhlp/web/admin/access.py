"""What every admin route asks for: the services and who is asking."""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from uhlp.access.administrator import Administrator
from uhlp.web.admin.role_table import needed_role
from uhlp.web.services import Services


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def _actor(request: Request) -> str:
    """The name of whose token the lane saw; a route that asks for it cannot be reached without."""
    administrator: Administrator = request.state.administrator
    return administrator.name


async def _is_writer(request: Request) -> bool:
    administrator: Administrator = request.state.administrator
    return administrator.role.covers(needed_role("PUT", "/admin/v1/apps/any/definition"))


ServicesDep = Annotated[Services, Depends(_services)]
ActorDep = Annotated[str, Depends(_actor)]
IsWriterDep = Annotated[bool, Depends(_is_writer)]
"""Whether who asks may write definitions."""

bearer = HTTPBearer(auto_error=False, description="An admin token; the lane checks it and its role first.")

"""What every admin route asks for: the services and who is asking."""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from uhlp.web.services import Services


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def _actor(request: Request) -> str:
    """The actor that the lane authenticated; a route that asks for one cannot be reached without."""
    actor: str = request.state.actor
    return actor


ServicesDep = Annotated[Services, Depends(_services)]
ActorDep = Annotated[str, Depends(_actor)]

bearer = HTTPBearer(auto_error=False, description="The admin token; the lane checks it before any route runs.")

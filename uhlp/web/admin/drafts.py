"""Drafts of applications: from a description to files that a person reviews and registers (contracts §7)."""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from uhlp.models.wire import WireModel
from uhlp.web.admin.access import ServicesDep

router = APIRouter(prefix="/drafts", tags=["applications"])


class DraftOrder(WireModel):
    """What the application is to do. `template` begins with one of them and asks no model."""

    description: Annotated[str, Field(min_length=1, max_length=4_000, pattern=r"\S")]
    template: Annotated[str, Field(max_length=40)] | None = None


@router.post("")
async def draft_application(body: DraftOrder, services: ServicesDep) -> dict[str, Any]:
    """Files of a definition and what is wrong with them yet; nothing is registered. A model writes them where the
    server has one, else they come from the template that fits.
    """
    return (await services.author.draft(body.description, template=body.template)).as_wire()

"""Versions of components: what served when and why, what changed between two, and the way back (seed 002)."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from uhlp.evolution.versions import SHOWN
from uhlp.models.wire import WireModel
from uhlp.web.admin.access import ActorDep, ServicesDep
from uhlp.web.admin.kept_text import KeptText

router = APIRouter(prefix="/apps/{app_id}/components/{component_id}", tags=["evolution"])

Limit = Annotated[int, Query(ge=1, le=1_000)]
VersionName = Annotated[str, Field(pattern=r"^(prompt(@[0-9a-f]{4,40})?|v[1-9][0-9]{0,8}|[0-9a-f]{4,40})$")]


class ReturnTo(WireModel):
    """`to`: `v2`, `prompt`, `prompt@<revision>`, or a revision: what was in service there."""

    to: VersionName
    reason: KeptText


@router.get("/versions")
async def versions(app_id: str, component_id: str, services: ServicesDep, limit: Limit = SHOWN) -> dict[str, Any]:
    """The newest handlers that were promoted and revisions of the prompt, 50 or `limit` of each, and what is in
    service: who, when, why, on what evidence, how long."""
    return await services.versions.listed(app_id, component_id, limit)


@router.get("/versions/diff")
async def diff(
    app_id: str,
    component_id: str,
    services: ServicesDep,
    old: Annotated[VersionName, Query(alias="from")],
    new: Annotated[VersionName, Query(alias="to")],
) -> dict[str, Any]:
    """What changed from one version to another, as `diff -u`."""
    return {"from": old, "to": new, "diff": await services.versions.diff(app_id, component_id, old, new)}


@router.post("/rollback")
async def rollback(
    app_id: str, component_id: str, body: ReturnTo, services: ServicesDep, actor: ActorDep
) -> dict[str, Any]:
    """Return to a version. A handler comes back with the evidence and the audits it had, if it may serve at all."""
    return await services.versions.return_to(app_id, component_id, body.to, actor=actor, reason=body.reason)

"""Executions of workflows: their timelines, and ending or forgetting them (contracts §7)."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import Field

from uhlp.models.wire import WireModel
from uhlp.web.admin.access import ActorDep, ServicesDep

router = APIRouter(tags=["executions"])


class CancelExecution(WireModel):
    """Why it is ended."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]


@router.get("/apps/{app_id}/executions")
async def executions(
    app_id: str,
    services: ServicesDep,
    component_id: Annotated[str | None, Query(alias="componentId")] = None,
    state: Literal["running", "waiting", "succeeded", "failed", "cancelled"] | None = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> dict[str, Any]:
    """Runs of the application's workflows, newest first; results are masked as samples are."""
    services.registry.snapshot(app_id)
    history = services.workflows.history
    return {"executions": await history.listed(app_id, component_id=component_id, state=state, limit=limit)}


@router.get("/apps/{app_id}/executions/{execution_id}")
async def execution(app_id: str, execution_id: str, services: ServicesDep) -> dict[str, Any]:
    """One run with every attempt of its steps, in the order in which they began."""
    services.registry.snapshot(app_id)
    return await services.workflows.history.timeline(app_id, execution_id)


@router.post("/apps/{app_id}/executions/{execution_id}/cancel")
async def cancel(
    app_id: str, execution_id: str, body: CancelExecution, services: ServicesDep, actor: ActorDep
) -> dict[str, Any]:
    """End a run with the steps that are being done; 409 when it has ended already."""
    await services.workflows.cancel(app_id, execution_id, why=f"Cancelled by {actor}: {body.reason}")
    return await services.workflows.history.answer(app_id, execution_id)


@router.delete("/apps/{app_id}/executions/{execution_id}", status_code=204)
async def delete(app_id: str, execution_id: str, services: ServicesDep) -> Response:
    """Forget a run that has ended, and all that it held."""
    await services.workflows.history.delete(app_id, execution_id)
    return Response(status_code=204)

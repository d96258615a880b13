"""Evaluations of components: ask for one, follow it, compare two (contracts §7)."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from uhlp.evals.eval_record import EvalOrder, EvalRecord, compared
from uhlp.web.admin.access import ServicesDep
from uhlp.web.admin.apps import component_of

router = APIRouter(prefix="/apps/{app_id}/evals", tags=["evaluations"])


@router.post("", status_code=202)
async def order_evaluation(app_id: str, body: EvalOrder, services: ServicesDep) -> dict[str, Any]:
    """Run a dataset through a component and score what it answers; `GET` the id for how far it is."""
    component_of(services.registry.snapshot(app_id), body.component_id)
    return _wire(await services.eval_runs.order(app_id, body))


@router.get("")
async def list_evaluations(
    app_id: str, services: ServicesDep, component_id: Annotated[str | None, Query(alias="componentId")] = None
) -> dict[str, Any]:
    """Newest first, without what came of each sample."""
    services.registry.snapshot(app_id)
    found = await services.eval_runs.all_of(app_id, component_id)
    return {"evals": [_wire(one.model_copy(update={"verdicts": ()})) for one in found]}


@router.get("/compare")
async def compare_evaluations(
    app_id: str,
    services: ServicesDep,
    first: Annotated[str, Query(alias="from", max_length=64)],
    second: Annotated[str, Query(alias="to", max_length=64)],
) -> dict[str, Any]:
    """What changed between two evaluations, sample by sample, the worst first."""
    before, after = await services.eval_runs.get(app_id, first), await services.eval_runs.get(app_id, second)
    short = {"from": _wire(before), "to": _wire(after)}
    for one in short.values():
        one.pop("verdicts")
    return {**short, **compared(before, after)}


@router.get("/{eval_id}")
async def get_evaluation(app_id: str, eval_id: str, services: ServicesDep) -> dict[str, Any]:
    """One evaluation with what came of each sample, redacted by the component's policy."""
    return _wire(await services.eval_runs.get(app_id, eval_id))


@router.post("/{eval_id}/cancel")
async def cancel_evaluation(app_id: str, eval_id: str, services: ServicesDep) -> dict[str, Any]:
    """End it, with what it has found so far: one that runs is `cancelled` a moment later. 409 when it is over."""
    return _wire(await services.eval_runs.cancel(app_id, eval_id))


def _wire(record: EvalRecord) -> dict[str, Any]:
    wire: dict[str, Any] = record.model_dump(mode="json", by_alias=True)
    return wire

"""Oversight of evolution: triggers, candidates, pause, ledger (design "Oversight")."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import Response, StreamingResponse
from pydantic import Field

from uhlp.errors import BadInput
from uhlp.evolution.candidate_page import MOST, USUAL
from uhlp.loops import LoopStatus
from uhlp.models.wire import WireModel
from uhlp.web.admin.access import ActorDep, ServicesDep
from uhlp.web.admin.apps import component_of
from uhlp.web.admin.kept_text import KeptText

router = APIRouter(tags=["evolution"])

CandidateAction = Literal[
    "approve", "reject", "pause", "resume", "rollback", "promote-full", "quarantine", "clear-quarantine"
]


class Optimize(WireModel):
    """`proposer` asks one proposer only (rule_learner, coder); without it the cheapest that has something is taken."""

    action: Literal["jit", "compress"] = "jit"
    reason: KeptText = "asked for by hand"
    proposer: Annotated[str, Field(max_length=60)] = ""


class Because(WireModel):
    reason: KeptText


class Scope(WireModel):
    """Without `appId` everything; with `componentId` one component of the application."""

    reason: KeptText
    app_id: str | None = None
    component_id: str | None = None


@router.post("/apps/{app_id}/components/{component_id}/optimize", status_code=202)
async def optimize(
    app_id: str, component_id: str, body: Optimize, services: ServicesDep, actor: ActorDep
) -> dict[str, Any]:
    """Start a candidate without waiting for a rule; verification is never skipped."""
    component_of(services.registry.snapshot(app_id), component_id)
    candidate_id = await services.evolution.optimize(
        app_id, component_id, action=body.action, actor=actor, reason=body.reason, proposer=body.proposer
    )
    return {"candidateId": candidate_id}


@router.get("/apps/{app_id}/components/{component_id}/why")
async def why(app_id: str, component_id: str, services: ServicesDep) -> dict[str, Any]:
    """Why the component runs as it does: what is proven, what is missing, how many, by when."""
    component_of(services.registry.snapshot(app_id), component_id)
    return await services.evolution.why(app_id, component_id)


@router.get("/candidates", response_model=dict[str, Any])
async def list_candidates(
    services: ServicesDep,
    app_id: Annotated[str | None, Query(alias="appId")] = None,
    state: str | None = None,
    limit: Annotated[int, Query(ge=1, le=MOST)] = USUAL,
    after: str | None = None,
) -> Response:
    """The newest proposed implementations, of one application or in one state where these are given: 100, or `limit`,
    1,000 at most.

    With `after`, the `cursor` of an earlier answer, those that follow it; a cursor of null says that there are no more.
    """
    page = await services.evolution.candidates(app_id, state, limit=limit, after=after)
    return Response(page.to_json(), media_type="application/json")


@router.get("/candidates/{candidate_id}")
async def get_candidate(candidate_id: str, services: ServicesDep) -> dict[str, Any]:
    """One candidate: timeline, evidence, mismatches, code, tests."""
    return await services.evolution.candidate(candidate_id)


@router.post("/candidates/{candidate_id}/{action}")
async def act_on_candidate(
    candidate_id: str, action: CandidateAction, body: Because, services: ServicesDep, actor: ActorDep
) -> dict[str, Any]:
    """Decide about a candidate: `approve`, `reject`, `pause`, `resume`, `rollback`, `promote-full`, `quarantine`, and
    for owners `clear-quarantine`. The reason is kept in the ledger.
    """
    return await services.evolution.act(candidate_id, action, actor=actor, reason=body.reason)


@router.get("/evolution")
async def overview(services: ServicesDep) -> dict[str, Any]:
    """State, loops and budgets."""
    return {**await services.evolution.overview(), "loops": [_shown(one) for one in services.loops()]}


def _shown(loop: LoopStatus) -> dict[str, Any]:
    ended = loop.last_cycle_ended_at
    return {
        "name": loop.name,
        "healthy": loop.is_healthy,
        "cycles": loop.cycles,
        "crashes": loop.crashes,
        "lastError": loop.last_error,
        "lastCycleEndedAt": None if ended is None else datetime.fromtimestamp(ended, UTC).isoformat(),
        "lastCycleS": loop.last_cycle_s,
    }


@router.post("/evolution/pause")
async def pause(body: Scope, services: ServicesDep, actor: ActorDep) -> dict[str, Any]:
    """Evolution of a component, an application or everything stops; what serves goes on."""
    _check(body)
    return await services.evolution.pause(
        app_id=body.app_id, component_id=body.component_id, actor=actor, reason=body.reason
    )


@router.post("/evolution/resume")
async def resume(body: Scope, services: ServicesDep, actor: ActorDep) -> dict[str, Any]:
    """It goes on."""
    _check(body)
    return await services.evolution.resume(
        app_id=body.app_id, component_id=body.component_id, actor=actor, reason=body.reason
    )


@router.get("/ledger")
async def ledger(
    services: ServicesDep,
    app_id: Annotated[str | None, Query(alias="appId")] = None,
    after: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> dict[str, Any]:
    """Decisions in order, from the first after sequence number `after`."""
    return {"entries": await services.evolution.ledger(app_id, after=after, limit=limit)}


@router.get(
    "/ledger/export", response_class=StreamingResponse, responses={200: {"content": {"application/x-ndjson": {}}}}
)
async def export_ledger(services: ServicesDep) -> StreamingResponse:
    """The whole ledger as JSON lines that `uhlp ledger verify --file` verifies without a server."""
    return StreamingResponse(services.evolution.export_ledger(), media_type="application/x-ndjson")


@router.post("/ledger/verify")
async def verify_ledger(services: ServicesDep) -> dict[str, Any]:
    """Recompute the hash chain; names the first bad entry."""
    return await services.evolution.verify_ledger()


def _check(scope: Scope) -> None:
    if scope.component_id is not None and scope.app_id is None:
        raise BadInput("A componentId needs its appId.")

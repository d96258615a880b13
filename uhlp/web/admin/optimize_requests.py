"""Requests to shorten a prompt: send one, follow it, cancel it (contracts §7, seed 004)."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from uhlp.errors import Conflict, UhlpError, ValidationFailed
from uhlp.models.experiment import Tag
from uhlp.models.wire import WireModel
from uhlp.optimization.compress import OptimizeRequest
from uhlp.optimization.compress.modifications import apply_report
from uhlp.optimization.compress.optimize_run import OptimizeRun
from uhlp.prompts.overrides.override_documents import ChangeNote
from uhlp.web.admin.access import ActorDep, ServicesDep
from uhlp.web.admin.apps import component_of
from uhlp.web.admin.kept_text import KeptText

router = APIRouter(prefix="/optimize-requests", tags=["optimize-requests"])


@router.post("", status_code=202)
async def send_request(body: OptimizeRequest, services: ServicesDep) -> dict[str, Any]:
    """Try shorter sections of a prompt. It changes nothing: the report says what lost nothing. A request id that was
    sent before is not worked on again.
    """
    services.prompts.get(body.prompt_ns, body.prompt_key)
    component_id = services.datasets.component_of(body.prompt_ns, body.prompt_key, wanted=body.component_id)
    for name in body.strategies:
        if name not in services.strategies:
            known = ", ".join(services.strategies)
            raise ValidationFailed(f"There is no strategy {name[:80]!r}; there are {known}.")
    evaluator = body.evaluator or await services.datasets.checked_evaluator_of(
        body.prompt_ns, component_id, body.dataset
    )
    request = body.model_copy(update={"component_id": component_id, "evaluator": evaluator})
    run = OptimizeRun(request=request, experiment_id=request.request_id)
    begun = await services.optimize_runs.begin(run)
    if (begun.request.prompt_ns, begun.request.prompt_key) != (request.prompt_ns, request.prompt_key):
        raise Conflict(f"The request id {request.request_id} is one of another prompt: send another one, or none.")
    try:
        await services.optimize_requests.send(request)
    except UhlpError:
        if begun is run:
            await services.optimize_runs.withdraw(run)
        raise
    return {"requestId": request.request_id}


@router.get("")
async def list_requests(
    services: ServicesDep, app_id: Annotated[str | None, Query(alias="appId")] = None
) -> dict[str, Any]:
    """Newest first; reports are in the single ones."""
    return {"requests": [described(one, is_short=True) for one in await services.optimize_runs.all_of(app_id)]}


@router.get("/{request_id}")
async def get_request(request_id: str, services: ServicesDep) -> dict[str, Any]:
    """Where the request stands, and its report once it is over."""
    return described(await services.optimize_runs.get(request_id))


@router.post("/{request_id}/cancel")
async def cancel_request(request_id: str, services: ServicesDep) -> dict[str, Any]:
    """End it after the runs under way; its report says what was found so far."""
    return described(await services.optimize_runs.cancel(request_id), is_short=True)


class ApplyReport(WireModel):
    """`tag` left out: the one that the report was measured on."""

    tag: Tag | None = None
    reason: KeptText = "applied by hand"


@router.post("/{request_id}/apply")
async def apply_request(request_id: str, body: ApplyReport, services: ServicesDep, actor: ActorDep) -> dict[str, Any]:
    """Put what the report has certified under a tag, as one commit. Under `stable` it serves from now on, on the
    report's word alone: nobody tries it on live traffic first.
    """
    run = await services.optimize_runs.get(request_id)
    if run.result is None:
        raise Conflict(f"The optimisation {request_id} is not over: {run.step}.")
    app_id, name, tag = run.request.prompt_ns, run.request.prompt_key, body.tag or run.request.baseline_tag
    put = await apply_report(
        services.overrides,
        services.prompts.get(app_id, name),
        run.result.report,
        tag=tag,
        output_schema=component_of(services.registry.snapshot(app_id), run.component_id).output_schema,
        provenance={"actor": actor, "reason": body.reason, "request": request_id},
        note=ChangeNote(f"Shorten {name} under {tag}\n\n{body.reason}", actor),
    )
    return {
        "promptNs": app_id, "promptKey": name, "tag": tag, "revision": put.revision, "sections": sorted(put.sections)
    }  # fmt: skip


def described(run: OptimizeRun, *, is_short: bool = False) -> dict[str, Any]:
    """A run as people see it: without its dataset, the report with its computed figures."""
    request = run.request
    wire: dict[str, Any] = {
        "requestId": request.request_id,
        "promptNs": request.prompt_ns,
        "promptKey": request.prompt_key,
        "componentId": run.component_id or request.component_id,
        "baselineTag": request.baseline_tag,
        "step": run.step,
        "createdAt": request.created_at.isoformat(),
        "samples": sum(run.samples),
        "spent": run.spent.model_dump(mode="json", by_alias=True),
    }
    if run.result is None:
        return wire
    report = run.result.report
    wire |= {
        "verdict": report.verdict,
        "reason": report.reason,
        "error": run.result.error,
        "completedAt": run.result.completed_at.isoformat(),
        "totalTokenReduction": report.total_token_reduction,
        "baselineTokenCount": report.baseline_token_count,
    }
    if is_short:
        return wire
    edits = [
        {
            **one.model_dump(mode="json", by_alias=True),
            "section": one.edit.section,
            "diff": one.diff,
            "measuredSaving": one.measured_saving,
            "baselinePassRate": one.baseline.pass_rate,
            "candidatePassRate": one.candidate.pass_rate,
        }
        for one in report.edits
    ]
    told = {**report.model_dump(mode="json", by_alias=True), "edits": edits}
    if report.certificate is not None:
        told["certificate"]["unseenLosers"] = report.certificate.unseen_losers
    return {**wire, "report": told}

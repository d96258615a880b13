"""OptimizeRun: how far a request has come, kept after every step, so that a redelivered request goes on from there."""

from enum import StrEnum

from pydantic import ValidationError

from uhlp.errors import Conflict, NotFound
from uhlp.evals.dataset import Dataset
from uhlp.models.wire import WireModel
from uhlp.optimization.compress.optimization_report import (
    ArmFigures,
    Certificate,
    EditVerdict,
    Modification,
    OptimizationReport,
    Spent,
    Verdict,
)
from uhlp.optimization.compress.optimize_request import OptimizeRequest, OptimizeResult
from uhlp.state.framework_values import FrameworkValues
from uhlp.state.runtime_store import MISSING, RuntimeValue
from uhlp.traffic.split import input_hash

_RUNS, _ACTIVE = "optimize-runs:", "optimize-active:"
_CANCELLED, _FORGOTTEN = "optimize-cancelled:", "optimize-forgotten:"
_KEPT_S = 30 * 86_400.0
_LONGER_S = 60.0
"""A worker that died blocks its application's other runs no longer than so many seconds beyond its budget."""


class RunForgotten(Exception):
    """The run's application is gone, and what was kept of it."""


class Step(StrEnum):
    """Where a run stands: the step that is done next, or how it ended."""

    QUEUED = "QUEUED"
    BASELINE = "BASELINE"
    PROPOSE = "PROPOSE"
    SCREEN = "SCREEN"
    CONFIRM = "CONFIRM"
    COMBINE = "COMBINE"
    DONE = "DONE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


OVER = frozenset({Step.DONE, Step.FAILED, Step.CANCELLED})


class OptimizeRun(WireModel):
    """One request and what is known of it. `delivery` is the token of the delivery that has written it.

    Once it is over `result` is there, and its samples are not kept any longer: the report counts them, `trained` has
    the hashes of those that were chosen by.
    """

    request: OptimizeRequest
    step: Step = Step.QUEUED
    experiment_id: str
    component_id: str = ""
    dataset: Dataset = Dataset()
    trained: tuple[str, ...] = ()
    delivery: int = 0
    baseline: ArmFigures = ArmFigures()
    baseline_digest: str = ""
    candidate_digest: str = ""
    baseline_prompt_tokens: int = 0
    edits: tuple[EditVerdict, ...] = ()
    combined: tuple[int, ...] = ()
    """Places in `edits` of what is accepted together."""
    certificate: Certificate | None = None
    verdict: Verdict = "failed"
    reason: str = ""
    spent: Spent = Spent()
    result: OptimizeResult | None = None

    @property
    def is_over(self) -> bool:
        return self.step in OVER

    @property
    def samples(self) -> tuple[int, int]:
        """How many there are to choose by, and how many held out."""
        if self.result is not None:
            return self.result.report.train, self.result.report.held_out
        return len(self.dataset.of_split("train")), len(self.dataset.of_split("held_out"))

    def ended(self, step: Step, result: OptimizeResult) -> "OptimizeRun":
        """The run once it is over: what people's requests held is not kept beside the samples themselves."""
        trained = tuple(input_hash(one.input) for one in self.dataset.of_split("train"))
        request = self.request.model_copy(update={"dataset": None})
        update = {"step": step, "result": result, "trained": trained, "dataset": Dataset(), "request": request}
        return self.model_copy(update=update)


class OptimizeRuns:
    """The runs of all workers that share a runtime store."""

    def __init__(self, *, values: FrameworkValues) -> None:
        self._values = values

    async def find(self, request_id: str) -> OptimizeRun | None:
        value = await self._values.get(_RUNS + request_id)
        return _run(value)

    async def get(self, request_id: str) -> OptimizeRun:
        """Raises NotFound."""
        run = await self.find(request_id)
        if run is None:
            raise NotFound(f"There is no optimisation with the request id {request_id}.")
        return run

    async def save(self, run: OptimizeRun) -> OptimizeRun:
        """Keep how far a run has come; what is kept then. A run that is over stays so, and one that was delivered again
        is the new worker's, whatever one still thinks that has lost its lease. RunForgotten.
        """
        key = _RUNS + run.request.request_id
        wire = run.model_dump(mode="json", by_alias=True)
        while True:
            value = await self._values.get(key)
            if not value.found:
                raise RunForgotten
            kept = _run(value)
            if kept is not None and (kept.is_over or kept.delivery > run.delivery):
                return kept
            if await self._values.compare_and_set(key, value, wire, ttl_seconds=_KEPT_S):
                return run

    async def begin(self, run: OptimizeRun) -> OptimizeRun:
        """Keep a run that has just been asked for; the one that is there already, where the request was sent twice."""
        made = run.model_dump(mode="json", by_alias=True)
        if await self._values.compare_and_set(_RUNS + run.request.request_id, MISSING, made, ttl_seconds=_KEPT_S):
            await self._values.delete(_FORGOTTEN + run.request.request_id)
            return run
        return await self.get(run.request.request_id)

    async def withdraw(self, run: OptimizeRun) -> None:
        """Forget a run that was begun just now and could not be sent."""
        await self._values.delete(_RUNS + run.request.request_id)

    async def all_of(self, app_id: str | None = None) -> list[OptimizeRun]:
        """Newest first."""
        runs = [_run(await self._values.get(key)) for key in await self._values.keys(_RUNS)]
        found = [one for one in runs if one is not None and app_id in (None, one.request.prompt_ns)]
        return sorted(found, key=lambda one: one.request.created_at.timestamp(), reverse=True)

    async def cancel(self, request_id: str) -> OptimizeRun:
        """Ask a run to end; it does so after the runs under way. Conflict when it is over. NotFound."""
        run = await self.get(request_id)
        if run.is_over:
            raise Conflict(f"The optimisation {request_id} is over: {run.step}.")
        await self._values.set(_CANCELLED + request_id, True, ttl_seconds=_KEPT_S)
        return run

    async def is_cancelled(self, request_id: str) -> bool:
        return (await self._values.get(_CANCELLED + request_id)).found

    async def occupy(self, run: OptimizeRun, message_id: str = "") -> bool:
        """Take the application for this run, or keep it; False while another one has it, or another message of the same
        request, which was sent twice. So no application takes all workers, and no prompt has two runs."""
        key = _ACTIVE + run.request.prompt_ns
        mine = RuntimeValue(found=True, value=_holder(run, message_id))
        for expected in (MISSING, mine):
            if await self._values.compare_and_set(
                key, expected, mine.value, ttl_seconds=run.request.budget.seconds + _LONGER_S
            ):
                return True
        return False

    async def vacate(self, run: OptimizeRun, message_id: str = "") -> None:
        key = _ACTIVE + run.request.prompt_ns
        if (await self._values.get(key)).value == _holder(run, message_id):
            await self._values.delete(key)

    async def forget(self, app_id: str) -> None:
        """Remove the runs of an application that is gone; one that is under way, or waits, is given up."""
        for run in await self.all_of(app_id):
            if not run.is_over:
                await self._values.set(_FORGOTTEN + run.request.request_id, True, ttl_seconds=_KEPT_S)
            await self._values.delete(_RUNS + run.request.request_id)

    async def is_forgotten(self, request_id: str) -> bool:
        return (await self._values.get(_FORGOTTEN + request_id)).found


def _holder(run: OptimizeRun, message_id: str) -> str:
    return f"{run.request.request_id} {message_id}"


def report_of(run: OptimizeRun, verdict: Verdict, reason: str) -> OptimizationReport:
    """What is known of a run, as its report; modifications only where their certificate was accepted."""
    certificate = run.certificate
    is_certified = certificate is not None and certificate.is_accepted
    modifications = [
        Modification(
            section_path=one.edit.path,
            original_hash=one.edit.original_hash,
            proposed_body=one.edit.proposed_body,
            token_reduction=one.edit.saves,
            baseline_pass_rate=one.baseline.pass_rate or 0.0,
            candidate_pass_rate=one.candidate.pass_rate or 0.0,
        )
        for one in (run.edits[place] for place in run.combined)
        if is_certified
    ]
    return OptimizationReport(
        experiment_id=run.experiment_id,
        prompt_ns=run.request.prompt_ns,
        prompt_key=run.request.prompt_key,
        component_id=run.component_id,
        baseline_tag=run.request.baseline_tag,
        baseline_digest=run.baseline_digest,
        candidate_digest=run.candidate_digest,
        dataset_digest=run.dataset.digest,
        train=len(run.dataset.of_split("train")),
        held_out=len(run.dataset.of_split("held_out")),
        verdict=verdict,
        reason=reason,
        baseline=run.baseline,
        edits=run.edits,
        certificate=certificate,
        modifications=tuple(modifications),
        spent=run.spent,
        rule=run.request.rule,
        baseline_prompt_tokens=run.baseline_prompt_tokens,
    )


def _run(value: RuntimeValue) -> OptimizeRun | None:
    if not value.found:
        return None
    try:
        return OptimizeRun.model_validate(value.value)
    except ValidationError:  # kept by another version of this server
        return None

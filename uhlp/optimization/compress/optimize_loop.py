"""OptimizeLoop: tries shorter prompts and answers with what lost nothing (seed 004).

QUEUED → BASELINE → PROPOSE → SCREEN → CONFIRM → COMBINE → DONE | FAILED | CANCELLED. Every step is kept before the next
one begins: a request that is delivered again goes on where it was, and one that is done is answered from what is kept.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Protocol

import structlog

from uhlp.clock import Clock, SystemClock
from uhlp.errors import UhlpError, ValidationFailed
from uhlp.evals.dataset import Dataset
from uhlp.evals.eval_request import EvalRequest, EvalResult
from uhlp.evals.evaluation import Evaluation
from uhlp.evals.evaluators import EvaluatorSpec
from uhlp.mailbox.cancelling import to_its_end
from uhlp.mailbox.mailbox import Mailbox
from uhlp.mailbox.mailbox_loop import Cycle, MailboxLoop
from uhlp.mailbox.mailbox_worker import MailboxWorker, Postpone, Retry
from uhlp.mailbox.message import Message
from uhlp.optimization.compress.arms import Arms, RunEnded, remove_arms
from uhlp.optimization.compress.optimization_report import Verdict
from uhlp.optimization.compress.optimize_request import OptimizeRequest, OptimizeResult
from uhlp.optimization.compress.optimize_run import OptimizeRun, OptimizeRuns, RunForgotten, Step, report_of
from uhlp.optimization.compress.optimize_steps import NotApplicable, OptimizeSteps
from uhlp.optimization.compress.strategy import CompressStrategy
from uhlp.prompts.overrides import PromptDescriptor, PromptOverridesStore, PromptRegistry

log = structlog.get_logger(__name__)

_OCCUPIED_RETRY_S = 15.0
_OUTAGE_RETRY_S = 30.0
_DELIVERIES = 8
"""After so many an outage ends the run instead of the message."""


OptimizeMessage = Message[OptimizeRequest, OptimizeResult]


class Subjects(Protocol):
    """What the loop needs to know of components: which one runs a prompt, and by what it is judged."""

    def component_of(self, ns: str, prompt_key: str) -> str:
        """The only component that runs the prompt. ValidationFailed when there is none, or several."""
        ...

    def evaluator_of(self, ns: str, component_id: str) -> EvaluatorSpec:
        """Its comparator. ValidationFailed where outputs cannot be compared by one."""
        ...

    async def dataset_of(self, ns: str, component_id: str) -> Dataset:
        """Its golden examples, adjudications and recorded samples."""
        ...


class NamedSubjects:
    """Knows of no component: whoever asks says all."""

    def component_of(self, ns: str, prompt_key: str) -> str:
        raise ValidationFailed("The request names no component (`componentId`).")

    def evaluator_of(self, ns: str, component_id: str) -> EvaluatorSpec:
        raise ValidationFailed("The request names no evaluator.")

    async def dataset_of(self, ns: str, component_id: str) -> Dataset:
        raise ValidationFailed("The request has no dataset.")


class OptimizeLoop(MailboxLoop[OptimizeRequest, OptimizeResult]):
    """Works on up to `concurrency` requests at once, each of another application; several of them, on any machines,
    share `requests` and the stores.

    Samples are run by EvalLoops, wherever they are: give the mailbox of theirs, `eval_requests`, or this process's
    Evaluation of it. Without `subjects` a request names its component, dataset and evaluator.
    """

    def __init__(
        self,
        *,
        strategy: CompressStrategy | Sequence[CompressStrategy],
        overrides_store: PromptOverridesStore,
        prompt_registry: PromptRegistry,
        requests: Mailbox[OptimizeRequest, OptimizeResult],
        runs: OptimizeRuns,
        eval_requests: Mailbox[EvalRequest, EvalResult] | None = None,
        evaluation: Evaluation | None = None,
        subjects: Subjects | None = None,
        clock: Clock = SystemClock(),  # noqa: B008  it has no state
        visibility_s: float = 60.0,
        concurrency: int = 1,
    ) -> None:
        beside: dict[str, Cycle] = {}
        if evaluation is None:
            if eval_requests is None:
                raise ValidationFailed("An OptimizeLoop needs `eval_requests` or an `evaluation`.")
            evaluation = Evaluation(requests=eval_requests, clock=clock)
            beside["eval-replies"] = evaluation.run_cycle
        worker = MailboxWorker(requests, self._handle, clock=clock, visibility_s=visibility_s)
        super().__init__(worker, clock=clock, concurrency=concurrency, beside=beside)
        several = strategy if isinstance(strategy, Sequence) else [strategy]
        self._steps = OptimizeSteps(strategies={one.name: one for one in several})
        self._store = overrides_store
        self._prompts = prompt_registry
        self._subjects = subjects or NamedSubjects()
        self._evaluation = evaluation
        self._runs = runs
        self._clock = clock

    async def _handle(self, message: OptimizeMessage) -> None:
        request = message.body
        if await self._runs.is_forgotten(request.request_id):
            return
        run = await self._runs.begin(OptimizeRun(request=request, experiment_id=request.request_id))
        if not run.is_over:
            if not await self._runs.occupy(run, message.id):
                raise Postpone(_OCCUPIED_RETRY_S, f"another run of {request.prompt_ns} is worked on")
            try:
                run = await self._runs.get(request.request_id)  # it may have gone on meanwhile
                if not run.is_over:
                    run = await self._work(run.model_copy(update={"delivery": message.token}), message)
            except RunForgotten:
                log.info("optimization_forgotten", app_id=request.prompt_ns, request_id=request.request_id)
                return
            finally:
                await to_its_end(self._leave(run, message))
        else:  # whoever ended it may have died before it cleared up
            await self._leave(run, message)
        if run.result is not None:
            await message.reply(run.result)

    async def _work(self, run: OptimizeRun, message: OptimizeMessage) -> OptimizeRun:
        """Take the run to its end. Retry: something was down; the next delivery goes on from the step it is in."""
        is_last = message.delivery_count >= _DELIVERIES
        try:
            return await self._optimize(run, message)
        except RunForgotten:
            raise
        except UhlpError as error:
            if error.retryable and not is_last:
                raise Retry(error.retry_after_s or _OUTAGE_RETRY_S, error.message) from None
            why = error.message
        except Exception as error:  # a strategy may be the user's own code
            if not is_last:
                raise
            why = f"{type(error).__name__}: {error}"[:1_000]
        kept = await self._runs.get(run.request.request_id)
        kept = kept.model_copy(update={"delivery": run.delivery})
        return await self._end(kept, Step.FAILED, "failed", why, error=why)

    async def _optimize(self, run: OptimizeRun, message: OptimizeMessage) -> OptimizeRun:
        """Do all steps that are left; what is decided is kept. Raises UhlpError for what is down or cannot be."""
        prompt = await self._prepare(run)
        run = await self._with_subject(run)
        arms = self._arms(run, message.token)
        steps: dict[Step, Callable[[OptimizeRun, PromptDescriptor, Arms], Awaitable[OptimizeRun]]] = {
            Step.QUEUED: self._steps.measure_baseline,
            Step.BASELINE: self._steps.measure_baseline,
            Step.PROPOSE: self._steps.propose,
            Step.SCREEN: self._steps.screen,
            Step.CONFIRM: self._steps.confirm,
            Step.COMBINE: self._steps.combine,
        }
        try:
            while not run.is_over:
                run = await steps[run.step](run, prompt, arms)
                if not run.is_over:
                    run = await self._keep(run, arms)
                await self._runs.occupy(run, message.id)
            return await self._end(run, run.step, run.verdict, run.reason, arms=arms)
        except NotApplicable as reason:
            return await self._end(run, Step.DONE, "not_applicable", str(reason), arms=arms)
        except RunEnded as ended:
            if str(ended) == "cancelled":
                return await self._end(run, Step.CANCELLED, "cancelled", "cancelled by hand", arms=arms)
            return await self._end(run, Step.DONE, "budget_exhausted", str(ended), arms=arms)
        except BaseException:  # what it took is not given back, though the step is done again
            await to_its_end(self._note_spent(run, arms))
            raise

    async def _leave(self, run: OptimizeRun, message: OptimizeMessage) -> None:
        """Nothing of the run is left behind but what is kept of it."""
        request = run.request
        with suppress(UhlpError):  # it ends by itself
            await remove_arms(
                self._store,
                request.prompt_ns,
                request.prompt_key,
                experiment_id=run.experiment_id,
                delivery=message.token,
            )
            await self._runs.vacate(run, message.id)

    async def _prepare(self, run: OptimizeRun) -> PromptDescriptor:
        """The prompt as the baseline has it. Strict: a tag that is not there, or stale, is told."""
        request = run.request
        descriptor = self._prompts.get(request.prompt_ns, request.prompt_key)
        resolved = await self._store.resolve(descriptor, request.baseline_tag, strict=True)
        return PromptDescriptor(descriptor.ns, descriptor.key, resolved.prompt)

    async def _with_subject(self, run: OptimizeRun) -> OptimizeRun:
        """The run with its component and dataset, which stay as they are for all of it."""
        request = run.request
        if run.component_id:
            return run
        component_id = request.component_id or self._subjects.component_of(request.prompt_ns, request.prompt_key)
        dataset = request.dataset
        if dataset is None:
            dataset = await self._subjects.dataset_of(request.prompt_ns, component_id)
        return run.model_copy(update={"component_id": component_id, "dataset": dataset, "step": Step.BASELINE})

    def _arms(self, run: OptimizeRun, delivery: int) -> Arms:
        request = run.request
        return Arms(
            evaluation=self._evaluation,
            store=self._store,
            prompt=self._prompts.get(request.prompt_ns, request.prompt_key),
            component_id=run.component_id,
            evaluator=request.evaluator or self._subjects.evaluator_of(request.prompt_ns, run.component_id),
            experiment_id=run.experiment_id,
            delivery=delivery,
            baseline_tag=request.baseline_tag,
            flags=request.flags,
            budget=request.budget,
            spent=run.spent,
            is_cancelled=lambda: self._runs.is_cancelled(request.request_id),
            clock=self._clock,
        )

    async def _keep(self, run: OptimizeRun, arms: Arms) -> OptimizeRun:
        return await self._runs.save(run.model_copy(update={"spent": arms.spent_by_now()}))

    async def _note_spent(self, run: OptimizeRun, arms: Arms) -> None:
        with suppress(UhlpError, RunForgotten):  # the store may be what is down
            await self._keep(run, arms)

    async def _end(
        self,
        run: OptimizeRun,
        step: Step,
        verdict: Verdict,
        reason: str,
        *,
        error: str | None = None,
        arms: Arms | None = None,
    ) -> OptimizeRun:
        if arms is not None:
            run = run.model_copy(update={"spent": arms.spent_by_now()})
        report = report_of(run, verdict, reason)
        result = OptimizeResult(request_id=run.request.request_id, report=report, error=error)
        log.info(
            "optimization_ended", app_id=run.request.prompt_ns, prompt=run.request.prompt_key, verdict=verdict,
            request_id=run.request.request_id, tokens_saved=report.total_token_reduction,
        )  # fmt: skip
        return await self._runs.save(run.ended(step, result))

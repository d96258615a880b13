"""RequestRouter: one request, from the choice of an implementation to the answer (seed 003 §3.4).

When a handler says "not mine", fails or takes too long, the same request is answered by the model.
What happened then leaves the request path: windows, sample and observation are handed over, never awaited.
"""

from collections.abc import Awaitable
from dataclasses import replace

from uhlp.clock import Clock
from uhlp.errors import DeadlineExceeded, ExecutionFailed, FallbackTooLate, HandlerFailed, NotRepeated, UhlpError
from uhlp.evolution.observation import ObservationQueue
from uhlp.execution import (
    ExecutionCall,
    ExecutionResult,
    Executor,
    HandlerImplementation,
    PromptImplementation,
    may_be_its_own,
)
from uhlp.llm.usage import UsageBook
from uhlp.metering import Meter
from uhlp.metrics.windows import Windows
from uhlp.routing.fair_slots import FairSlots
from uhlp.routing.instruments import RouterInstruments
from uhlp.routing.request import Reason, RoutedAnswer, RoutedRequest
from uhlp.routing.rollout import Choice, Rollout
from uhlp.routing.served_requests import ServedRequests
from uhlp.routing.workflow_requests import WorkflowRequests
from uhlp.sandbox.driver import Group
from uhlp.tools import Usage
from uhlp.traffic.samples import SampleStore

HANDLER_SHARE_OF_DEADLINE = 0.25
"""A handler's own deadline, so that a hung one leaves the model its time."""

LEAST_SHARE_OF_ITS_TIME = 0.5
"""A handler that had less of its own deadline, because its caller is in a hurry or the request waited, and did not end,
is not said to hang."""

WAITING_SHARE = 0.5
"""Of its deadline, in which a handler has to have a worker. Where all have to wait, because some hang, whoever waited
longer would be cut off too soon to be told from one that hangs, and nothing would be known of any."""

TRIED_PROMPTS_SHARE_OF_DEADLINE = 0.5
"""A prompt that is tried leaves the one in service as much time as it has itself."""

MIN_FALLBACK_S = 0.05
"""Less than this left and the model is not asked any more."""


class RequestRouter:
    """Answers requests of every source; one instance a server.

    `workflows` answers for components that run one, which take no slot. `deopt_every_n` is a stress switch: the model
    answers every n-th request that a handler would have answered.
    """

    def __init__(
        self,
        *,
        executor: Executor,
        slots: FairSlots,
        rollout: Rollout,
        observations: ObservationQueue,
        windows: Windows,
        samples: SampleStore,
        usage: UsageBook,
        clock: Clock,
        meter: Meter,
        workflows: WorkflowRequests | None = None,
        deopt_every_n: int | None = None,
    ) -> None:
        self._executor = executor
        self._slots = slots
        self._workflows = workflows
        self._deopt_every_n = deopt_every_n
        self._handler_requests = 0
        self._rollout = rollout
        self._clock = clock
        self._instruments = RouterInstruments(meter)
        self._served = ServedRequests(
            observations=observations,
            windows=windows,
            samples=samples,
            usage=usage,
            instruments=self._instruments,
            clock=clock,
        )

    async def handle(self, request: RoutedRequest) -> RoutedAnswer:
        """The component's answer to `request`. Raises UhlpError when neither handler nor model could give one, and
        TooManyRequests when nothing has run, because its application asks for more than its share."""
        started = self._clock.monotonic()
        deadline = started + request.component.definition.timeout_ms / 1000
        if request.deadline is not None:
            deadline = min(deadline, request.deadline)
        if deadline <= started:
            raise DeadlineExceeded
        if request.component.workflow is not None and self._workflows is not None:
            return await self._workflows.answer(request, started, deadline, self._instruments)
        app_id, component_id = request.app.app_id, request.component.definition.component_id
        limit = request.component.definition.max_concurrency
        waited_ms = 0.0
        if not self._slots.take(app_id, component_id, limit):
            await self._slots.wait(app_id, component_id, limit, timeout_s=deadline - started)
            begun = self._clock.monotonic()
            started, waited_ms = begun, (begun - started) * 1000
        try:
            answer = await self._run_in_slot(request, started, deadline)
        finally:
            self._slots.give_back(app_id, component_id, limit)
        return replace(answer, timings=(("queue", waited_ms), *answer.timings)) if waited_ms else answer

    async def _run_in_slot(self, request: RoutedRequest, started: float, deadline: float) -> RoutedAnswer:
        choice = self._rollout.choose(request)
        in_flight = self._instruments.in_flight(request.app.app_id, request.component.definition.component_id)
        in_flight.inc()
        try:
            return await self._route(request, choice, started, deadline)
        finally:
            in_flight.dec()
            if choice.assigned is not None:
                choice.finish(None)  # the client left; an outcome that is known was told before

    async def _route(self, request: RoutedRequest, choice: Choice, started: float, deadline: float) -> RoutedAnswer:
        implementation, has_model = choice.implementation, choice.fallback is not None
        timeout_s = own_s = deadline - started
        if isinstance(implementation, PromptImplementation):
            return await self._ask_by(implementation, request, choice, started, deadline)
        if has_model:
            own_s = HANDLER_SHARE_OF_DEADLINE * request.component.definition.timeout_ms / 1000
            if choice.timeout_s is not None:
                own_s = min(own_s, choice.timeout_s)
            timeout_s = min(HANDLER_SHARE_OF_DEADLINE * timeout_s, own_s)
            if self._is_switched_to_model():
                skipped = ExecutionResult(outcome="deoptimize", failure="manual", latency_ms=0.0, usage=Usage())
                return await self._deoptimise(request, choice, skipped, started, deadline)
        wait_s = WAITING_SHARE * timeout_s if has_model else None
        result = await self._run(request, implementation, choice.group, timeout_s, wait_s=wait_s)
        if result.failure == "timeout" and timeout_s < LEAST_SHARE_OF_ITS_TIME * own_s:
            result = replace(result, was_hurried=True)
        if not has_model or (result.outcome == "ok" and not _is_held_back(choice, result)):
            return self._answer(request, choice, result, started)
        return await self._deoptimise(request, choice, result, started, deadline)

    async def _ask_by(
        self, prompt: PromptImplementation, request: RoutedRequest, choice: Choice, started: float, deadline: float
    ) -> RoutedAnswer:
        """The model, by the prompt in service or by one that is tried. No request fails for the sake of a prompt that
        was not there before: where it does not answer, and that may be its own fault, the one before it is asked.
        """
        timeout_s = deadline - started
        if choice.live is not None:
            timeout_s *= TRIED_PROMPTS_SHARE_OF_DEADLINE
            if choice.timeout_s is not None:
                timeout_s = min(timeout_s, choice.timeout_s)
        result = await self._run(request, prompt, choice.group, timeout_s)
        if choice.fallback is None or result.outcome == "ok" or not (may_be_its_own(result) or choice.live is not None):
            return self._answer(request, choice, result, started)
        return await self._deoptimise(request, choice, result, started, deadline)

    def _is_switched_to_model(self) -> bool:
        if self._deopt_every_n is None:
            return False
        self._handler_requests += 1
        return self._handler_requests % self._deopt_every_n == 0

    async def _deoptimise(
        self, request: RoutedRequest, choice: Choice, failed: ExecutionResult, started: float, deadline: float
    ) -> RoutedAnswer:
        """Answer with the model what the handler, or another prompt, did not, or is not trusted to."""
        reason = failed.failure or "guard"
        definition = request.component.definition
        left_s = deadline - self._clock.monotonic()
        if definition.effective_effects == "write" and failed.has_acted:
            self._served.finish(request, choice, failed, started, handler_result=failed)
            raise NotRepeated(details={"reason": reason})
        if left_s < MIN_FALLBACK_S:
            failed = replace(failed, outcome="deoptimize") if failed.outcome == "ok" else failed
            self._served.finish(request, choice, failed, started, handler_result=failed, by_model=choice.is_by_prompt)
            raise FallbackTooLate(details={"reason": reason})
        assert choice.fallback is not None  # noqa: S101  the caller asked
        self._instruments.deoptimised(request.app.app_id, definition.component_id, reason)
        result = await self._run(request, choice.fallback, "serving", left_s)
        return self._answer(request, choice, result, started, handler_result=failed, deoptimized=reason)

    def _run(
        self,
        request: RoutedRequest,
        implementation: PromptImplementation | HandlerImplementation,
        group: Group,
        timeout_s: float,
        *,
        wait_s: float | None = None,
    ) -> Awaitable[ExecutionResult]:
        return self._executor.run(
            ExecutionCall(
                app=request.app,
                component=request.component,
                implementation=implementation,
                input=request.input,
                request_id=request.trace_id,
                trace_id=request.trace_id,
                trace=request.trace,
                timeout_s=timeout_s,
                wait_s=wait_s,
                source=request.source,
                source_details=request.source_details,
                user_info=request.user_info,
                session_id=request.session_id,
                purpose="serve",
                group=group,
            )
        )

    def _answer(
        self,
        request: RoutedRequest,
        choice: Choice,
        result: ExecutionResult,
        started: float,
        *,
        handler_result: ExecutionResult | None = None,
        deoptimized: str | None = None,
    ) -> RoutedAnswer:
        by_model = deoptimized is not None or choice.is_by_prompt
        is_tried = choice.live is not None and choice.live.is_prompt
        answered_by = choice.fallback.label if deoptimized and choice.fallback is not None else choice.label
        self._served.finish(
            request, choice, result, started,
            handler_result=handler_result or (result if is_tried or not by_model else None),
            deoptimized=deoptimized,
            by_model=by_model,
            answered_by=answered_by,
        )  # fmt: skip
        if result.outcome != "ok":
            raise _error_of(result)
        return RoutedAnswer(
            result=result,
            handler="llm" if by_model else "jit",
            implementation=answered_by,
            reason=_reason(choice, result, deoptimized, by_model=by_model),
            deoptimized=deoptimized,
            timings=(
                *((("handler", handler_result.latency_ms),) if handler_result else ()),
                ("model" if by_model else "handler", result.latency_ms),
            ),
        )


def _reason(choice: Choice, result: ExecutionResult, deoptimized: str | None, *, by_model: bool) -> Reason:
    if deoptimized not in (None, "guard"):
        return "ERROR"
    return "CACHED" if by_model and result.usage.is_cached else choice.reason


def _is_held_back(choice: Choice, result: ExecutionResult) -> bool:
    """Whether the handler is not trusted with the class of this answer; an answer that has acted is used as it is."""
    guard = choice.live.class_guard if choice.live is not None else None
    return guard is not None and not result.has_acted and guard.holds_back(result.data)


def _error_of(result: ExecutionResult) -> UhlpError:
    if result.error is not None:
        return result.error
    if result.outcome == "deoptimize":
        return HandlerFailed("The handler left this input to the model, and the component has no prompt.")
    return ExecutionFailed()

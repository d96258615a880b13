"""MainLoop: one request for one component, asked from inside, perhaps under an experiment (seed 004)."""

from uhlp.clock import Clock, SystemClock
from uhlp.errors import (
    BadModelAnswer,
    ComponentNotFound,
    ExecutionFailed,
    OutputInvalid,
    OverrideConflict,
    UhlpError,
    ValidationFailed,
)
from uhlp.execution import ExecutionCall, ExecutionResult, Executor, PromptImplementation, may_be_its_own
from uhlp.mailbox.mailbox import Mailbox
from uhlp.mailbox.mailbox_loop import MailboxLoop
from uhlp.mailbox.mailbox_worker import MailboxWorker
from uhlp.mailbox.message import Message
from uhlp.models.experiment import Experiment
from uhlp.models.main_loop import MainLoopFault, MainLoopRequest, MainLoopResult
from uhlp.prompts.overrides import PromptDescriptor, PromptOverridesStore
from uhlp.prompts.overrides.override_set import STABLE
from uhlp.registry.snapshot import AppSnapshot, Artifact, ComponentSnapshot, Snapshots
from uhlp.routing.component_requests import ComponentRequests, check_input
from uhlp.tools.session import Usage


class MainLoop:
    """Answers requests in this process: through the router, or under an experiment beside it, so that no window, no
    sample and no candidate sees what an experiment does.
    """

    def __init__(
        self,
        *,
        registry: Snapshots,
        requests: ComponentRequests,
        executor: Executor,
        overrides: PromptOverridesStore,
        clock: Clock,
    ) -> None:
        self._registry = registry
        self._requests = requests
        self._executor = executor
        self._overrides = overrides
        self._clock = clock

    async def execute(self, request: MainLoopRequest) -> MainLoopResult:
        """The answer, or the fault in its place; never raises for what a component did."""
        started = self._clock.monotonic()
        try:
            if request.experiment is None:
                return await self._served(request, started)
            return await self._tried(request, request.experiment, started)
        except UhlpError as error:
            is_own = request.experiment is None and isinstance(error, BadModelAnswer | OutputInvalid)
            return MainLoopResult(
                request_id=request.request_id,
                fault=_fault(error, is_own=is_own),
                latency_ms=(self._clock.monotonic() - started) * 1000,
            )

    async def _served(self, request: MainLoopRequest, started: float) -> MainLoopResult:
        answer = await self._requests.ask(
            request.app_id, request.component_id, request.input, source="internal", timeout_s=request.deadline_s
        )
        usage = answer.result.usage if isinstance(answer.result, ExecutionResult) else None
        return MainLoopResult(
            request_id=request.request_id,
            output=answer.result.data,
            implementation=answer.implementation,
            latency_ms=(self._clock.monotonic() - started) * 1000,
            tokens_in=usage.tokens_in if usage is not None else 0,
            tokens_out=usage.tokens_out if usage is not None else 0,
            cost_usd=_cost_of(usage) if usage is not None else None,  # what the steps of a workflow took
        )

    async def _tried(self, request: MainLoopRequest, experiment: Experiment, started: float) -> MainLoopResult:
        app = self._registry.snapshot(request.app_id)
        component = app.components.get(request.component_id)
        if component is None:
            raise ComponentNotFound(f"The application {request.app_id} has no component {request.component_id}.")
        check_input(component, request.input)
        artifact = await self._artifact(app, component, experiment.overrides_tag)
        timeout_s = component.definition.timeout_ms / 1000
        ran = await self._executor.run(
            ExecutionCall(
                app=app,
                component=component,
                implementation=PromptImplementation(artifact, experiment.overrides_tag),
                input=request.input,
                request_id=request.request_id,
                trace_id=request.request_id,
                timeout_s=timeout_s if request.deadline_s is None else min(timeout_s, request.deadline_s),
                group="serving",
                purpose="eval",
                source="internal",
                experiment=experiment,
                budget=request.budget,
            )
        )
        return _result(request, ran, artifact, experiment)

    async def _artifact(self, app: AppSnapshot, component: ComponentSnapshot, tag: str) -> Artifact:
        """The component's prompt as `tag` has it, strictly: an experiment is told of what is missing or stale."""
        prompt, served = component.prompt, component.prompt_artifact
        if prompt is None or served is None:
            raise ValidationFailed(f"{component.definition.component_id} has no prompt that a tag could change.")
        descriptor = PromptDescriptor.of(app.app_id, prompt)
        if tag == STABLE:
            stale = [one for one in app.stale_overrides if one.startswith(f"{descriptor.key}/")]
            if stale:
                raise OverrideConflict(f"{', '.join(stale)} is overridden for another body than the one that is there.")
            return served
        resolved = await self._overrides.resolve(descriptor, tag, strict=True)
        return Artifact.of(prompt.path, resolved.prompt.artifact(component.output_schema))


class MainLoopWorker(MailboxLoop[MainLoopRequest, MainLoopResult]):
    """The MainLoop behind a mailbox, for whoever asks from another process."""

    def __init__(
        self,
        *,
        loop: MainLoop,
        requests: Mailbox[MainLoopRequest, MainLoopResult],
        clock: Clock = SystemClock(),  # noqa: B008  it has no state
        concurrency: int = 4,
    ) -> None:
        super().__init__(MailboxWorker(requests, self._handle, clock=clock), clock=clock, concurrency=concurrency)
        self._loop = loop

    async def _handle(self, message: Message[MainLoopRequest, MainLoopResult]) -> None:
        await message.reply(await self._loop.execute(message.body))


def _result(
    request: MainLoopRequest, ran: ExecutionResult, artifact: Artifact, experiment: Experiment
) -> MainLoopResult:
    is_ok = ran.outcome == "ok"
    return MainLoopResult(
        request_id=request.request_id,
        output=ran.data if is_ok else None,
        fault=None if is_ok else _fault(ran.error or ExecutionFailed(), is_own=may_be_its_own(ran)),
        implementation=f"prompt@{experiment.overrides_tag}",
        prompt_digest=artifact.sha256,
        latency_ms=ran.latency_ms,
        tokens_in=ran.usage.tokens_in,
        tokens_out=ran.usage.tokens_out,
        cost_usd=_cost_of(ran.usage),
    )


def _cost_of(usage: Usage) -> float | None:
    return None if usage.unpriced_calls else usage.cost_usd


def _fault(error: UhlpError, *, is_own: bool) -> MainLoopFault:
    return MainLoopFault(code=error.code, message=error.message, is_retryable=error.retryable, is_own=is_own)

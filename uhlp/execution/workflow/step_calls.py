"""StepCalls: what a step asks of components and tools, in the workflow's name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from uhlp.clock import Clock
from uhlp.errors import OutputInvalid
from uhlp.execution.workflow.live_run import LiveRun
from uhlp.execution.workflow.outcome import Outcome, failed_with
from uhlp.execution.workflow.records import RunRecord
from uhlp.models.execute import Source
from uhlp.tools.allowed_tools import tools_for_user
from uhlp.tools.context import ToolContext
from uhlp.tools.session import ToolSession, Usage
from uhlp.tools.tool_namespaces import ToolNamespaces
from uhlp.tracing import TraceContext

_NO_USAGE = Usage()


class StepResult(Protocol):
    """What a component gave (contracts §6: result type and data)."""

    @property
    def result_type(self) -> str: ...
    @property
    def data(self) -> Any: ...


class StepAnswer(Protocol):
    """A component's answer, and which implementation gave it."""

    @property
    def result(self) -> StepResult: ...
    @property
    def implementation(self) -> str: ...


class ComponentRequests(Protocol):
    """Ordinary requests for components (routing.ComponentRequests)."""

    async def ask(
        self,
        app_id: str,
        component_id: str,
        input: dict[str, Any],  # noqa: A002  the protocol's word
        *,
        source: Source,
        source_details: dict[str, Any] | None,
        trace_id: str | None,
        trace: TraceContext | None,
        session_id: str | None,
        user_info: dict[str, Any] | None,
        timeout_s: float,
    ) -> StepAnswer: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPlace:
    """Which step of which workflow calls, and the text that names this execution to what it calls."""

    workflow_id: str
    step_id: str
    idempotency_key: str


class StepCalls:
    """One instance a server. `components` is asked for at each call: it stands above what is made here."""

    def __init__(self, *, components: Callable[[], ComponentRequests], tools: ToolNamespaces, clock: Clock) -> None:
        self._components = components
        self._tools = tools
        self._clock = clock

    async def component(
        self, run: LiveRun, place: StepPlace, component_id: str, given: dict[str, Any], *, attempt: int,
        timeout_s: float | None,
    ) -> Outcome:  # fmt: skip
        """Ask a component as it is registered now. Raises UhlpError."""
        record = run.record
        answer = await self._components().ask(
            record.app_id,
            component_id,
            given,
            source="internal",
            source_details={
                "workflowInfo": {"workflowId": place.workflow_id, "stepId": place.step_id},
                "executionId": record.run_id,
                "idempotencyKey": place.idempotency_key,
                "attempt": attempt,
            },
            trace_id=record.trace_id,
            trace=_trace_of(run),
            session_id=record.session_id,
            user_info=record.user_info,
            timeout_s=self._left_s(record, timeout_s),
        )
        result = answer.result
        usage = getattr(result, "usage", _NO_USAGE)
        if result.result_type == "error":
            return told_error(result.data, answer.implementation, usage)
        return Outcome(
            output=result.data,
            result_format=result.result_type,
            implementation=answer.implementation,
            usage=usage,
        )

    async def tool(
        self, run: LiveRun, place: StepPlace, tool: str, arguments: dict[str, Any], *, timeout_s: float | None
    ) -> Outcome:
        """Call a tool as the workflow's component, which must be allowed it. Raises UhlpError."""
        record, definition = run.record, run.component.definition
        session = ToolSession(
            self._tools,
            ToolContext(
                app_id=record.app_id,
                component_id=record.component_id,
                request_id=place.idempotency_key,
                trace_id=record.trace_id,
                deadline=self._clock.monotonic() + self._left_s(record, timeout_s),
                allowed_tools=tools_for_user(definition.tools, record.user_info),
                llm=run.app.definition.llm,
                configuration=run.component.configuration,
                purpose="serve",
                input=arguments,
                trace=_trace_of(run),
                idempotency_key=place.idempotency_key,
            ),
        )
        result = await session.call(tool, arguments)
        return Outcome(output=_content_of(tool, result), implementation=f"tool {tool}", usage=session.usage)

    def _left_s(self, record: RunRecord, timeout_s: float | None) -> float:
        """A step's own time, and no more than its run has left."""
        left_s = record.deadline - self._clock.now()
        return left_s if timeout_s is None else min(left_s, timeout_s)


def _trace_of(run: LiveRun) -> TraceContext:
    """Where the run stands in its trace; a run that is gone on with stays where it was begun."""
    headers = {name: value.encode("ascii", "replace") for name, value in (run.record.trace or {}).items()}
    if "traceparent" not in headers:
        return TraceContext(run.record.trace_id)
    return TraceContext.read(headers["traceparent"], headers.get("tracestate"))


def told_error(data: Any, implementation: str | None = None, usage: Usage = _NO_USAGE) -> Outcome:
    """The outcome of a component or workflow that chose to answer with an error {code, message, details?}."""
    if not isinstance(data, dict) or not isinstance(data.get("code"), str):
        raise OutputInvalid("An error is an object {code, message, details}.")
    details = data.get("details")
    message = str(data.get("message") or "The component answered with an error.")
    told = failed_with(data["code"], message, details=details if isinstance(details, dict) else None)
    return Outcome(error=told.error, implementation=implementation, usage=usage)


def _content_of(tool: str, result: dict[str, Any]) -> Any:
    """Tools of `core` give their result as it is, those of MCP servers what MCP wraps around it."""
    if tool.startswith("core."):
        return result
    return result["structuredContent"] if result.get("structuredContent") is not None else result.get("content")

"""Executor: one implementation, one input, one result."""

from collections.abc import Coroutine
from itertools import count
from typing import TYPE_CHECKING, Any

from uhlp.catalogue import traffic
from uhlp.clock import Clock
from uhlp.errors import DefinitionInvalid, UhlpError
from uhlp.execution.call import (
    ExecutionCall,
    ExecutionResult,
    FailureReason,
    HandlerImplementation,
    PromptImplementation,
)
from uhlp.execution.failures import failure_of_response, failure_of_sandbox, failure_of_schema
from uhlp.execution.result_format import format_problems
from uhlp.execution.wire import execute_request
from uhlp.metering import Meter
from uhlp.models.definition import PoolDefinition, prompt_pool
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot
from uhlp.sandbox.manager import SandboxManager
from uhlp.tools.allowed_tools import tools_for_user
from uhlp.tools.context import ToolContext
from uhlp.tools.core.llm_generate import LLM_GENERATE
from uhlp.tools.recorded_session import RecordedSession
from uhlp.tools.session import ToolSession
from uhlp.tools.tool_namespaces import ToolNamespaces
from uhlp.tools.tool_sessions import ToolSessions
from uhlp.tracing import TraceContext

if TYPE_CHECKING:
    from uhlp.tracing.tracer import Tracer


class Executor:
    """Claims a sandbox, runs, checks the answer. Stateless; one instance a server."""

    def __init__(
        self,
        *,
        sandboxes: SandboxManager,
        tools: ToolNamespaces,
        clock: Clock,
        meter: Meter,
        deployment_mode: str,
        sessions: ToolSessions | None = None,
        tracer: "Tracer | None" = None,
    ) -> None:
        self._sandboxes = sandboxes
        self._tools = tools
        self._sessions = sessions or ToolSessions()
        self._clock = clock
        self._deployment_mode = deployment_mode
        self._tracer = tracer
        self._numbers = count(1)
        self._executions = traffic.EXECUTIONS.on(meter)

    def run(self, call: ExecutionCall) -> Coroutine[Any, Any, ExecutionResult]:
        """Run `call` to its end. Never raises for what a sandbox or a model did, nor when no sandbox is to be had:
        that is in the result. A cancelled run frees its worker."""
        trace = call.trace or TraceContext.of(call.trace_id)
        if self._tracer is None:
            return self._execute(call, trace)
        return self._traced(call, trace, self._tracer)

    async def _traced(self, call: ExecutionCall, trace: TraceContext, tracer: "Tracer") -> ExecutionResult:
        facts = {
            "uhlp.app_id": call.app.app_id,
            "uhlp.component_id": call.component.definition.component_id,
            "uhlp.implementation": call.implementation.label,
            "uhlp.purpose": call.purpose,
        }
        with tracer.span("execution", trace, facts) as span:
            result = await self._execute(call, span.trace)
            span.set("uhlp.outcome", result.failure or result.outcome)
            if result.error is not None:
                span.failed(result.error.code)
            return result

    async def _execute(self, call: ExecutionCall, trace: TraceContext) -> ExecutionResult:
        started_s = self._clock.monotonic()
        session = ToolSession(self._tools, _tool_context(call, started_s, trace))
        if call.recorded is not None:
            is_prompt = isinstance(call.implementation, PromptImplementation)
            passed = frozenset({LLM_GENERATE}) if is_prompt else frozenset[str]()
            session = RecordedSession(session, call.recorded, passed=passed)
        result = await self._run(call, session, started_s)
        self._count(call, result)
        return result

    def _count(self, call: ExecutionCall, result: ExecutionResult) -> None:
        self._executions.labels(
            call.app.app_id,
            call.component.definition.component_id,
            "JIT" if isinstance(call.implementation, HandlerImplementation) else "LLM",
            call.purpose,
            result.failure or result.outcome,
        ).inc()

    async def _run(self, call: ExecutionCall, session: ToolSession, started_s: float) -> ExecutionResult:
        # One HTTP request may run several implementations at once: their calls must not be taken for each other.
        request_id = f"{call.request_id}.{next(self._numbers)}"
        artifact = call.implementation.artifact
        try:
            with self._sessions.running(request_id, session):
                response = await self._sandboxes.execute(
                    call.app.app_id,
                    _pool_of(call),
                    execute_request(call, request_id, self._deployment_mode),
                    artifacts={artifact.sha256: artifact.content},
                    call_tool=session.call,
                    timeout_s=call.timeout_s,
                    group=call.group,
                    wait_s=call.wait_s,
                    trace=session.context.trace,
                )
        except UhlpError as error:
            return self._failed(session, started_s, *failure_of_sandbox(error))
        if response["resultType"] == "deoptimize" and isinstance(call.implementation, HandlerImplementation):
            return self._ended(session, started_s, outcome="deoptimize", failure="guard", data=response["data"])
        failure = failure_of_response(call, response, session.last_error)
        if failure is not None:
            return self._failed(session, started_s, *failure)
        result_format = call.component.definition.expected_result_format
        data = response["data"]
        problems = format_problems(result_format, data) or _schema_problems(call.component, data)
        if problems:
            return self._failed(session, started_s, *failure_of_schema(call, problems))
        return self._ended(session, started_s, outcome="ok", result_type=result_format, data=data)

    def _failed(
        self, session: ToolSession, started_s: float, failure: FailureReason, error: UhlpError
    ) -> ExecutionResult:
        return self._ended(session, started_s, outcome="failed", failure=failure, error=error)

    def _ended(self, session: ToolSession, started_s: float, **fields: Any) -> ExecutionResult:
        return ExecutionResult(
            latency_ms=(self._clock.monotonic() - started_s) * 1000,
            began_s=started_s,
            usage=session.usage,
            tool_calls=tuple(session.calls),
            has_acted=session.begun > 0,
            unrecorded=tuple(session.unrecorded) if isinstance(session, RecordedSession) else (),
            **fields,
        )


def pool_of(app: AppSnapshot, component: ComponentSnapshot) -> PoolDefinition:
    """The pool a component runs in. Raises DefinitionInvalid when the application has none of this name."""
    name = component.definition.target_pool_name
    pool = app.definition.pool(name)
    if pool is None:
        raise DefinitionInvalid(f"Component {component.definition.component_id} names pool {name}, which is not there.")
    return pool


def _pool_of(call: ExecutionCall) -> PoolDefinition:
    pool = pool_of(call.app, call.component)
    return pool if isinstance(call.implementation, HandlerImplementation) else prompt_pool(pool)


def _tool_context(call: ExecutionCall, started_s: float, trace: TraceContext) -> ToolContext:
    definition = call.component.definition
    allowed = tools_for_user(definition.tools, call.user_info)
    if not isinstance(call.implementation, HandlerImplementation) and LLM_GENERATE not in allowed:
        allowed = (*allowed, LLM_GENERATE)  # asking the model is what a prompt does
    return ToolContext(
        app_id=call.app.app_id,
        component_id=definition.component_id,
        request_id=call.request_id,
        trace_id=call.trace_id,
        trace=trace,
        deadline=started_s + call.timeout_s,
        allowed_tools=allowed,
        llm=call.app.definition.llm,
        configuration=call.component.configuration,
        purpose=call.purpose,
        input=call.input,
        experiment=call.experiment,
        budget=call.budget,
    )


def _schema_problems(component: ComponentSnapshot, data: Any) -> list[Any]:
    validator = component.output_validator
    return [] if validator is None or validator.is_valid(data) else list(validator.problems(data))

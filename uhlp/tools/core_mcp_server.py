"""CoreMCPServer: answers the tool calls of sandboxes and of the server's own services (seed 003 §3.4)."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import structlog

from uhlp.catalogue import traffic
from uhlp.clock import Clock
from uhlp.errors import (
    DeadlineExceeded,
    InternalError,
    PermissionDenied,
    ToolNotFound,
    UhlpError,
    ValidationFailed,
)
from uhlp.jsonschemas import compile_validator
from uhlp.llm import AnswerCache, Budgets, ModelGateway, UsageBook
from uhlp.metering import Meter
from uhlp.tools.allowed_tools import is_allowed
from uhlp.tools.context import ToolContext
from uhlp.tools.core.framework import FRAMEWORK_TOOLS
from uhlp.tools.core.llm_generate import LlmGenerate
from uhlp.tools.core.metrics_record import MetricRecorder, MetricsRecord
from uhlp.tools.tool import JsonObject, Tool

if TYPE_CHECKING:
    from uhlp.tracing.tracer import Tracer

log = structlog.get_logger(__name__)


class CoreMCPServer:
    """The `core.*` tools, in this process. `budgets` says what may still be asked of models today; without it, only
    applications' own limits hold, and nothing is kept over a restart. `cache` holds answers of models for the
    applications that want it; without it, none are kept. `tools` are offered beside the built-in ones."""

    def __init__(
        self,
        *,
        gateway: ModelGateway,
        metrics: MetricRecorder,
        clock: Clock,
        meter: Meter,
        budgets: Budgets | None = None,
        cache: AnswerCache | None = None,
        tools: Sequence[Tool] = (),
        tracer: "Tracer | None" = None,
    ) -> None:
        self.clock = clock
        self.budgets = budgets or Budgets(usage=UsageBook(clock=clock), clock=clock)
        cache = cache or AnswerCache(clock=clock, most_bytes=0)
        generate = LlmGenerate(
            gateway=gateway, budgets=self.budgets, cache=cache, clock=clock, meter=meter, tracer=tracer
        )
        offered = (generate.tool(), MetricsRecord(metrics=metrics).tool(), *FRAMEWORK_TOOLS, *tools)
        self._tools = {tool.name: (tool, compile_validator(tool.input_schema)) for tool in offered}
        self._calls = traffic.TOOL_CALLS.on(meter)
        latency = traffic.TOOL_SECONDS.on(meter)
        self._latency = {name: latency.labels(name) for name in self._tools}

    @property
    def tool_names(self) -> tuple[str, ...]:
        """All that there are."""
        return tuple(self._tools)

    @property
    def reading_tools(self) -> frozenset[str]:
        """Those that change nothing."""
        return frozenset(name for name, (tool, _) in self._tools.items() if tool.annotations.get("readOnlyHint"))

    async def list_tools(self, context: ToolContext) -> list[JsonObject]:
        """The tools that `context` may use, as MCP lists them: name, description, schemas, annotations."""
        return [tool.described() for name, (tool, _) in self._tools.items() if is_allowed(name, context.allowed_tools)]

    async def call_tool(self, name: str, params: dict[str, Any], context: ToolContext) -> dict[str, Any]:
        """The tool's structured result for `context`, whose application it never leaves.

        Raises ToolNotFound (also for a tool the component may not use), ValidationFailed with
        details {"problems": [{"path", "message"}]}, and what the tool raises; always a UhlpError.
        """
        if name not in self._tools or not is_allowed(name, context.allowed_tools):
            raise ToolNotFound(f"There is no tool '{name[:100]}' for component '{context.component_id}'.")
        tool, validator = self._tools[name]
        if problems := validator.problems(params):
            first = problems[0]
            self._counted(context, name, ValidationFailed.code)
            raise ValidationFailed(
                f"{name}: {first['path'] or 'the arguments'}: {first['message']}", details={"problems": problems}
            )
        started = self.clock.monotonic()
        outcome = "cancelled"
        try:
            if tool.changes_state and not context.is_for_real:
                raise PermissionDenied(f"{name} changes something, which this execution ({context.purpose}) may not.")
            result = await self._within_deadline(tool, params, context)
            outcome = "ok"
        except UhlpError as error:
            outcome = error.code
            raise
        except Exception as error:
            outcome = InternalError.code
            log.exception("tool_failed", tool=name, app_id=context.app_id, trace_id=context.trace_id)
            raise InternalError from error
        finally:
            self._counted(context, name, outcome)
            self._latency[name].observe(self.clock.monotonic() - started)
        return result

    async def _within_deadline(self, tool: Tool, params: dict[str, Any], context: ToolContext) -> dict[str, Any]:
        limit = asyncio.timeout(context.deadline - self.clock.monotonic())
        try:
            async with limit:
                return await tool.run(params, context)
        except TimeoutError:
            if limit.expired():
                raise DeadlineExceeded(f"The request's time was over before {tool.name} had answered.") from None
            raise

    def _counted(self, context: ToolContext, name: str, outcome: str) -> None:
        self._calls.labels(context.app_id, context.component_id, name, outcome.lower()).inc()

"""ToolSession: the tool calls of one execution, and what they took."""

from dataclasses import dataclass, field
from typing import Any

from uhlp.errors import BudgetExhausted, UhlpError
from uhlp.tools.context import ToolContext
from uhlp.tools.core.llm_generate import LLM_GENERATE
from uhlp.tools.tool_namespaces import ToolNamespaces


@dataclass(slots=True)
class Usage:
    """What models took. `cost_usd` sums the calls whose price is known; `unpriced_calls` had none. `cached_calls` of
    the `model_calls` were answered by the application's cache."""

    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: float = 0.0
    model_calls: int = 0
    unpriced_calls: int = 0
    cached_calls: int = 0

    @property
    def is_cached(self) -> bool:
        """Whether models were asked, and the cache answered all of it."""
        return 0 < self.model_calls == self.cached_calls


@dataclass(frozen=True, slots=True)
class ToolCallRecord:
    """One call; `outcome` is `ok` or the error's code. `result` is None where there was none."""

    tool: str
    duration_ms: float
    outcome: str
    tokens: int = 0
    arguments: Any = None
    result: dict[str, Any] | None = None


@dataclass(slots=True)
class ToolSession:
    """Travels with one execution and answers its calls; `last_error` is the last one refused or failed. `begun` counts
    the calls that were passed on to a tool, also one that never came back.
    """

    server: ToolNamespaces
    context: ToolContext
    usage: Usage = field(default_factory=Usage)
    calls: list[ToolCallRecord] = field(default_factory=list)
    last_error: UhlpError | None = None
    begun: int = 0

    async def call(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Call a tool in this execution's name. Raises UhlpError."""
        started = self.server.clock.monotonic()
        outcome, tokens = "cancelled", 0
        result: dict[str, Any] | None = None
        self.begun += 1
        try:
            result = await self._answer(name, arguments)
            outcome = "ok"
            if name == LLM_GENERATE:
                tokens = self._count(result)
            return result
        except UhlpError as error:
            outcome, self.last_error = error.code, error
            raise
        finally:
            duration_ms = (self.server.clock.monotonic() - started) * 1000
            self.calls.append(ToolCallRecord(name, duration_ms, outcome, tokens, arguments, result))

    async def _answer(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if name == LLM_GENERATE:
            self._check_budget()
        return await self.server.call_tool(name, arguments, self.context)

    def _check_budget(self) -> None:
        budget, usage = self.context.budget, self.usage
        if budget is None:
            return
        if (budget.tokens is not None and usage.tokens_in + usage.tokens_out >= budget.tokens) or (
            budget.usd is not None and usage.cost_usd >= budget.usd
        ):
            raise BudgetExhausted("The request has spent what it may take of models.", details={"budget": "request"})

    def _count(self, generation: dict[str, Any]) -> int:
        tokens_in, tokens_out = generation["usage"]["tokensIn"], generation["usage"]["tokensOut"]
        usage, cost_usd = self.usage, generation["costUsd"]
        usage.model_calls += 1
        usage.tokens_in += tokens_in
        usage.tokens_out += tokens_out
        usage.cost_usd += cost_usd or 0.0
        usage.unpriced_calls += cost_usd is None
        usage.cached_calls += "cached" in generation
        return int(tokens_in + tokens_out)

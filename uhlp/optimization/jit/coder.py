"""CoderProposer: asks a coder model for a handler and its tests (seed 000 "Invoke Coder LLM")."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol
from uuid import uuid4

import structlog

from uhlp.clock import Clock
from uhlp.errors import UhlpError
from uhlp.models.definition import LlmConfig
from uhlp.optimization.jit.answer import CoderAnswer, UnreadableAnswer, read_answer
from uhlp.optimization.jit.specification import write_specification
from uhlp.optimization.proposer import Failures, Proposal, ProposalFailed, ProposalTask
from uhlp.tools.context import ToolContext

log = structlog.get_logger(__name__)

_REPAIR_COUNTEREXAMPLES = 12


class McpClient(Protocol):
    """What proposers need of CoreMCPServer: so budget, audit and recording apply to them too."""

    async def call_tool(self, name: str, params: dict[str, Any], context: ToolContext) -> dict[str, Any]: ...


class CoderProposer:
    """A model writes the handler; one answer that cannot be read is asked for once more.

    `llm_of` gives an application's model configuration.
    """

    name = "coder"

    def __init__(
        self,
        *,
        mcp_client: McpClient,
        llm_of: Callable[[str], LlmConfig],
        clock: Clock,
        default_coder_model: str | None,
        timeout_s: float,
    ) -> None:
        self._mcp_client = mcp_client
        self._llm_of = llm_of
        self._clock = clock
        self._default_coder_model = default_coder_model
        self._timeout_s = timeout_s

    def applies(self, task: ProposalTask) -> str | None:
        """None: a model can try anything; whether there is one shows when it is asked."""
        return None

    async def propose(self, task: ProposalTask) -> Proposal:
        """A first handler for `task`. Raises ProposalFailed."""
        return await self._ask(task, spent=None)

    async def repair(self, task: ProposalTask, proposal: Proposal, failures: Failures) -> Proposal | None:
        """A better handler, from the failing tests and counterexamples of the last one. Raises ProposalFailed."""
        shown = dataclasses.replace(
            task,
            previous_code=proposal.code,
            counterexamples=(*failures.counterexamples[:_REPAIR_COUNTEREXAMPLES], *task.counterexamples),
        )
        return await self._ask(shown, spent=proposal, test_failures=failures.test_failures)

    async def _ask(self, task: ProposalTask, *, spent: Proposal | None, test_failures: Sequence[str] = ()) -> Proposal:
        messages = [{"role": "user", "content": write_specification(task, test_failures=test_failures)}]
        tokens_in, tokens_out = (spent.tokens_in, spent.tokens_out) if spent else (0, 0)
        cost_usd = spent.cost_usd if spent else 0.0
        answer: CoderAnswer | None = None
        trouble = ""
        coder_model = self._coder_model(task.app_id)
        for _round in range(2):
            params: dict[str, Any] = {"messages": messages, "outputFormat": "json"}
            if coder_model is not None:  # else the application's model writes code, too
                params["model"] = coder_model
            try:
                generation = await self._mcp_client.call_tool("core.llm.generate", params, self._context(task))
            except UhlpError as error:
                raise ProposalFailed(
                    f"the coder model did not answer: {error.message}", retryable=error.retryable
                ) from error
            tokens_in += generation["usage"]["tokensIn"]
            tokens_out += generation["usage"]["tokensOut"]
            cost_usd += generation["costUsd"] or 0.0
            try:
                answer = read_answer(generation["text"])
                break
            except UnreadableAnswer as unreadable:
                trouble = str(unreadable)
                log.info("coder_answer_unreadable", app_id=task.app_id, component_id=task.component_id, why=trouble)
                messages = [
                    *messages,
                    {"role": "assistant", "content": generation["text"]},
                    {"role": "user", "content": f"That answer cannot be used: {trouble}. Answer again."},
                ]
        if answer is None:
            raise ProposalFailed(f"the coder's answer could not be read, twice: {trouble}")
        return Proposal(
            code=answer.code,
            tests=answer.tests,
            guard=answer.guard,
            proposer=self.name,
            cost_usd=cost_usd,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            notes={"model": generation["model"]},
        )

    def _coder_model(self, app_id: str) -> str | None:
        return self._llm_of(app_id).coder_model or self._default_coder_model

    def _context(self, task: ProposalTask) -> ToolContext:
        identifier = uuid4().hex
        return ToolContext(
            app_id=task.app_id,
            component_id=task.component_id,
            request_id=f"coder-{identifier}",
            trace_id=identifier,
            deadline=self._clock.monotonic() + self._timeout_s,
            allowed_tools=("core.llm.generate",),
            llm=self._llm_of(task.app_id),
            configuration={},
            purpose="coder",
        )

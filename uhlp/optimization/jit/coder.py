"""CoderProposer: asks a coder model for a handler and its tests (seed 000 "Invoke Coder LLM")."""

import dataclasses
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import structlog

from uhlp.clock import Clock
from uhlp.errors import UhlpError
from uhlp.models.definition import LlmConfig
from uhlp.optimization.jit.answer import UnreadableAnswer, read_answer
from uhlp.optimization.jit.specification import write_complaint, write_repair, write_specification
from uhlp.optimization.proposer import Failures, Proposal, ProposalFailed, ProposalTask
from uhlp.tools.context import ToolContext
from uhlp.tools.mcp_client import McpClient

log = structlog.get_logger(__name__)

_UNREADABLE_IN_A_ROW = 2
_MOST_SHOWN_OF_AN_ANSWER = 20_000


class CoderProposer:
    """A model writes the handler; an answer that cannot be read is asked for once more and takes one of the rounds.

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
        timeout_s: Callable[[], float],
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
        return await self._ask(task, write_specification(task), None)

    async def repair(self, task: ProposalTask, proposal: Proposal, failures: Failures) -> Proposal | None:
        """A better handler, from the failing tests and counterexamples of the last one. Raises ProposalFailed."""
        prompt = f"{write_specification(task)}\n{write_repair(proposal.code, failures)}"
        return await self._ask(task, prompt, proposal)

    async def _ask(self, task: ProposalTask, prompt: str, earlier: Proposal | None) -> Proposal:
        """One answer that can be read; the second in a row that cannot ends it, and so does the last round."""
        messages = [{"role": "user", "content": prompt}]
        spent = earlier or Proposal("", "", "", self.name)
        unreadable: list[str] = []
        for _round in range(max(1, min(_UNREADABLE_IN_A_ROW, task.rounds_left))):
            generation = await self._generate(task, messages, spent)
            spent = dataclasses.replace(
                spent,
                tokens_in=spent.tokens_in + generation["usage"]["tokensIn"],
                tokens_out=spent.tokens_out + generation["usage"]["tokensOut"],
                cost_usd=spent.cost_usd + (generation["costUsd"] or 0.0),
            )
            try:
                answer = read_answer(generation["text"])
            except UnreadableAnswer as trouble:
                unreadable.append(str(trouble))
                log.info(
                    "coder_answer_unreadable", app_id=task.app_id, component_id=task.component_id, why=str(trouble)
                )
                messages = [
                    *messages,
                    {"role": "assistant", "content": _sendable(generation["text"])},
                    {"role": "user", "content": write_complaint(str(trouble))},
                ]
                continue
            return dataclasses.replace(
                spent, code=answer.code, tests=answer.tests, guard=answer.guard,
                unreadable=(*spent.unreadable, *unreadable), notes={"model": generation["model"]},
            )  # fmt: skip
        times = "twice" if len(unreadable) > 1 else "and there is no round left"
        raise ProposalFailed(f"the coder's answer could not be read, {times}: {unreadable[-1]}", **_costs(spent))

    async def _generate(self, task: ProposalTask, messages: list[dict[str, str]], spent: Proposal) -> dict[str, Any]:
        params: dict[str, Any] = {"messages": messages, "outputFormat": "json"}
        coder_model = self._coder_model(task.app_id)
        if coder_model is not None:  # else the application's model writes code, too
            params["model"] = coder_model
        try:
            return await self._mcp_client.call_tool("core.llm.generate", params, self._context(task))
        except UhlpError as error:
            raise ProposalFailed(
                f"the coder model did not answer: {error.message}", retryable=error.retryable, **_costs(spent)
            ) from error

    def _coder_model(self, app_id: str) -> str | None:
        return self._llm_of(app_id).coder_model or self._default_coder_model

    def _context(self, task: ProposalTask) -> ToolContext:
        identifier = uuid4().hex
        return ToolContext(
            app_id=task.app_id,
            component_id=task.component_id,
            request_id=f"coder-{identifier}",
            trace_id=identifier,
            deadline=self._clock.monotonic() + self._timeout_s(),
            allowed_tools=("core.llm.generate",),
            llm=self._llm_of(task.app_id),
            configuration={},
            purpose="coder",
        )


def _costs(spent: Proposal) -> dict[str, Any]:
    return {"cost_usd": spent.cost_usd, "tokens_in": spent.tokens_in, "tokens_out": spent.tokens_out}


def _sendable(text: str) -> str:
    """An unreadable answer, shown to its author: cut, and without what UTF-8 cannot hold."""
    return text[:_MOST_SHOWN_OF_AN_ANSWER].encode(errors="replace").decode()

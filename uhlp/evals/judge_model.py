"""JudgePoints: a pinned model gives points to outputs by a rubric."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from uhlp.clock import Clock
from uhlp.errors import BadModelAnswer
from uhlp.evals.dataset import Sample
from uhlp.evals.evaluators import Judged, Points
from uhlp.llm.usage import JUDGE
from uhlp.models.definition import LlmConfig
from uhlp.prompts.own_template import fenced_json, own_template
from uhlp.tools.context import ToolContext
from uhlp.tools.core.llm_generate import LLM_GENERATE
from uhlp.tools.mcp_client import McpClient

_TEMPLATE = own_template(Path(__file__).with_name("points.md.j2"))
_ANSWER_SCHEMA = {
    "type": "object",
    "properties": {"points": {"type": "number", "minimum": 0, "maximum": 10}, "why": {"type": "string"}},
    "required": ["points"],
    "additionalProperties": False,
}


class JudgePoints:
    """Asks in an application's name; `llm_of` gives its model configuration, whose budget pays."""

    def __init__(
        self, *, mcp_client: McpClient, llm_of: Callable[[str], LlmConfig], clock: Clock, timeout_s: float = 60.0
    ) -> None:
        self._mcp_client = mcp_client
        self._llm_of = llm_of
        self._clock = clock
        self._timeout_s = timeout_s

    async def points(self, spec: Judged, sample: Sample, output: Any, *, app_id: str, component_id: str) -> Points:
        """Raises UhlpError when the judge cannot be asked, BadModelAnswer for nonsense."""
        identifier = uuid4().hex
        context = ToolContext(
            app_id=app_id,
            component_id=component_id,
            request_id=f"judge-{identifier}",
            trace_id=identifier,
            deadline=self._clock.monotonic() + self._timeout_s,
            allowed_tools=(LLM_GENERATE,),
            llm=self._llm_of(app_id),
            configuration={},
            purpose=JUDGE,
        )
        params: dict[str, Any] = {
            "messages": [{"role": "user", "content": write_question(spec, sample, output)}],
            "model": spec.model,
            "outputFormat": "json",
            "outputSchema": _ANSWER_SCHEMA,
        }
        if spec.provider is not None:
            params["provider"] = spec.provider
        generation = await self._mcp_client.call_tool(LLM_GENERATE, params, context)
        if "parsed" not in generation:
            raise BadModelAnswer("The judge's answer cannot be read.")
        parsed = generation["parsed"]
        usage = generation["usage"]
        return Points(
            parsed["points"] / 10,
            str(parsed.get("why", "")),
            tokens=usage["tokensIn"] + usage["tokensOut"],
            usd=generation["costUsd"],
        )


def write_question(spec: Judged, sample: Sample, output: Any) -> str:
    """The text that asks for points: every value as JSON, so that none can leave its place."""
    return _TEMPLATE.render(
        rubric=fenced_json(spec.rubric),
        input=fenced_json(sample.input),
        expected=fenced_json(sample.expected),
        output=fenced_json(output),
    )

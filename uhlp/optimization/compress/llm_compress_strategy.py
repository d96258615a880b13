"""LLMCompressStrategy: a model writes shorter sections (seed 004)."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import structlog

from uhlp.errors import UhlpError
from uhlp.llm.usage import COMPRESS
from uhlp.models.definition import LlmConfig
from uhlp.optimization.compress.strategy import SectionEdit, StrategyUse, edit_of, priced
from uhlp.prompts import Section
from uhlp.prompts.overrides import PromptDescriptor
from uhlp.prompts.own_template import fenced_json, own_template
from uhlp.tools.context import ToolContext
from uhlp.tools.core.llm_generate import LLM_GENERATE
from uhlp.tools.mcp_client import McpClient

log = structlog.get_logger(__name__)

_TEMPLATE = own_template(Path(__file__).with_name("compress.md.j2"))
_ANSWER_SCHEMA = {
    "type": "object",
    "properties": {"body": {"type": "string", "minLength": 1}},
    "required": ["body"],
    "additionalProperties": False,
}
_MOST_SECTIONS = 10


class LLMCompressStrategy:
    """Asks once for each compressible section, the largest first, the application's coder model where it names one.

    `llm_of` gives an application's model configuration. An answer that cannot be read proposes nothing.
    """

    name = "llm"

    def __init__(
        self,
        *,
        mcp_client: McpClient,
        llm_of: Callable[[str], LlmConfig],
        default_model: str | None = None,
        description_of: Callable[[str, str], str] = lambda app_id, component_id: "",
        most_sections: int = _MOST_SECTIONS,
    ) -> None:
        self._mcp_client = mcp_client
        self._llm_of = llm_of
        self._default_model = default_model
        self._description_of = description_of
        self._most_sections = most_sections

    async def propose(
        self, prompt: PromptDescriptor, *, component_id: str, deadline: float
    ) -> tuple[Sequence[SectionEdit], StrategyUse]:
        sections = sorted((one for one in prompt.sections if one.compressible), key=lambda one: -len(one.body))
        edits: list[SectionEdit] = []
        use = StrategyUse()
        for section in sections[: self._most_sections]:
            try:
                generation = await self._ask(prompt, section, component_id, deadline)
            except UhlpError as error:
                if not use.calls:
                    raise
                log.warning("compression_broken_off", app_id=prompt.ns, prompt=prompt.key, why=error.message)
                break  # what was paid for is tried
            tokens = generation["usage"]["tokensIn"] + generation["usage"]["tokensOut"]
            use = StrategyUse(use.tokens + tokens, use.usd + priced(generation["costUsd"], tokens), use.calls + 1)
            if "parsed" not in generation:
                log.info("compression_unreadable", app_id=prompt.ns, prompt=prompt.key, section=section.key)
                continue
            body = generation["parsed"]["body"]
            if body.strip() != section.body.strip():
                edits.append(edit_of(section.key, section.body, section.sha256, body, strategy=self.name))
        return edits, use

    async def _ask(
        self, prompt: PromptDescriptor, section: Section, component_id: str, deadline: float
    ) -> dict[str, Any]:
        llm = self._llm_of(prompt.ns)
        identifier = uuid4().hex
        context = ToolContext(
            app_id=prompt.ns,
            component_id=component_id,
            request_id=f"compress-{identifier}",
            trace_id=identifier,
            deadline=deadline,
            allowed_tools=(LLM_GENERATE,),
            llm=llm,
            configuration={},
            purpose=COMPRESS,
        )
        text = write_compression(prompt, section, self._description_of(prompt.ns, component_id))
        params: dict[str, Any] = {
            "messages": [{"role": "user", "content": text}],
            "outputFormat": "json",
            "outputSchema": _ANSWER_SCHEMA,
        }
        model = llm.coder_model or self._default_model
        if model is not None:
            params["model"] = model
        return await self._mcp_client.call_tool(LLM_GENERATE, params, context)


def write_compression(prompt: PromptDescriptor, section: Section, description: str) -> str:
    """The text that asks for a shorter section: every text as JSON, so that none can leave its place."""
    others = {one.key: one.body for one in prompt.sections if one.key != section.key}
    return _TEMPLATE.render(
        description=fenced_json(description), others=fenced_json(others), body=fenced_json(section.body)
    )

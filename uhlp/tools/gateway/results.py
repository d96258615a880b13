"""What an MCP server says, checked before anybody sees it: its results and its list of tools."""

import re
from collections.abc import Sequence
from math import isfinite
from typing import Any

from mcp_types import (
    AudioContent,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
    Tool,
)

from uhlp import strict_json
from uhlp.errors import ToolFailed, ToolResultInvalid
from uhlp.sandbox.untrusted import MAX_DEPTH, is_deeper_than
from uhlp.tools.tool import JsonObject

_NAME = re.compile(r"[A-Za-z0-9_./-]{1,128}")
_MESSAGE_LIMIT = 300
_DESCRIPTION_LIMIT = 8_000
_LIST_SHARE = 4
"""All tools of a server may take this many times what one result may."""
_SHORTEST_SECRET = 4
"""Shorter ones stand in any text by chance."""


class ResultReader:
    """Reads for one server. `hidden` are the credentials that it knows: they are masked in all it says."""

    def __init__(self, *, most_bytes: int, hidden: Sequence[str] = ()) -> None:
        self._most_bytes = most_bytes
        self._hidden = sorted((one for one in hidden if len(one) >= _SHORTEST_SECRET), key=len, reverse=True)

    def result(self, tool: str, result: CallToolResult) -> JsonObject:
        """{content: […], structuredContent?, isError: false}, JSON through and through.

        Raises ToolFailed for a result that says it is an error, ToolResultInvalid for one that is none.
        """
        if result.is_error:
            texts = [block.text for block in result.content if isinstance(block, TextContent)]
            raise ToolFailed(self.words(f"{tool}: {' '.join(texts) or 'it failed'}"), details={"tool": tool})
        read: JsonObject = {"content": [_block(block) for block in result.content], "isError": False}
        if result.structured_content is not None:
            read["structuredContent"] = result.structured_content
        return self._checked(read, f"The result of {tool}")[0]

    def tools(self, prefix: str, tools: Sequence[Tool]) -> dict[str, JsonObject]:
        """The tools by their own names, described under their full ones; what cannot be called is left out."""
        found: dict[str, JsonObject] = {}
        left_bytes = _LIST_SHARE * self._most_bytes
        for tool in tools:
            if not _NAME.fullmatch(tool.name) or tool.name == "*":
                continue
            told: JsonObject = {
                "name": prefix + tool.name,
                "description": (tool.description or tool.title or "")[:_DESCRIPTION_LIMIT],
                "inputSchema": tool.input_schema,
            }
            if tool.output_schema is not None:
                told["outputSchema"] = tool.output_schema
            if tool.annotations is not None:
                told["annotations"] = tool.annotations.model_dump(by_alias=True, exclude_none=True)
            try:
                clean, size = self._checked(told, f"The tool {tool.name}")
            except ToolResultInvalid:
                continue
            if size > left_bytes:
                break
            left_bytes -= size
            found[tool.name] = clean
        return found

    def words(self, text: str) -> str:
        """A server's words, short and without credentials."""
        return self._masked(text)[:_MESSAGE_LIMIT]

    def _checked(self, value: JsonObject, subject: str) -> tuple[JsonObject, int]:
        if is_deeper_than(value, MAX_DEPTH):
            raise ToolResultInvalid(f"{subject} is nested deeper than {MAX_DEPTH} levels.")
        try:
            clean: JsonObject = self._clean(value)
            size = len(strict_json.dumps(clean))
        except (TypeError, ValueError):
            raise ToolResultInvalid(f"{subject} holds what is no JSON, such as NaN.") from None
        if size > self._most_bytes:
            raise ToolResultInvalid(f"{subject} takes {size} bytes; {self._most_bytes} is the limit.")
        return clean, size

    def _clean(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._masked(value)
        if isinstance(value, dict):
            return {self._clean(key): self._clean(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self._clean(one) for one in value]
        if isinstance(value, float) and not isfinite(value):
            raise ValueError("JSON has no NaN and no Infinity.")
        return value

    def _masked(self, text: str) -> str:
        for secret in self._hidden:
            text = text.replace(secret, "**********")
        return text


def _block(block: ContentBlock) -> JsonObject:
    """A block by its type; fields beyond those of its type are left out."""
    match block:
        case TextContent():
            return {"type": "text", "text": block.text}
        case ImageContent() | AudioContent():
            return {"type": block.type, "data": block.data, "mimeType": block.mime_type}
        case ResourceLink():
            link = {"uri": block.uri, "name": block.name, "description": block.description, "mimeType": block.mime_type}
            return {"type": "resource_link", **{name: value for name, value in link.items() if value is not None}}
        case EmbeddedResource():
            inner = block.resource
            told: JsonObject = {"uri": str(inner.uri)} | ({"mimeType": inner.mime_type} if inner.mime_type else {})
            told |= {"text": inner.text} if isinstance(inner, TextResourceContents) else {"blob": inner.blob}
            return {"type": "resource", "resource": told}

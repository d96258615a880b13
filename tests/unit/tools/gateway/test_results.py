"""Whatever a server says becomes JSON that may be passed on, or is refused."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from mcp_types import CallToolResult, TextContent, Tool

from uhlp.errors import ToolFailed, ToolResultInvalid
from uhlp.tools.gateway.results import ResultReader

SECRET = "hush-hush-42"
texts = st.text(max_size=20) | st.just(f"Bearer {SECRET}")
leaves = st.none() | st.booleans() | st.integers() | st.floats() | texts
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=20
)


def reader() -> ResultReader:
    return ResultReader(most_bytes=2_000, hidden=(SECRET, "x"))


@settings(max_examples=60, deadline=None)
@given(values, st.lists(texts, max_size=3), st.booleans())
def test_a_result_is_json_without_secrets_and_within_its_measure(structured: Any, said: list[str], is_error: bool):
    content = [TextContent(text=text) for text in said]
    result = CallToolResult(content=content, structured_content=structured, is_error=is_error)
    refusal: ToolFailed | None = None
    try:
        read = reader().result("app.odd.echo", result)
    except ToolFailed as error:
        refusal = error
    if refusal is not None:
        assert is_error or isinstance(refusal, ToolResultInvalid)
        assert SECRET not in refusal.message
        return
    assert not is_error
    assert SECRET not in json.dumps(read, allow_nan=False)
    assert [block["text"].replace("**********", SECRET) for block in read["content"]] == said
    assert set(read) <= {"content", "structuredContent", "isError"}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(texts, texts, st.dictionaries(texts, values, max_size=3)), max_size=4))
def test_a_listed_tool_has_a_name_that_can_be_called(listed: list[tuple[str, str, dict[str, Any]]]):
    tools = [Tool(name=name, description=words, input_schema=schema) for name, words, schema in listed]
    for name, told in reader().tools("app.odd.", tools).items():
        assert told["name"] == f"app.odd.{name}"
        assert "*" not in name
        assert SECRET not in json.dumps(told, allow_nan=False)

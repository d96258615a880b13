"""One door to all tools: by namespace, and only what a component was given."""

from typing import Any

import pytest

from uhlp.clock import FakeClock
from uhlp.errors import ToolNotFound
from uhlp.models.definition import LlmConfig
from uhlp.tools import ToolContext, ToolNamespaces
from uhlp.tools.recorded_session import RecordedSession
from uhlp.tools.session import ToolCallRecord, ToolSession


class Echo:
    """A tool server that answers with what it was asked."""

    def __init__(self, *tools: str) -> None:
        self.tools = tools

    async def list_tools(self, context: ToolContext) -> list[dict[str, Any]]:
        return [{"name": name} for name in self.tools]

    async def call_tool(self, name: str, params: dict[str, Any], context: ToolContext) -> dict[str, Any]:
        return {"asked": name, "of": self.tools[0].partition(".")[0], **params}


CORE = Echo("core.llm.generate", "core.metrics.record")
SERVERS = Echo("community.everything.echo", "community.everything.add", "app.crm.find", "app.crmx.find")


def context(*allowed: str) -> ToolContext:
    return ToolContext(
        app_id="shop", component_id="parse", request_id="r", trace_id="t", deadline=1e9, allowed_tools=allowed,
        llm=LlmConfig(), configuration={}, purpose="serve",
    )  # fmt: skip


@pytest.fixture
def namespaces() -> ToolNamespaces:
    return ToolNamespaces(core=CORE, gateway=SERVERS, clock=FakeClock())


async def test_a_name_goes_to_the_server_of_its_namespace(namespaces: ToolNamespaces):
    asked = await namespaces.call_tool("core.llm.generate", {"a": 1}, context("core.llm.generate"))
    assert asked == {"asked": "core.llm.generate", "of": "core", "a": 1}
    for name in ("community.everything.echo", "app.crm.find"):
        assert (await namespaces.call_tool(name, {}, context(name)))["of"] == "community"


@pytest.mark.parametrize(
    ("allowed", "is_known"),
    [
        (("community.everything.echo",), True),
        (("community.everything.*",), True),
        (("app.everything.*",), False),
        (("community.*",), False),
        (("*",), False),
        (("community.every.*",), False),
        (("community.everything.ech",), False),
        ((), False),
    ],
)
async def test_a_component_reaches_what_it_was_given(
    namespaces: ToolNamespaces, allowed: tuple[str, ...], is_known: bool
):
    name = "community.everything.echo"
    listed = {tool["name"] for tool in await namespaces.list_tools(context(*allowed))}
    assert (name in listed) is is_known
    if is_known:
        await namespaces.call_tool(name, {}, context(*allowed))
    else:
        with pytest.raises(ToolNotFound):
            await namespaces.call_tool(name, {}, context(*allowed))


async def test_core_tools_are_given_one_by_one(namespaces: ToolNamespaces):
    with pytest.raises(ToolNotFound):
        await namespaces.call_tool("core.llm.generate", {}, context("core.*", "core.llm.*"))
    assert await namespaces.list_tools(context()) == [{"name": "core.metrics.record"}]


@pytest.mark.parametrize("name", ["", "echo", "nowhere.x.y", "community.everything.*", "app.crm.*"])
async def test_what_is_no_tool_is_not_found(namespaces: ToolNamespaces, name: str):
    with pytest.raises(ToolNotFound):
        await namespaces.call_tool(name, {}, context(name, "community.everything.*"))


async def test_without_a_gateway_there_are_core_tools_alone():
    namespaces = ToolNamespaces(core=CORE, clock=FakeClock())
    with pytest.raises(ToolNotFound):
        await namespaces.call_tool("app.crm.find", {}, context("app.crm.find"))


async def test_a_recorded_call_is_told_again_whatever_its_namespace(namespaces: ToolNamespaces):
    session = ToolSession(namespaces, context("app.crm.*"))
    recorded = ToolCallRecord("app.crm.find", 1.0, "ok", arguments={"id": 1}, result={"content": []})
    again = RecordedSession(session, [recorded])
    assert await again.call("app.crm.find", {"id": 1}) == {"content": []}
    with pytest.raises(ToolNotFound):
        await again.call("community.everything.echo", {})

"""Servers and tools that a definition names: what cannot be meant is told with file and line."""

from pathlib import Path

import pytest

from tests.unit.registry.conftest import FILES
from tests.unit.registry.test_application_compiler import compiled, problems
from uhlp.access.definition_secrets import DefinitionSecrets, SecretSettings
from uhlp.clock import FakeClock
from uhlp.errors import DefinitionInvalid
from uhlp.models.definition import AppDefinition
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.registry.offers import Offers
from uhlp.state.config import RemoteSettings
from uhlp.state.remote_reach import RemoteReach
from uhlp.state.state_manager import StateManager

SERVERS = b"""\
appId: desk
mcpServers:
  crm:
    url: https://crm.example/mcp
    headers: {Authorization: "Bearer secret:CRM_TOKEN"}
  everything:
    ref: everything
"""
LISTED = DefinitionSecrets(settings=SecretSettings(applications={"desk": ("CRM_TOKEN",)}), read={}.get)
OFFERS = Offers({"everything"}, {"core.llm.generate", "core.metrics.record"}, LISTED)
TOOLS = b"    tools: [%s]\n    inputSchema"


def with_tools(tools: str) -> dict[str, bytes]:
    registry = FILES["component_registry.yaml"].replace(b"    inputSchema", TOOLS % tools.encode())
    return {"app.yaml": SERVERS, "component_registry.yaml": registry}


def test_tools_of_named_servers_may_be_used():
    snapshot = compiled(with_tools("core.llm.generate, app.crm.find, community.everything.*"))
    assert snapshot.components["triage"].definition.tools[1] == "app.crm.find"
    assert snapshot.definition.mcp_servers["everything"].namespace == "community"


@pytest.mark.parametrize(
    ("tool", "message"),
    [
        ("app.cmr.find", "did you mean `crm`?"),
        ("community.crm.find", "tools of crm are app.crm"),
        ("app.everything.echo", "tools of everything are community.everything"),
        ("app.crm", "is no tool"),
        ("core.*", "is no tool"),
        ("core.state.*", "is no tool"),
        ("'*'", "is no tool"),
        ("crm.find", "is no tool"),
        ("app.crm.*.x", "is no tool"),
    ],
)
def test_a_tool_that_cannot_be_meant_is_told_with_its_line(tool: str, message: str):
    (found,) = problems(with_tools(f"core.llm.generate, {tool}"))
    assert (found["file"], found["path"], found["line"]) == (
        "component_registry.yaml",
        "/components/0/tools/1",
        8,
    )
    assert message in found["message"]


@pytest.mark.parametrize(
    ("server", "message"),
    [
        ("{}", "has a url, or the ref"),
        ("{url: https://h/, ref: other}", "has a url, or the ref"),
        ("{ref: other, headers: {X: y}}", "headers belong to a url"),
        ("{url: ftp://h/}", "https://host/path"),
        ("{url: https://h:99999/}", "https://host/path"),
        ("{url: 'https:///x'}", "https://host/path"),
        ("{url: https://me:word@h/}", "holds credentials"),
        ("{url: https://h/, headers: {X-Api-Key: abc}}", "secret:NAME"),
        ("{url: https://h/, headers: {Host: other}}", "set by UHLP"),
        ("{url: https://h/, headers: {Mcp-Session-Id: other}}", "set by UHLP"),
        ("{url: https://h/, headers: {'X y': z}}", "not the name of a header"),
        ('{url: https://h/, headers: {X: "a\\r\\nY: z"}}', "printable"),
        ("{command: [sh]}", "unknown field `command`"),
    ],
)
def test_a_server_that_cannot_be_called_is_refused(server: str, message: str):
    found = problems({"app.yaml": f"appId: desk\nmcpServers:\n  x: {server}\n".encode()})
    assert [(one["file"], one["line"]) for one in found] == [("app.yaml", 3)]
    assert message in found[0]["message"]


async def test_a_reference_must_be_to_a_server_of_the_settings(state: StateManager):
    registry = ApplicationRegistry(state=state, offers=lambda: OFFERS)
    definition = {"appId": "desk", "mcpServers": {"all": {"ref": "everythin"}}}
    with pytest.raises(DefinitionInvalid) as refused:
        await registry.register_application(AppDefinition.model_validate(definition))
    (problem,) = refused.value.details["problems"]
    assert problem["path"] == "/mcpServers/all/ref"
    assert "did you mean `everything`?" in problem["message"]
    registry.close()


async def test_an_application_keeps_its_reference_when_the_settings_lose_the_server(state: StateManager):
    registry = ApplicationRegistry(state=state, offers=lambda: OFFERS)
    definition = {"appId": "desk", "mcpServers": {"all": {"ref": "everything"}}}
    await registry.register_application(AppDefinition.model_validate(definition))
    registry.close()
    registry = ApplicationRegistry(state=state, offers=lambda: Offers((), ()))
    await registry.load_all()
    await registry.update_application("desk", {"displayName": "Desk"}, update_mask=["displayName"])
    assert registry.snapshot("desk").definition.display_name == "Desk"
    registry.close()


async def test_a_tool_of_core_must_be_one_that_there_is(state: StateManager):
    registry = ApplicationRegistry(state=state, offers=lambda: OFFERS)
    component = {"componentId": "find", "taskDetails": {"prompt_template": "p"}, "tools": ["core.llm.genrate"]}
    definition = {"appId": "desk", "initialComponentRegistry": {"components": [component]}}
    files = {"prompts/p.yaml": b"template: x\n"}
    with pytest.raises(DefinitionInvalid) as refused:
        await registry.register_application(AppDefinition.model_validate(definition), files=files)
    (problem,) = refused.value.details["problems"]
    assert (problem["file"], problem["path"]) == ("component_registry.yaml", "/components/0/tools/0")
    assert "did you mean `core.llm.generate`?" in problem["message"]
    assert "line" in problem
    registry.close()


CALLBACK = {"source": "callback", "name": "paid", "verification": {"secret": "secret:PAY"}}


async def test_secrets_of_another_application_are_refused_wherever_a_definition_names_them(state: StateManager):
    registry = ApplicationRegistry(state=state, offers=lambda: OFFERS)
    component = {"componentId": "find", "taskDetails": {"prompt_template": "p"}, "triggers": [CALLBACK]}
    headers = {"X-One": "secret:CRM_TOKEN", "X-Two": "Bearer secret:SHOPS"}
    definition = {
        "appId": "desk",
        "mcpServers": {"crm": {"url": "https://crm.example/mcp", "headers": headers}},
        "stateStoreConfig": {"params": {"repoUrl": "https://git.example/x.git", "credential": "secret:DEPLOY"}},
        "initialComponentRegistry": {"components": [component]},
    }
    with pytest.raises(DefinitionInvalid, match=r"secrets\.applications") as refused:
        await registry.register_application(
            AppDefinition.model_validate(definition), files={"prompts/p.yaml": b"template: x\n"}
        )
    problems = refused.value.details["problems"]
    assert [one["path"] for one in problems] == [
        "/mcpServers/crm/headers/X-Two",
        "/stateStoreConfig/params/credential",
        "/components/0/triggers/0/verification/secret",
    ]
    assert all("line" in one for one in problems)
    assert await state.list_repositories() == []
    registry.close()


async def test_a_change_of_something_else_is_taken_when_a_secret_is_listed_no_more(state: StateManager):
    registry = ApplicationRegistry(state=state, offers=lambda: OFFERS)
    headers = {"Authorization": "Bearer secret:CRM_TOKEN"}
    servers = {"crm": {"url": "https://crm.example/mcp", "headers": headers}}
    await registry.register_application(AppDefinition.model_validate({"appId": "desk", "mcpServers": servers}))
    registry.close()
    nothing = DefinitionSecrets(settings=SecretSettings(), read={}.get)
    registry = ApplicationRegistry(state=state, offers=lambda: Offers((), (), nothing))
    await registry.load_all()
    await registry.update_application("desk", {"displayName": "Desk"}, update_mask=["displayName"])
    assert registry.snapshot("desk").definition.display_name == "Desk"
    registry.close()


@pytest.mark.parametrize(
    ("url", "setting"),
    [("ssh://git@10.0.0.1/x.git", r"remotes\.allow_hosts"), ("/etc/other.git", r"remotes\.paths")],
)
async def test_a_remote_where_the_operator_allows_none_is_refused_with_its_line(
    state: StateManager, url: str, setting: str
):
    reach = RemoteReach(settings=RemoteSettings(), clock=FakeClock())
    registry = ApplicationRegistry(state=state, offers=lambda: Offers((), (), LISTED, reach))
    definition = {"appId": "desk", "stateStoreConfig": {"params": {"repoUrl": url}}}
    with pytest.raises(DefinitionInvalid, match=setting) as refused:
        await registry.register_application(AppDefinition.model_validate(definition))
    (problem,) = refused.value.details["problems"]
    assert (problem["file"], problem["path"]) == ("app.yaml", "/stateStoreConfig/params/repoUrl")
    assert "line" in problem
    registry.close()


@pytest.mark.parametrize("form", ["{}/other.git", "file://{}/other.git", "{}/x/../other"])
async def test_another_applications_repository_is_refused_as_a_remote_wherever_remotes_may_be(
    state: StateManager, tmp_path: Path, form: str
):
    everywhere = RemoteSettings.model_validate({"paths": {"*": ["/"]}})
    reach = RemoteReach(settings=everywhere, clock=FakeClock(), own=tmp_path)
    registry = ApplicationRegistry(state=state, offers=lambda: Offers((), (), LISTED, reach))
    await registry.register_application(AppDefinition.model_validate({"appId": "other"}))
    params = {"repoUrl": form.format(tmp_path)}
    definition = {"appId": "desk", "stateStoreConfig": {"params": params}}
    with pytest.raises(DefinitionInvalid, match="among the server's own repositories"):
        await registry.register_application(AppDefinition.model_validate(definition))
    changed = {"stateStoreConfig": {"params": params}}
    with pytest.raises(DefinitionInvalid, match="among the server's own repositories"):
        await registry.update_application("other", changed, update_mask=["stateStoreConfig"])
    assert await state.list_repositories() == ["other"]
    elsewhere = {"repoUrl": str(tmp_path.parent / "elsewhere.git")}
    definition = {"appId": "desk", "stateStoreConfig": {"params": elsewhere}}
    assert await registry.register_application(AppDefinition.model_validate(definition))
    registry.close()

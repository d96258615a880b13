"""An application as an MCP server: which components are tools for whom, and what their answers become."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import jsonschema
import pytest

from uhlp.errors import BudgetExhausted
from uhlp.models.definition import AppDefinition
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot
from uhlp.routing.request import RoutedRequest
from uhlp.web.config import UserSettings
from uhlp.web.edge import open_edge
from uhlp.web.users import Users
from uhlp.workflows import parse_workflow
from web.fakes import TICKET, Echo, KeyIdentity, Result, SnapshotsOnly, application, component, services

HEADERS = {"Accept": "application/json, text/event-stream"}
KEY = {"X-API-Key": "a-key"}
ROLES = {"userRoles": {"clerk": {"roleName": "clerk", "permissions": ["invoke:echo"]}},
         "userAssignments": {"ann": ["clerk"]}}  # fmt: skip


def unrouted(component_id: str) -> ComponentSnapshot:
    made = component(component_id, "/x", "POST")
    return replace(made, definition=made.definition.model_copy(update={"route_matcher": None}))


def answering(made: ComponentSnapshot, **definition: Any) -> ComponentSnapshot:
    return replace(made, definition=made.definition.model_copy(update=definition))


class Shop:
    """The edge over one application whose components answer with what `answers` says."""

    def __init__(self, *components: ComponentSnapshot, public: bool = False, **definition: Any) -> None:
        app = application("shop", *components, public=public)
        given = {"appId": "shop", "public": public, **definition}
        self.app: AppSnapshot = replace(app, definition=AppDefinition.model_validate(given))
        self.answers: dict[str, Result] = {}
        self.permissions: tuple[str, ...] = ("invoke:*",)
        self.router = Echo(self.respond)
        self.users: Users | None = None
        self.client = httpx.AsyncClient()

    async def respond(self, request: RoutedRequest) -> Result:
        component_id = request.component.definition.component_id
        return self.answers.get(component_id, Result(request.input))

    async def open(self) -> AsyncIterator["Shop"]:
        keys = {"a-key": KeyIdentity("shop", permissions=self.permissions), "others": KeyIdentity("desk")}
        given = services(
            registry=SnapshotsOnly({"shop": self.app}, keys=keys), router=self.router, users=self.users,
            base_domain="uhlp.example",
        )  # fmt: skip
        async with open_edge(given) as edge:
            transport = httpx.ASGITransport(app=edge)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as self.client:
                yield self

    async def post(self, message: Any, headers: dict[str, str]) -> httpx.Response:
        return await self.client.post("/apps/shop/-/mcp", json=message, headers={**HEADERS, **headers})

    async def ask(self, method: str, params: dict[str, Any], headers: dict[str, str] = KEY) -> dict[str, Any]:
        answer = await self.post({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}, headers)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    async def tools(self, headers: dict[str, str] = KEY) -> dict[str, dict[str, Any]]:
        return {tool["name"]: tool for tool in (await self.ask("tools/list", {}, headers))["result"]["tools"]}

    async def call(self, name: str, given: dict[str, Any], headers: dict[str, str] = KEY) -> dict[str, Any]:
        told = await self.ask("tools/call", {"name": name, "arguments": given}, headers)
        result: dict[str, Any] = told["result"]
        return result


@pytest.fixture
async def opened() -> AsyncIterator[Any]:
    """Opens a shop; it is closed after the test."""
    shops: list[AsyncIterator[Shop]] = []

    async def open_shop(shop: Shop) -> Shop:
        shops.append(shop.open())
        return await anext(shops[-1])

    yield open_shop
    for shop in shops:
        await anext(shop, None)


async def test_each_component_is_a_tool_with_its_schemas(opened: Any) -> None:
    output = {"type": "object", "properties": {"desk": {"type": "string"}}, "required": ["desk"]}
    triage = replace(component("triage", "/triage", "POST", schema=TICKET), output_schema=output)
    triage = answering(triage, description="Find the team")
    shop = await opened(Shop(triage, answering(unrouted("note"), effects="write")))
    tools = await shop.tools()
    assert list(tools) == ["triage", "note"]
    assert tools["triage"] == {
        "name": "triage", "description": "Find the team", "inputSchema": TICKET, "outputSchema": output,
        "annotations": {"readOnlyHint": True},
    }  # fmt: skip
    assert tools["note"]["inputSchema"] == {"type": "object"}
    assert tools["note"]["annotations"] == {"readOnlyHint": False}
    assert "outputSchema" not in tools["note"]


async def test_a_workflow_that_asks_what_writes_is_not_said_to_read_only(opened: Any) -> None:
    def running(component_id: str, asked: str) -> ComponentSnapshot:
        source = f"steps: [{{id: a, type: jit, componentId: {asked}, inputMapping: {{}}, end: true}}]"
        plan = parse_workflow(source.encode(), path=f"workflows/{component_id}.yaml")
        return replace(component(component_id, f"/{component_id}", "POST"), workflow=plan)

    workflows = running("shows", "reads"), running("orders", "writes")
    shop = Shop(*workflows, component("reads", "/reads", "POST"), answering(unrouted("writes"), effects="write"))
    shop.app = replace(shop.app, workflows={one.workflow.workflow_id: one.workflow for one in workflows})
    tools = await (await opened(shop)).tools()
    assert {name: tool["annotations"]["readOnlyHint"] for name, tool in tools.items()} == {
        "shows": True, "orders": False, "reads": True, "writes": False,
    }  # fmt: skip


async def test_a_call_is_an_ordinary_request(opened: Any) -> None:
    shop = await opened(Shop(component("echo", "/echo", "POST", schema=TICKET)))
    told = await shop.call(
        "echo", {"text": "hello"}, {**KEY, "X-Session-Id": "s1", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    )
    assert told["structuredContent"] == {"text": "hello"}
    assert json.loads(told["content"][0]["text"]) == {"text": "hello"}
    assert told["isError"] is False
    assert told["_meta"] == {"uhlp/handler": "jit", "uhlp/implementation": "jit@v3", "uhlp/reason": "STATIC"}
    (request,) = shop.router.requests
    assert (request.input, request.source, request.session_id, request.trace_id) == (
        {"text": "hello"}, "http", "s1", "a" * 32,
    )  # fmt: skip


async def test_input_that_does_not_fit_reaches_no_component(opened: Any) -> None:
    shop = await opened(Shop(component("echo", "/echo", "POST", schema=TICKET)))
    told = await shop.call("echo", {"count": 1})
    assert told["isError"] is True
    assert told["structuredContent"]["error"]["code"] == "INPUT_INVALID"
    assert shop.router.requests == []


@pytest.mark.parametrize(
    ("schema", "data", "content"),
    [
        ({"type": "string"}, "billing", {"result": "billing"}),
        ({"type": ["object", "null"]}, {"a": 1}, {"result": {"a": 1}}),
        ({"type": ["object", "null"]}, None, {"result": None}),
        ({"enum": [1, 2]}, 2, {"result": 2}),
        ({"type": "array", "items": {"$ref": "#/$defs/n"}, "$defs": {"n": {"type": "integer"}}}, [1], {"result": [1]}),
        ({"type": "object"}, {"a": 1}, {"a": 1}),
        (None, {"a": 1}, {"a": 1}),
        (None, [1], {"result": [1]}),
        (None, None, {"result": None}),
    ],
)
async def test_outputs_that_are_no_objects_are_wrapped_as_their_schema_is(
    opened: Any, schema: dict[str, Any] | None, data: Any, content: dict[str, Any]
) -> None:
    shop = await opened(Shop(replace(component("echo", "/echo", "POST"), output_schema=schema)))
    shop.answers["echo"] = Result(data)
    told = await shop.call("echo", {})
    assert told["structuredContent"] == content
    assert told["content"][0]["text"] == (data if isinstance(data, str) else json.dumps(data, separators=(",", ":")))
    listed = (await shop.tools())["echo"].get("outputSchema")
    assert (listed is None) == (schema is None)
    if listed is not None:
        assert listed["type"] == "object"
        jsonschema.validate(content, listed)


async def test_a_schema_that_cannot_be_wrapped_is_not_promised(opened: Any) -> None:
    tree = {"type": "array", "items": {"$ref": "#"}}
    shop = await opened(Shop(replace(component("echo", "/echo", "POST"), output_schema=tree)))
    shop.answers["echo"] = Result([[]])
    assert "outputSchema" not in (await shop.tools())["echo"]
    assert (await shop.call("echo", {}))["structuredContent"] == {"result": [[]]}


async def test_errors_of_components_are_errors_of_tools(opened: Any) -> None:
    shop = await opened(Shop(component("echo", "/echo", "POST")))
    shop.answers["echo"] = Result({"code": "SOLD_OUT", "message": "None left", "statusCode": 409}, "error")
    told = await shop.call("echo", {})
    assert (told["isError"], told["content"][0]["text"]) == (True, "None left")
    assert told["structuredContent"]["error"]["code"] == "SOLD_OUT"
    shop.answers["echo"] = Result({"statusCode": 404, "body": "nothing"}, "httpResponse")
    assert (await shop.call("echo", {}))["isError"] is True
    shop.answers["echo"] = Result({"statusCode": 201, "body": "made"}, "httpResponse")
    assert (await shop.call("echo", {}))["isError"] is False


@pytest.mark.parametrize(
    ("response", "content"),
    [
        ({"headers": {"Content-Type": "image/png"}, "body": "iVBO", "bodyEncoding": "base64"},
         {"type": "image", "data": "iVBO", "mimeType": "image/png"}),
        ({"headers": {"content-type": "audio/wav; x=y"}, "body": "UklG", "bodyEncoding": "base64"},
         {"type": "audio", "data": "UklG", "mimeType": "audio/wav"}),
        ({"headers": {"Content-Type": "image/svg+xml"}, "body": "<svg/>"}, None),
        ({"headers": {"Content-Type": "image/png"}, "body": "no base64", "bodyEncoding": "base64"}, None),
        ({"headers": {"Content-Type": "application/zip"}, "body": "UEsD", "bodyEncoding": "base64"}, None),
        ({"headers": {"Content-Type": "image/png"}, "body": "iVBO", "bodyEncoding": "base64", "statusCode": 500}, None),
    ],
)  # fmt: skip
async def test_a_picture_or_a_sound_is_told_as_one(opened: Any, response: dict[str, Any], content: Any) -> None:
    shop = await opened(Shop(component("echo", "/echo", "POST")))
    shop.answers["echo"] = Result(response, "httpResponse")
    told = await shop.call("echo", {})
    if content is None:
        assert told["structuredContent"] == response
    else:
        assert told["content"] == [content]
        assert "structuredContent" not in told


async def test_what_the_router_refuses_is_told_with_its_envelope(opened: Any) -> None:
    class Spent(Shop):
        async def respond(self, request: RoutedRequest) -> Result:
            raise BudgetExhausted(retry_after_s=5)

    shop = await opened(Spent(component("echo", "/echo", "POST")))
    error = (await shop.call("echo", {}))["structuredContent"]["error"]
    assert (error["code"], error["retryable"]) == ("BUDGET_EXHAUSTED", True)
    assert error["traceId"]


async def test_a_key_shows_and_reaches_what_it_may_invoke(opened: Any) -> None:
    shop = Shop(component("echo", "/echo", "POST"), unrouted("step"), component("other", "/other", "POST"))
    shop.permissions = ("invoke:echo", "invoke:step", "trigger:other")
    shop = await opened(shop)
    assert list(await shop.tools()) == ["echo", "step"]
    told = await shop.ask("tools/call", {"name": "other", "arguments": {}})
    assert told["error"]["code"] == -32602
    assert [one.component.definition.component_id for one in shop.router.requests] == []


@pytest.mark.parametrize(
    ("headers", "status"), [({}, 401), ({"X-API-Key": "nothing"}, 401), ({"Authorization": "Bearer others"}, 403)]
)
async def test_without_a_key_of_the_application_there_is_nothing(
    opened: Any, headers: dict[str, str], status: int
) -> None:
    shop = await opened(Shop(component("echo", "/echo", "POST")))
    refused = await shop.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, headers)
    assert refused.status_code == status
    assert refused.headers["content-security-policy"] == "sandbox"


async def test_a_public_application_shows_anybody_what_has_a_route(opened: Any) -> None:
    shop = await opened(Shop(component("echo", "/echo", "POST"), unrouted("step"), public=True))
    assert list(await shop.tools({})) == ["echo"]
    assert (await shop.call("echo", {}, {}))["structuredContent"] == {}
    assert (await shop.ask("tools/call", {"name": "step", "arguments": {}}, {}))["error"]["code"] == -32602


async def test_users_have_the_components_of_their_roles(opened: Any) -> None:
    shop = Shop(component("echo", "/echo", "POST"), component("other", "/other", "POST"), securityConfig=ROLES)
    shop.users = Users(settings=UserSettings(source="header"), read_secret=lambda name: "")
    shop = await opened(shop)
    assert list(await shop.tools({"X-User-Id": "ann"})) == ["echo"]
    assert list(await shop.tools({**KEY, "X-User-Id": "ann"})) == ["echo"]
    assert list(await shop.tools({"X-User-Id": "bob"})) == []
    await shop.call("echo", {}, {"X-User-Id": "ann"})
    assert shop.router.requests[0].user_info == {"userId": "ann", "roles": ["clerk"], "permissions": ["invoke:echo"]}


async def test_the_applications_own_host_serves_it_too(opened: Any) -> None:
    shop = await opened(Shop(component("echo", "/echo", "POST")))
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    own = {**HEADERS, **KEY, "Host": "shop.uhlp.example:8080"}
    answer = await shop.client.post("/-/mcp", json=message, headers=own)
    assert [tool["name"] for tool in answer.json()["result"]["tools"]] == ["echo"]
    assert (await shop.client.post("/mcp", json=message, headers=own)).status_code == 404


@pytest.mark.parametrize("path", ["/apps/nothing/-/mcp", "/apps/shop/-/mcp/", "/apps/shop/-/mcpx", "/apps/shop/-/"])
async def test_other_paths_are_not_found(opened: Any, path: str) -> None:
    shop = await opened(Shop(component("echo", "/echo", "POST")))
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    assert (await shop.client.post(path, json=message, headers={**HEADERS, **KEY})).status_code == 404

"""Events, callbacks and messages over HTTP: who may send them, what is answered, and that each runs once."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.unit.sources.conftest import APP, SECRET, Shop, component
from tests.unit.web.fakes import Result, services
from uhlp.errors import HandlerFailed
from uhlp.routing.request import RoutedRequest
from uhlp.sources.app_queue import EVENTS
from uhlp.web.edge import open_edge

ORDERS = {"source": "queue", "queue": "orders"}
OPENED = {"source": "trigger", "event": "ticket.opened"}
PAID = {"source": "callback", "name": "paid"}
SIGNED = PAID | {"verification": {"secret": "secret:PAY", "header": "X-Hub-Signature-256", "prefix": "sha256="}}
BODY = {"text": "3 pears"}


class Caller:
    """Sends to one server; `keys` by name."""

    def __init__(self, shop: Shop, client: httpx.AsyncClient) -> None:
        self.shop = shop
        self.client = client

    async def key(self, *permissions: str, app_id: str = APP) -> dict[str, str]:
        raw, _ = await self.shop.registry.create_api_key(app_id, permissions=permissions)
        return {"X-API-Key": raw}

    async def post(self, path: str, body: Any = BODY, **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(
            f"/apps/{APP}/-/{path}", content=content, headers={"Content-Type": "application/json", **named}
        )


@pytest.fixture
async def caller(shop: Shop) -> AsyncIterator[Caller]:
    parts = services(
        clock=shop.clock, registry=shop.registry, router=shop.router, requests=shop.requests, sources=shop.sources
    )
    async with open_edge(parts) as edge:
        transport = httpx.ASGITransport(edge, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://uhlp") as client:
            yield Caller(shop, client)


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def signature(body: bytes, *, timestamp: str = "") -> str:
    text = f"{timestamp}.".encode() + body if timestamp else body
    return "sha256=" + hmac.new(SECRET.encode(), text, hashlib.sha256).hexdigest()


async def test_an_answer_that_is_larger_than_answers_may_be_is_refused(shop: Shop, caller: Caller) -> None:
    await shop.register(component("triage", OPENED))

    async def too_much(request: RoutedRequest) -> Result:
        return Result({"text": "x" * (10 * 1024 * 1024)})

    shop.router.respond = too_much
    assert code(await caller.post("triggers/ticket.opened", **await caller.key("*"))) == (502, "OUTPUT_INVALID")


# -- queues


async def test_a_message_is_accepted_with_its_id_and_not_answered(shop: Shop, caller: Caller) -> None:
    await shop.register(component("fulfil", ORDERS))
    response = await caller.post("queues/orders", **await caller.key("trigger:orders"))
    assert response.status_code == 202
    assert response.headers["content-security-policy"] == "sandbox"
    await shop.work()
    (request,) = shop.asked
    assert request.source_details is not None
    assert response.json() == {"messageId": request.source_details["messageId"]}
    assert response.headers["x-trace-id"] == request.trace_id


async def test_a_queue_asks_for_a_key_that_may_start_its_consumer(shop: Shop, caller: Caller) -> None:
    await shop.register(component("fulfil", ORDERS), public=True)
    await shop.register(component("other"), app_id="office")
    assert code(await caller.post("queues/orders")) == (401, "UNAUTHORIZED")
    assert code(await caller.post("queues/orders", X_API_Key="uhlp_0123456789abcdef_" + "a" * 48))[0] == 401
    assert code(await caller.post("queues/orders", **await caller.key("invoke:other")))[0] == 403
    assert code(await caller.post("queues/orders", **await caller.key("*", app_id="office")))[0] == 403
    assert (await caller.post("queues/orders", **await caller.key("invoke:fulfil"))).status_code == 202


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{", (400, "MALFORMED_JSON")),
        (b"[1]", (422, "INPUT_INVALID")),
        (b'{"text": 3}', (422, "INPUT_INVALID")),
        (b"", (422, "INPUT_INVALID")),
    ],
)
async def test_what_is_no_input_is_refused_and_not_kept(
    shop: Shop, caller: Caller, body: bytes, expected: tuple[int, str]
) -> None:
    await shop.register(component("fulfil", ORDERS))
    assert code(await caller.post("queues/orders", body, **await caller.key("*"))) == expected
    assert (await shop.queues.overview(APP))[0]["ready"] == 0


async def test_other_names_kinds_and_methods_are_refused(shop: Shop, caller: Caller) -> None:
    await shop.register(component("fulfil", ORDERS))
    key = await caller.key("*")
    assert code(await caller.post("queues/nothing", **key)) == (404, "QUEUE_NOT_FOUND")
    assert code(await caller.post("queues/nothing")) == (401, "UNAUTHORIZED")
    assert code(await caller.post("queues/_events", **key)) == (404, "QUEUE_NOT_FOUND")
    assert code(await caller.post("rabbits/orders", **key)) == (404, "ROUTE_NOT_FOUND")
    assert code(await caller.post("callbacks/nothing", **key)) == (404, "LISTENER_NOT_FOUND")
    assert code(await caller.post("triggers/nothing", **key)) == (404, "LISTENER_NOT_FOUND")
    response = await caller.client.get(f"/apps/{APP}/-/queues/orders", headers=key)
    assert code(response) == (405, "METHOD_NOT_ALLOWED")
    assert response.headers["allow"] == "POST"
    assert code(await caller.client.post("/apps/nobody/-/queues/orders", headers=key)) == (404, "APP_NOT_FOUND")


# -- events


async def test_one_listener_answers_an_event_of_another_application(shop: Shop, caller: Caller) -> None:
    allowed = [{"allowedSourceAppId": "office", "allowedEvents": ["ticket.opened"]}]
    await shop.register(component("triage", OPENED), securityConfig={"interAppPermissions": allowed})
    await shop.register(component("other"), app_id="office")
    response = await caller.post("triggers/ticket.opened", **await caller.key("trigger:*", app_id="office"))
    assert (response.status_code, response.json()) == (200, BODY)
    assert response.headers["x-uhlp-handler"] == "jit"
    (request,) = shop.asked
    assert request.source == "trigger"
    assert request.source_details == {"event": "ticket.opened", "sourceAppId": "office"}


async def test_an_event_needs_a_permission_of_the_key_and_of_the_application(shop: Shop, caller: Caller) -> None:
    allowed = [{"allowedSourceAppId": "office", "allowedEvents": ["ticket.closed"]}]
    await shop.register(component("triage", OPENED), securityConfig={"interAppPermissions": allowed}, public=True)
    await shop.register(component("other"), app_id="office")
    assert code(await caller.post("triggers/ticket.opened")) == (401, "UNAUTHORIZED")
    for key in (
        await caller.key("trigger:*", app_id="office"),  # not this event
        await caller.key("invoke:*"),  # one's own application, without trigger:
    ):
        assert code(await caller.post("triggers/ticket.opened", **key)) == (403, "PERMISSION_DENIED")
    assert (await caller.post("triggers/ticket.opened", **await caller.key("trigger:*"))).status_code == 200


async def test_several_listeners_get_a_message_each(shop: Shop, caller: Caller) -> None:
    await shop.register(component("triage", OPENED), component("count", OPENED), component("deaf"))
    response = await caller.post("triggers/ticket.opened", **await caller.key("trigger:*"))
    assert response.status_code == 202
    await shop.work(EVENTS)
    seen = {
        request.component.definition.component_id: (request.source_details or {})["messageId"] for request in shop.asked
    }
    assert response.json() == {
        "messages": [{"componentId": name, "messageId": seen[name]} for name in ("triage", "count")]
    }
    assert {request.source for request in shop.asked} == {"trigger"}


async def test_an_event_that_one_listener_cannot_take_goes_to_none(shop: Shop, caller: Caller) -> None:
    number = component("count", OPENED, inputSchema={"type": "object", "required": ["number"]})
    await shop.register(component("triage", OPENED), number)
    response = await caller.post("triggers/ticket.opened", **await caller.key("trigger:*"))
    assert code(response) == (422, "INPUT_INVALID")
    assert [row["ready"] for row in await shop.queues.overview(APP)] == [0]


async def test_listeners_take_what_their_mapping_makes_of_an_event(shop: Shop, caller: Caller) -> None:
    mapping = {"text": "trigger.input.order.lines[0] + ' for ' + trigger.details.sourceAppId"}
    await shop.register(component("triage", OPENED | {"inputMapping": mapping}))
    key = await caller.key("trigger:*")
    taken = await caller.post("triggers/ticket.opened", {"order": {"lines": ["3 pears"]}}, **key)
    assert taken.json() == {"text": "3 pears for shop"}
    other = await caller.post("triggers/ticket.opened", {"order": {}}, **key)
    assert code(other) == (422, "INPUT_INVALID")
    assert other.json()["error"]["details"]["problems"][0]["path"] == "/text"


# -- callbacks


async def test_a_callback_with_a_key_is_answered_by_the_component(shop: Shop, caller: Caller) -> None:
    await shop.register(component("settle", PAID), public=True)
    assert code(await caller.post("callbacks/paid")) == (401, "UNAUTHORIZED")
    response = await caller.post("callbacks/paid", **await caller.key("invoke:settle"))
    assert (response.status_code, response.json()) == (200, BODY)
    (request,) = shop.asked
    assert (request.source, request.source_details) == ("callback", {"callback": "paid"})


async def test_a_signed_callback_needs_no_key_and_runs_once(shop: Shop, caller: Caller) -> None:
    await shop.register(component("settle", SIGNED))
    body = json.dumps(BODY).encode()
    first = await caller.post("callbacks/paid", body, X_Hub_Signature_256=signature(body))
    assert (first.status_code, first.json()) == (200, BODY)
    again = await caller.post("callbacks/paid", body, X_Hub_Signature_256=signature(body), Idempotency_Key="another")
    assert again.status_code == 200
    assert again.json() == {"repeated": True, "traceId": first.headers["x-trace-id"]}
    assert len(shop.asked) == 1


@pytest.mark.parametrize("sent", ["", "sha256=", "sha256=" + "0" * 64, "0" * 64, "sha256=é"])
async def test_a_wrong_signature_is_refused_before_anything_runs(shop: Shop, caller: Caller, sent: str) -> None:
    await shop.register(component("settle", SIGNED))
    headers = {"X-Hub-Signature-256": sent.encode("latin-1")}
    response = await caller.client.post(f"/apps/{APP}/-/callbacks/paid", content=b'{"text": "x"}', headers=headers)
    assert code(response) == (401, "UNAUTHORIZED")
    assert SECRET not in response.text
    assert shop.asked == []


async def test_a_body_that_was_changed_is_refused_and_only_who_is_wrong_often_waits(shop: Shop, caller: Caller) -> None:
    await shop.register(component("settle", SIGNED))
    right = signature(json.dumps(BODY).encode())
    for _ in range(5):
        assert code(await caller.post("callbacks/paid", {"text": "4 pears"}, X_Hub_Signature_256=right))[0] == 401
    wrong = await caller.post("callbacks/paid", {"text": "4 pears"}, X_Hub_Signature_256=right)
    assert code(wrong) == (429, "TOO_MANY_REQUESTS")
    theirs = {"X_Hub_Signature_256": right, "Authorization": "Bearer of-the-provider"}
    assert (await caller.post("callbacks/paid", **theirs)).status_code == 200


async def test_a_timestamp_is_signed_with_the_body_and_must_be_fresh(shop: Shop, caller: Caller) -> None:
    verification = SIGNED["verification"] | {"timestampHeader": "X-Timestamp", "toleranceS": 60}
    await shop.register(component("settle", PAID | {"verification": verification}))
    body = json.dumps(BODY).encode()
    now = int(shop.clock.now())

    async def send(timestamp: str, signed: str) -> int:
        sent = await caller.post("callbacks/paid", body, X_Hub_Signature_256=signed, X_Timestamp=timestamp)
        return sent.status_code

    assert await send(str(now - 59), signature(body, timestamp=str(now - 59))) == 200
    assert await send(str(now - 61), signature(body, timestamp=str(now - 61))) == 401
    assert await send(str(now), signature(body)) == 401
    assert await send("soon", signature(body, timestamp="soon")) == 401


async def test_a_secret_that_is_not_there_is_the_servers_fault_and_is_not_named(shop: Shop, caller: Caller) -> None:
    verification = {"secret": "secret:NOWHERE"}
    await shop.register(component("settle", PAID | {"verification": verification}))
    response = await caller.post("callbacks/paid", X_Signature="0" * 64)
    assert code(response) == (503, "UNAVAILABLE")
    assert "NOWHERE" not in response.text


async def test_an_idempotency_key_lets_a_callback_run_once_unless_it_failed(shop: Shop, caller: Caller) -> None:
    async def fail(request: RoutedRequest) -> Result:
        raise HandlerFailed

    await shop.register(component("settle", PAID))
    key = await caller.key("*")
    shop.router.respond = fail
    assert code(await caller.post("callbacks/paid", Idempotency_Key="p-1", **key))[0] == 502
    shop.router.respond = None
    assert (await caller.post("callbacks/paid", Idempotency_Key="p-1", **key)).json() == BODY
    assert (await caller.post("callbacks/paid", Idempotency_Key="p-1", **key)).json()["repeated"] is True
    assert (await caller.post("callbacks/paid", Idempotency_Key="p-2", **key)).json() == BODY
    assert (await caller.post("callbacks/paid", **key)).json() == BODY
    assert len(shop.asked) == 4


async def test_the_same_callback_twice_at_once_runs_once(shop: Shop, caller: Caller) -> None:
    begun, finish = asyncio.Event(), asyncio.Event()

    async def respond(request: RoutedRequest) -> Result:
        begun.set()
        await finish.wait()
        return Result(request.input)

    await shop.register(component("settle", PAID))
    key = await caller.key("*")
    shop.router.respond = respond
    first = asyncio.create_task(caller.post("callbacks/paid", Idempotency_Key="p-1", **key))
    await asyncio.wait_for(begun.wait(), 30)
    second = await caller.post("callbacks/paid", Idempotency_Key="p-1", **key)
    assert code(second) == (409, "CALLBACK_UNDER_WAY")
    assert second.json()["error"]["retryable"] is True
    finish.set()
    assert (await first).status_code == 200


async def test_a_correlation_that_no_run_can_wait_for_is_refused(shop: Shop, caller: Caller) -> None:
    await shop.register(component("settle", PAID))
    key = await caller.key("*")
    longest = "c" * 256
    shop.waiting.waits = {(APP, "paid", longest)}
    assert code(await caller.post(f"callbacks/paid?correlation={longest}d", **key)) == (400, "BAD_REQUEST")
    assert shop.asked == []
    assert (await caller.post(f"callbacks/paid?correlation={longest}", **key)).json() == {"delivered": True}


async def test_a_workflow_that_waits_is_asked_first(shop: Shop, caller: Caller) -> None:
    await shop.register(component("settle", PAID))
    shop.waiting.waits = {(APP, "paid", "order-7"), (APP, "approved", "")}
    key = await caller.key("trigger:*")
    taken = await caller.post("callbacks/paid?correlation=order-7", **key)
    assert (taken.status_code, taken.json()) == (202, {"delivered": True})
    assert shop.asked == []
    alone = await caller.post("callbacks/approved", {"by": "ann"}, **key)
    assert alone.status_code == 202
    assert shop.waiting.got == [BODY, {"by": "ann"}]
    assert (await caller.post("callbacks/paid?correlation=order-8", **key)).json() == BODY
    assert (shop.asked[0].source_details or {})["correlation"] == "order-8"


async def test_an_application_whose_mappings_compute_too_much_is_told_to_come_later(shop: Shop, caller: Caller) -> None:
    mapping = {"inputMapping": {"text": "trigger.input.text"}}
    await shop.register(component("settle", PAID | mapping))
    key = await caller.key("*")
    assert (await caller.post("callbacks/paid", {"text": "x"}, **key)).status_code == 200
    shop.share.take(APP, 6.0)
    late = await caller.post("callbacks/paid", {"text": "x"}, **key)
    assert code(late) == (429, "TOO_MANY_REQUESTS")
    assert 19 <= int(late.headers["retry-after"]) <= 21
    shop.clock.advance(30)
    assert (await caller.post("callbacks/paid", {"text": "x"}, **key)).status_code == 200

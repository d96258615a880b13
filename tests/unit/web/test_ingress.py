"""Application traffic: from a request to a component's input, and from its result to a response."""

import asyncio
from typing import Any

import httpx

from uhlp.errors import BadModelAnswer, ModelRequestRefused, ModelTooSlow, NoModelProvider, NoSandboxAvailable
from uhlp.routing.request import RoutedRequest
from uhlp.web.edge import open_edge
from web.fakes import TICKET, Echo, KeyIdentity, Result, SnapshotsOnly, application, component, listening, services

JSON = {"content-type": "application/json"}


def shop(*, public: bool = True) -> SnapshotsOnly:
    return SnapshotsOnly(
        {
            "shop": application(
                "shop",
                component("ticket", "/tickets/:count", "POST", schema=TICKET),
                component("search", "/search", "GET", schema=TICKET),
                component("raw", "/raw", "POST"),
                component("text", "/text", "POST", schema=TICKET),
                public=public,
            )
        }
    )


async def test_a_json_body_reaches_the_component_and_its_answer_says_who_gave_it(caller_of) -> None:
    client = await caller_of(services(registry=shop()))
    response = await client.post("/apps/shop/text", json={"text": "hi"})
    assert response.status_code == 200
    assert response.json() == {"text": "hi"}
    assert response.headers["x-uhlp-handler"] == "jit"
    assert response.headers["x-uhlp-implementation"] == "jit@v3"
    assert response.headers["x-uhlp-reason"] == "STATIC"
    assert "x-uhlp-deoptimized" not in response.headers
    assert response.headers["server-timing"].startswith("sandbox;dur=0.25, total;dur=")
    assert response.headers["content-security-policy"] == "sandbox"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert len(response.headers["x-trace-id"]) == 32


async def test_the_callers_trace_is_continued_and_a_malformed_one_replaced(caller_of) -> None:
    router = Echo()
    client = await caller_of(services(registry=shop(), router=router))
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    for traceparent in (f"00-{trace}-00f067aa0ba902b7-01", f"00-{trace.upper()}-00f067aa0ba902b7-01", "nonsense"):
        await client.post("/apps/shop/text", json={"text": ""}, headers={"traceparent": traceparent})
    assert [request.trace_id == trace for request in router.requests] == [True, False, False]


async def test_body_query_and_path_make_one_input_with_strings_coerced_by_the_schema(caller_of) -> None:
    client = await caller_of(services(registry=shop()))
    response = await client.post("/apps/shop/tickets/7?loud=true", json={"text": "hi"})
    assert response.json() == {"text": "hi", "count": 7, "loud": True}
    response = await client.get("/apps/shop/search?text=a%20b&count=-3")
    assert response.json() == {"text": "a b", "count": -3}


async def test_a_string_that_does_not_read_as_its_type_is_refused_by_the_schema(caller_of) -> None:
    client = await caller_of(services(registry=shop()))
    for count in ("1_000", " 1", "1.5", "x", "9" * 40):
        response = await client.get("/apps/shop/search", params={"text": "a", "count": count})
        assert response.status_code == 422, count
        assert response.json()["error"]["code"] == "INPUT_INVALID"
        assert response.json()["error"]["details"]["problems"][0]["path"] == "/count"


async def test_one_name_with_different_values_is_refused_and_with_equal_values_taken(caller_of) -> None:
    client = await caller_of(services(registry=shop()))
    for url, body, status in (
        ("/apps/shop/tickets/7?count=8", {"text": "a"}, 422),
        ("/apps/shop/tickets/7?count=7", {"text": "a"}, 200),
        ("/apps/shop/tickets/1", {"text": "a", "count": True}, 422),
        ("/apps/shop/tickets/7", {"text": "a", "count": 7}, 200),
        ("/apps/shop/search?text=a&text=b", None, 422),
    ):
        response = await client.request("POST" if body else "GET", url, json=body)
        assert response.status_code == status, (url, response.text)


async def test_a_percent_encoded_slash_stays_inside_its_path_parameter(caller_of) -> None:
    registry = SnapshotsOnly({"shop": application("shop", component("user", "/users/:id", "GET"))})
    client = await caller_of(services(registry=registry))
    assert (await client.get("/apps/shop/users/a%2Fb")).json() == {"id": "a/b"}
    assert (await client.get("/apps%2Fshop/users/a")).status_code == 404
    assert (await client.get("/apps/shop/users/%ff")).status_code == 400


async def test_bodies_that_are_not_json_arrive_whole(caller_of) -> None:
    client = await caller_of(services(registry=shop()))
    response = await client.post("/apps/shop/raw", content="grüß".encode(), headers={"content-type": "text/plain"})
    assert response.json() == {"body": "grüß", "bodyEncoding": "utf8"}
    response = await client.post("/apps/shop/raw", content=b"\xff\x00", headers={"content-type": "image/png"})
    assert response.json() == {"body": "/wA=", "bodyEncoding": "base64"}


async def test_a_forgotten_content_type_is_named_as_the_cause(caller_of) -> None:
    client = await caller_of(services(registry=shop()))
    response = await client.post("/apps/shop/text", content=b'{"text": "hi"}')
    assert response.status_code == 422
    assert "Content-Type: application/json" in response.json()["error"]["message"]


async def test_unknown_paths_and_methods_answer_with_the_envelope(caller_of) -> None:
    client = await caller_of(services(registry=shop()))
    for method, url, status, code in (
        ("POST", "/apps/nobody/x", 404, "APP_NOT_FOUND"),
        ("POST", "/apps/shop/nothing", 404, "ROUTE_NOT_FOUND"),
        ("POST", "/apps/shop/-/triggers/x", 404, "ROUTE_NOT_FOUND"),
        ("POST", "/apps/shop", 404, "ROUTE_NOT_FOUND"),
        ("DELETE", "/apps/shop/text", 405, "METHOD_NOT_ALLOWED"),
    ):
        response = await client.request(method, url)
        assert (response.status_code, response.json()["error"]["code"]) == (status, code)
        assert response.json()["error"]["traceId"] == response.headers["x-trace-id"]
        assert response.headers["content-security-policy"] == "sandbox"
    assert response.headers["allow"] == "OPTIONS, POST"
    assert response.json()["error"]["details"]["allow"] == ["OPTIONS", "POST"]
    assert (await client.put("/apps/shop/search")).headers["allow"] == "GET, HEAD, OPTIONS"
    assert (await client.head("/apps/shop/text")).status_code == 405


async def test_head_answers_as_get_and_options_names_the_methods(caller_of) -> None:
    client = await caller_of(services(registry=shop()))
    assert (await client.head("/apps/shop/search?text=a")).status_code == 200
    response = await client.options("/apps/shop/search")
    assert (response.status_code, response.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
    assert (await client.options("/apps/shop/nothing")).status_code == 404


async def test_an_application_that_is_not_public_asks_for_a_key_with_the_permission(caller_of) -> None:
    registry = shop(public=False)
    registry.keys = {
        "good": KeyIdentity("shop"),
        "other-app": KeyIdentity("other"),
        "other-component": KeyIdentity("shop", permissions=("invoke:raw",)),
    }
    client = await caller_of(services(registry=registry))
    url, body = "/apps/shop/text", {"text": "a"}
    refused = await client.post(url, json=body)
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert (await client.post(url, json=body, headers={"X-API-Key": "good"})).status_code == 200
    assert (await client.post(url, json=body, headers={"Authorization": "Bearer good"})).status_code == 200
    assert (await client.post(url, json=body, headers={"X-API-Key": "other-app"})).status_code == 403
    assert (await client.post(url, json=body, headers={"X-API-Key": "other-component"})).status_code == 403


async def test_guessing_keys_is_slowed_down_before_it_costs_a_hash(caller_of) -> None:
    registry = shop(public=False)
    client = await caller_of(services(registry=registry))
    answers = [
        (await client.post("/apps/shop/text", json={"text": ""}, headers={"X-API-Key": f"guess-{n}"})).status_code
        for n in range(8)
    ]
    assert answers == [401] * 5 + [429] * 3
    assert registry.slow_checks == 5


async def test_credentials_and_cookies_stay_out_of_what_a_sandbox_sees(caller_of) -> None:
    router, registry = Echo(), shop(public=False)
    registry.keys = {"good": KeyIdentity("shop")}
    client = await caller_of(services(registry=registry, router=router))
    headers = {"X-API-Key": "good", "Cookie": "uhlp_panel=secret", "X-Session-Id": "s1", "Accept": "application/json"}
    await client.post("/apps/shop/text?loud=true", json={"text": "a"}, headers=headers)
    request = router.requests[0]
    assert request.session_id == "s1"
    assert request.source_details["method"] == "POST"
    assert request.source_details["path"] == "/text"
    assert request.source_details["queryParams"] == {"loud": "true"}
    assert set(request.source_details["headers"]) <= {"content-type", "accept", "user-agent", "accept-language"}


async def test_errors_from_behind_keep_their_status_and_say_when_to_retry(caller_of) -> None:
    async def busy(request: RoutedRequest) -> Result:
        raise NoSandboxAvailable(retry_after_s=2.2)

    async def unconfigured(request: RoutedRequest) -> Result:
        raise NoModelProvider

    async def nonsense(request: RoutedRequest) -> Result:
        raise BadModelAnswer

    async def slow(request: RoutedRequest) -> Result:
        raise ModelTooSlow

    async def refused(request: RoutedRequest) -> Result:
        raise ModelRequestRefused

    async def broken(request: RoutedRequest) -> Result:
        raise KeyError("a secret of the inside")

    for respond, status, code, retry_after in (
        (busy, 503, "NO_SANDBOX_AVAILABLE", "3"),
        (unconfigured, 503, "NO_MODEL_PROVIDER", None),
        (nonsense, 502, "BAD_MODEL_ANSWER", "1"),
        (slow, 503, "MODEL_TOO_SLOW", "1"),
        (refused, 502, "MODEL_REQUEST_REFUSED", None),
        (broken, 500, "INTERNAL_ERROR", None),
    ):
        client = await caller_of(services(registry=shop(), router=Echo(respond)))
        response = await client.post("/apps/shop/raw", json={})
        assert (response.status_code, response.json()["error"]["code"]) == (status, code)
        assert response.headers.get("retry-after") == retry_after
        assert "secret" not in response.text


async def answered(caller_of: Any, result: Result) -> httpx.Response:
    async def respond(request: RoutedRequest) -> Result:
        return result

    client = await caller_of(services(registry=shop(), router=Echo(respond)))
    return await client.post("/apps/shop/raw", json={})


async def test_an_http_response_is_proxied_without_headers_that_reach_beyond_it(caller_of) -> None:
    headers = {
        "Content-Type": "text/html",
        "X-Kind": "greeting",
        "Link": ["<a>", "<b>"],
        "Set-Cookie": "a=b",
        "Content-Security-Policy": "default-src *",
        "Clear-Site-Data": "*",
        "Refresh": "0",
        "Service-Worker-Allowed": "/",
        "Transfer-Encoding": "chunked",
        "Content-Length": "1",
        "X-UHLP-Handler": "llm",
        "Access-Control-Allow-Origin": "*",
        "Cross-Origin-Opener-Policy": "unsafe-none",
        "X-Accel-Redirect": "/etc/passwd",
        "X-Sendfile": "/etc/passwd",
        "Strict-Transport-Security": "max-age=1",
        "Alt-Svc": "clear",
        "NEL": "{}",
        "Report-To": "{}",
        "X-Bad": "a\r\nSet-Cookie: b=c",
        "Bad Name": "x",
        "X-Nul\n": "x",
    }
    data = {"statusCode": 201, "headers": headers, "body": "<b>hi</b>"}
    response = await answered(caller_of, Result(data, "httpResponse"))
    assert (response.status_code, response.text) == (201, "<b>hi</b>")
    assert response.headers["content-type"] == "text/html"
    assert response.headers.get_list("link") == ["<a>", "<b>"]
    assert response.headers["x-kind"] == "greeting"
    assert response.headers["x-uhlp-handler"] == "jit"
    assert response.headers["content-length"] == "9"
    assert response.headers.get_list("content-security-policy") == ["sandbox"]
    kept = {"content-type", "x-kind", "link"}
    assert {name.lower() for name in headers if name.lower() in response.headers} == kept | {
        "content-length",
        "content-security-policy",
        "x-uhlp-handler",
    }


async def test_headers_of_an_http_response_are_limited_in_number_and_size(caller_of) -> None:
    for headers in ({f"h{n}": "x" for n in range(101)}, {"link": ["x"] * 101}, {"h": "x" * 17_000}):
        response = await answered(caller_of, Result({"headers": headers}, "httpResponse"))
        assert (response.status_code, response.json()["error"]["code"]) == (502, "OUTPUT_INVALID")
    full = {f"h{n}": "x" * 100 for n in range(100)}
    assert (await answered(caller_of, Result({"headers": full}, "httpResponse"))).status_code == 200


async def test_an_http_response_may_be_binary_empty_or_json(caller_of) -> None:
    base64 = await answered(caller_of, Result({"body": "/wA=", "bodyEncoding": "base64"}, "httpResponse"))
    assert base64.content == b"\xff\x00"
    empty = await answered(caller_of, Result({"statusCode": 204, "body": "ignored"}, "httpResponse"))
    assert (empty.status_code, empty.content) == (204, b"")
    value = await answered(caller_of, Result({"body": {"a": 1}}, "httpResponse"))
    assert (value.json(), value.headers["content-type"]) == ({"a": 1}, "application/json")


async def test_an_http_response_that_cannot_be_sent_is_a_bad_output(caller_of) -> None:
    for data in (
        [],
        {"statusCode": 99},
        {"statusCode": True},
        {"statusCode": "200"},
        {"headers": []},
        {"body": "!", "bodyEncoding": "base64"},
        {"body": "x", "bodyEncoding": "rot13"},
    ):
        response = await answered(caller_of, Result(data, "httpResponse"))
        assert (response.status_code, response.json()["error"]["code"]) == (502, "OUTPUT_INVALID"), data
    assert (await answered(caller_of, Result({}, "deoptimize"))).status_code == 502


async def test_an_error_result_becomes_the_envelope_with_its_own_status(caller_of) -> None:
    data = {"code": "OUT_OF_STOCK", "message": "None left.", "statusCode": 409, "details": {"sku": "a"}}
    response = await answered(caller_of, Result(data, "error"))
    assert response.status_code == 409
    assert response.json()["error"] == {
        "code": "OUT_OF_STOCK",
        "message": "None left.",
        "retryable": False,
        "details": {"sku": "a"},
        "traceId": response.headers["x-trace-id"],
    }
    for data in ({"statusCode": 200}, {"statusCode": "409"}, None, "text"):
        assert (await answered(caller_of, Result(data, "error"))).status_code == 500


async def test_a_client_that_leaves_cancels_the_work() -> None:
    began, cancelled = asyncio.Event(), asyncio.Event()

    async def endless(request: RoutedRequest) -> Result:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        raise AssertionError

    async with open_edge(services(registry=shop(), router=Echo(endless))) as edge, listening(edge) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /apps/shop/raw HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        await asyncio.wait_for(began.wait(), 30)
        writer.close()
        await asyncio.wait_for(cancelled.wait(), 30)


async def test_a_disconnect_is_not_mistaken_for_the_servers_own_cancellation() -> None:
    began = asyncio.Event()

    async def endless(request: RoutedRequest) -> Result:
        began.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with open_edge(services(registry=shop(), router=Echo(endless))) as edge:
        scope = {
            "type": "http", "method": "POST", "path": "/apps/shop/raw", "raw_path": b"/apps/shop/raw",
            "query_string": b"", "headers": [], "client": None,
        }  # fmt: skip
        task = asyncio.create_task(edge(scope, asyncio.Event().wait, lambda message: asyncio.sleep(0)))
        await asyncio.wait_for(began.wait(), 30)
        task.cancel()
        results = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)

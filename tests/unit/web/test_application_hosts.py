"""Applications on hosts of their own, below a base domain."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from uhlp.errors import AppNotFound, BadInput
from uhlp.routing.request import RoutedRequest
from uhlp.web.application_hosts import OWN_HOST, ApplicationHosts
from uhlp.web.services import Services
from web.fakes import ADMIN_TOKEN, Echo, Result, SnapshotsOnly, application, component, services

DOMAIN = "apps.example.com"
Make = Callable[[Services], Awaitable[httpx.AsyncClient]]


def shop(**parts: Any) -> Services:
    registry = SnapshotsOnly(
        {
            "shop": application(
                "shop",
                component("ticket", "/tickets/:id", "GET", "POST"),
                component("own-admin", "/admin/v1/apps", "GET"),
                component("root", "/", "GET"),
            )
        }
    )
    return services(**{"registry": registry, "base_domain": DOMAIN, **parts})


@pytest.mark.parametrize(
    "host",
    [f"shop.{DOMAIN}", f"shop.{DOMAIN}:8080", "SHOP.Apps.Example.COM", f"shop.{DOMAIN}.", f"shop.{DOMAIN}.:443"],
)
async def test_a_host_of_its_own_reaches_the_application_as_its_path_does(client_of: Make, host: str) -> None:
    router = Echo()
    client = await client_of(shop(router=router))
    by_host = await client.post("/tickets/a%2Fb?x=1", json={"text": "hi"}, headers={"host": host})
    by_path = await client.post("/apps/shop/tickets/a%2Fb?x=1", json={"text": "hi"})
    assert by_host.status_code == by_path.status_code == 200
    assert by_host.json() == by_path.json() == {"text": "hi", "id": "a/b", "x": "1"}
    assert router.requests[0].source_details == {
        **(router.requests[1].source_details or {}),
        "headers": router.requests[0].source_details["headers"],
    }
    assert (await client.get("/", headers={"host": host})).status_code == 200


async def test_no_path_of_an_applications_host_leads_out_of_the_application(client_of: Make) -> None:
    client = await client_of(shop())
    headers = {"host": f"shop.{DOMAIN}", "authorization": f"Bearer {ADMIN_TOKEN}"}
    assert (await client.get("/admin/v1/apps", headers=headers)).headers["x-uhlp-handler"] == "jit"
    for path in ("/panel", "/panel/login", "/metrics", "/record", "/v1/metrics", "/healthz", "/readyz", "/mcp",
                 "/openapi.json", "/apps/shop/tickets/1", "//admin/v1/apps", "/%2e%2e/healthz",
                 "/apps%2Fshop", "/admin/v1/tokens"):  # fmt: skip
        for method in ("GET", "POST"):
            answer = await client.request(method, path, headers=headers)
            assert answer.json()["error"]["code"] in ("ROUTE_NOT_FOUND", "METHOD_NOT_ALLOWED"), (method, path)


@pytest.mark.parametrize(
    "host", [DOMAIN, f"{DOMAIN}:8080", f"{DOMAIN}.", "127.0.0.1:8080", "other.example", f"my{DOMAIN}"]
)
async def test_the_bare_domain_and_other_names_serve_as_before(client_of: Make, host: str) -> None:
    client = await client_of(shop())
    assert (await client.get("/healthz", headers={"host": host})).status_code == 200
    admin = {"host": host, "authorization": f"Bearer {ADMIN_TOKEN}"}
    assert (await client.get("/admin/v1/tokens", headers=admin)).status_code != 404
    answer = await client.get("/apps/shop/", headers={"host": host})
    assert (answer.status_code, answer.headers["content-security-policy"]) == (200, "sandbox")


@pytest.mark.parametrize(
    ("host", "status", "code"),
    [
        (f"nobody.{DOMAIN}", 404, "APP_NOT_FOUND"),
        (f"a.shop.{DOMAIN}", 404, "APP_NOT_FOUND"),
        (f"shop..{DOMAIN}", 404, "APP_NOT_FOUND"),
        (f".{DOMAIN}", 404, "APP_NOT_FOUND"),
        (f"admin@shop.{DOMAIN}", 404, "APP_NOT_FOUND"),
        (f"shop%2e.{DOMAIN}", 404, "APP_NOT_FOUND"),
        (f"shop/.{DOMAIN}", 404, "APP_NOT_FOUND"),
        (f"shop.{DOMAIN}:http", 400, "BAD_REQUEST"),
        (f"shop.{DOMAIN}:80:80", 400, "BAD_REQUEST"),
        (f"shop.{DOMAIN}..", 400, "BAD_REQUEST"),
        (f"shop.{DOMAIN}:1234567", 400, "BAD_REQUEST"),
        (f"shop.{DOMAIN}, 127.0.0.1", 400, "BAD_REQUEST"),
        (f"127.0.0.1, shop.{DOMAIN}/", 400, "BAD_REQUEST"),
        (f"shop.{DOMAIN}\t", 400, "BAD_REQUEST"),
    ],
)
async def test_what_no_application_is_called_reaches_nothing(
    client_of: Make, host: str, status: int, code: str
) -> None:
    client = await client_of(shop())
    for path in ("/", "/healthz", "/admin/v1/apps", "/panel", "/apps/shop/"):
        answer = await client.get(path, headers={"host": host, "authorization": f"Bearer {ADMIN_TOKEN}"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), path


async def test_what_a_proxy_says_of_the_host_is_not_heard(client_of: Make) -> None:
    client = await client_of(shop())
    for name in ("x-forwarded-host", "x-host", "forwarded", "x-original-host"):
        answer = await client.get("/tickets/1", headers={"host": "127.0.0.1", name: f"shop.{DOMAIN}"})
        assert answer.status_code == 404, name
        answer = await client.get("/healthz", headers={"host": f"shop.{DOMAIN}", name: DOMAIN})
        assert answer.json()["error"]["code"] == "ROUTE_NOT_FOUND", name


async def test_without_a_base_domain_the_host_says_nothing(client_of: Make) -> None:
    client = await client_of(shop(base_domain=None))
    assert (await client.get("/healthz", headers={"host": f"shop.{DOMAIN}"})).status_code == 200
    assert (await client.get("/tickets/1", headers={"host": f"shop.{DOMAIN}"})).status_code == 404


def page(**headers: Any) -> Callable[[RoutedRequest], Awaitable[Result]]:
    async def respond(request: RoutedRequest) -> Result:
        return Result({"statusCode": 200, "headers": headers, "body": "<p>"}, "httpResponse")

    return respond


async def test_on_its_own_host_an_application_may_do_what_it_may_not_on_the_servers(client_of: Make) -> None:
    given = {
        "Content-Type": "text/html",
        "Set-Cookie": ["session=1; Path=/; HttpOnly", "wide=1; Domain=apps.example.com", "w=1; Path=/ ;DOMAIN = com"],
        "Content-Security-Policy": "default-src 'self'",
        "Refresh": "5",
        "Access-Control-Allow-Origin": "*",
        "X-UHLP-Handler": "forged",
        "X-Accel-Redirect": "/etc/passwd",
        "X-Sendfile": "/etc/passwd",
        "Transfer-Encoding": "chunked",
    }
    client = await client_of(shop(router=Echo(page(**given))))
    own = (await client.get("/", headers={"host": f"shop.{DOMAIN}"})).headers
    assert own.get_list("set-cookie") == ["session=1; Path=/; HttpOnly"]
    assert own["content-security-policy"] == "default-src 'self'"
    assert (own["refresh"], own["access-control-allow-origin"]) == ("5", "*")
    assert own["x-uhlp-handler"] == "jit"
    assert not {"x-accel-redirect", "x-sendfile", "transfer-encoding", "x-content-type-options"} & own.keys()
    shared = (await client.get("/apps/shop/")).headers
    assert not {"set-cookie", "refresh", "access-control-allow-origin"} & shared.keys()
    assert (shared["content-security-policy"], shared["x-content-type-options"]) == ("sandbox", "nosniff")


async def test_what_the_server_says_itself_is_never_sniffed(client_of: Make) -> None:
    client = await client_of(shop())
    for method, path in (("GET", "/"), ("GET", "/nothing"), ("OPTIONS", "/tickets/1"), ("DELETE", "/tickets/1")):
        headers = (await client.request(method, path, headers={"host": f"shop.{DOMAIN}"})).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "content-security-policy" not in headers


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.one_of(
        st.binary(max_size=60),
        st.text("shop.apexmle:0189@[]/%-_ AZ\\", max_size=40).map(lambda t: t.encode() + b".apps.example.com"),
        st.text(".:0189@ ", max_size=8).map(lambda t: b"shop.apps.example.com" + t.encode()),
    )
)
def test_no_host_leads_below_the_domain_and_not_to_an_application(host: bytes) -> None:
    scope = {"type": "http", "path": "/admin/v1/apps", "raw_path": b"/admin/v1/apps", "headers": [(b"host", host)]}
    try:
        routed = ApplicationHosts(DOMAIN).routed(scope)
    except (AppNotFound, BadInput):
        return
    if OWN_HOST in routed:
        assert routed["path"].startswith("/apps/")
        assert routed["path"].endswith("/admin/v1/apps")
        assert routed["path"].count("/") == 5
    else:
        assert routed is scope
        assert not host.decode("latin-1").lower().split(":")[0].rstrip(".").endswith(f".{DOMAIN}")


async def test_the_servers_own_paths_of_an_application_are_there_too(client_of: Make) -> None:
    client = await client_of(shop())
    for path in ("/-/triggers/some-event", "/-/callbacks/some-name", "/-/queues/some", "/-/nothing"):
        by_host = await client.post(path, json={}, headers={"host": f"shop.{DOMAIN}"})
        by_path = await client.post(f"/apps/shop{path}", json={})
        assert by_host.status_code == by_path.status_code >= 400
        told = [answer.json()["error"] | {"traceId": ""} for answer in (by_host, by_path)]
        assert told[0] == told[1]

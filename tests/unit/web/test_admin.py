"""The administration's edge: who may, what is refused and how."""

import httpx
import pytest

from uhlp.loops import LoopStatus
from uhlp.web.services import Services
from web.fakes import QuietEvolution, services


async def test_every_admin_path_needs_the_token_even_one_that_does_not_exist(client_of, admin) -> None:
    client = await client_of(services())
    for path in ("/admin/v1/apps", "/admin/v1/nothing", "/admin"):
        response = await client.get(path)
        assert (response.status_code, response.json()["error"]["code"]) == (401, "UNAUTHORIZED")
        assert response.headers["www-authenticate"] == "Bearer"
    assert (await client.get("/admin/v1/apps", headers=admin)).status_code == 200


async def test_guessing_the_admin_token_is_slowed_down_but_the_right_one_still_enters(client_of, admin) -> None:
    client = await client_of(services())
    guess = {"Authorization": "Bearer wrong"}
    answers = [(await client.get("/admin/v1/apps", headers=guess)).status_code for _ in range(7)]
    assert answers == [401] * 5 + [429] * 2
    assert (await client.get("/admin/v1/apps", headers=admin)).status_code == 200


async def test_unknown_paths_and_methods_answer_with_the_envelope(client_of, admin) -> None:
    client = await client_of(services())
    for method, path, status, code in (
        ("GET", "/", 404, "NOT_FOUND"),
        ("GET", "/admin/v1/nothing", 404, "NOT_FOUND"),
        ("GET", "/record", 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/healthz", 405, "METHOD_NOT_ALLOWED"),
    ):
        response = await client.request(method, path, headers=admin)
        assert (response.status_code, response.json()["error"]["code"]) == (status, code)
        assert response.json()["error"]["traceId"] == response.headers["x-trace-id"]
    assert response.headers["allow"] == "GET"
    for path, allow in (
        ("apps", "GET, POST"),
        ("apps/shop", "DELETE, GET, PATCH"),
        ("apps/shop/runtime/k", "DELETE, GET, PUT"),
        ("apps/shop/definition/a/b", "DELETE, GET, PUT"),
    ):
        response = await client.request("OPTIONS", f"/admin/v1/{path}", headers=admin)
        assert (response.status_code, response.headers["allow"]) == (405, allow)


async def test_answers_carry_security_headers(client_of, admin) -> None:
    client = await client_of(services())
    for response in (await client.get("/healthz"), await client.get("/admin/v1/apps"), await client.get("/nothing")):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["x-frame-options"] == "DENY"
        assert "default-src 'none'" in response.headers["content-security-policy"]


async def test_an_unknown_field_is_named_by_its_path_and_the_input_is_not_echoed(client_of, admin) -> None:
    client = await client_of(services())
    body = {"definition": {"appId": "shop", "configuration": {}, "nonsense": "a secret"}}
    response = await client.post("/admin/v1/apps", json=body, headers=admin)
    assert response.status_code == 422
    assert response.json()["error"]["details"]["problems"][0]["path"] == "/definition/nonsense"
    assert "secret" not in response.text


async def test_a_form_is_refused_with_the_content_type_to_send(client_of, admin) -> None:
    client = await client_of(services())
    response = await client.post("/admin/v1/apps", content=b'{"definition": {}}', headers=admin)
    assert response.status_code == 422
    assert "Content-Type: application/json" in response.json()["error"]["message"]


async def test_an_unexpected_error_is_500_without_its_details(client_of, admin) -> None:
    class Broken(QuietEvolution):
        async def overview(self):
            raise KeyError("a secret of the inside")

    client = await client_of(services(evolution=Broken()))
    response = await client.get("/admin/v1/evolution", headers=admin)
    assert (response.status_code, response.json()["error"]["code"]) == (500, "INTERNAL_ERROR")
    assert "secret" not in response.text


async def test_the_state_of_every_loop_is_told(client_of, admin) -> None:
    well = LoopStatus("usage", True, 3, 0, 0, None, 1_750_000_000.0, 0.25)
    ill = LoopStatus("oracle", True, 3, 2, 2, "KeyError: 'x'", None, None)
    client = await client_of(services(loops=lambda: (well, ill)))
    told = (await client.get("/admin/v1/evolution", headers=admin)).json()["loops"]
    assert [(one["name"], one["healthy"], one["lastError"]) for one in told] == [
        ("usage", True, None),
        ("oracle", False, "KeyError: 'x'"),
    ]
    assert told[0]["lastCycleEndedAt"] == "2025-06-15T15:06:40+00:00"


async def test_openapi_documents_the_envelope_for_every_status(client_of) -> None:
    client = await client_of(services())
    document = (await client.get("/openapi.json")).json()
    otlp = document["paths"].pop("/v1/metrics")["post"]["responses"]  # its errors are OTLP's, not the envelope
    assert {"400", "401", "403", "413", "429", "503"} <= otlp.keys()
    operations = [one for path in document["paths"].values() for one in path.values()]
    assert len(operations) > 30
    for operation in operations:
        assert {"400", "401", "403", "404", "409", "413", "422", "429", "503", "504"} <= operation["responses"].keys()
        refused = operation["responses"]["422"]["content"]["application/json"]["schema"]
        assert refused == {"$ref": "#/components/schemas/ErrorEnvelope"}


async def test_oversight_names_the_actor_and_the_reason(client_of, admin) -> None:
    evolution = QuietEvolution()
    client = await client_of(services(evolution=evolution))
    url = "/admin/v1/apps/shop/components/echo/optimize"
    response = await client.post(url, json={"action": "jit", "reason": "too slow"}, headers=admin)
    assert (response.status_code, response.json()) == (202, {"candidateId": "cand-1"})
    response = await client.post("/admin/v1/candidates/cand-1/rollback", json={"reason": "wrong"}, headers=admin)
    assert response.json()["state"] == "rolled_back"
    assert (await client.post("/admin/v1/candidates/cand-1/rollback", json={}, headers=admin)).status_code == 422
    assert (
        await client.post("/admin/v1/candidates/cand-1/explode", json={"reason": "x"}, headers=admin)
    ).status_code == 422
    scope = {"reason": "holiday", "componentId": "echo"}
    assert (await client.post("/admin/v1/evolution/pause", json=scope, headers=admin)).status_code == 400
    assert evolution.asked == [
        ("optimize", "shop", "echo", "jit", "admin", "too slow"),
        ("rollback", "cand-1", "admin", "wrong"),
    ]


async def test_a_key_in_a_reason_is_refused_and_not_repeated(client_of, admin) -> None:
    client, key = await client_of(services()), "uhlp_abc123_" + "s" * 32
    for path in ("candidates/cand-1/rollback", "evolution/pause", "apps/shop/components/echo/optimize"):
        refused = await client.post(f"/admin/v1/{path}", json={"reason": f"because of {key}"}, headers=admin)
        assert refused.status_code == 422
        assert "looks like a UHLP application key" in refused.text
        assert key not in refused.text


async def test_what_does_not_exist_is_404(client_of, admin) -> None:
    client = await client_of(services())
    for path, code in (
        ("/admin/v1/apps/nobody", "APP_NOT_FOUND"),
        ("/admin/v1/apps/shop/components/none", "COMPONENT_NOT_FOUND"),
        ("/admin/v1/apps/shop/metrics?componentId=none", "COMPONENT_NOT_FOUND"),
        ("/admin/v1/candidates/none", "CANDIDATE_NOT_FOUND"),
        ("/admin/v1/apps/shop/route?path=/none", "ROUTE_NOT_FOUND"),
    ):
        response = await client.get(path, headers=admin)
        assert (response.status_code, response.json()["error"]["code"]) == (404, code), path


async def test_the_window_shows_the_numbers_rules_see(client_of, admin) -> None:
    edge: Services = services()
    edge.windows.observe("shop", "echo", handler="llm", latency_ms=120.0, ok=True, tokens_in=10)
    client = await client_of(edge)
    numbers = (await client.get("/admin/v1/apps/shop/metrics?componentId=echo", headers=admin)).json()
    assert (numbers["all"]["count"], numbers["handlers"]["llm"]["tokensIn"]) == (1, 10)
    assert numbers["handlers"]["jit"]["count"] == 0
    assert numbers["rules"][0]["values"] == {"count(requests)": 9.0}
    assert (numbers["windowS"], set(numbers["dropped"].values())) == (60, {0})
    edge.windows.observe("shop", "other", handler="jit", latency_ms=1.0, ok=True)
    both = (await client.get("/admin/v1/apps/shop/metrics?windowS=3024000", headers=admin)).json()
    assert (both["all"]["count"], both["all"]["windowS"], both["componentId"]) == (2, 35 * 86_400, None)
    usage = (await client.get("/admin/v1/apps/shop/usage", headers=admin)).json()
    assert usage["components"]["echo"]["count"] == 1


@pytest.mark.parametrize(
    ("window", "bound"), [("3024001", "3024000"), ("0", "1"), ("-60", "1"), ("an hour", ""), ("1.5", ""), ("1e999", "")]
)
async def test_a_bad_window_is_refused_with_its_bound(client_of, admin, window: str, bound: str) -> None:
    client = await client_of(services())
    refused = await client.get(f"/admin/v1/apps/shop/metrics?componentId=echo&windowS={window}", headers=admin)
    assert refused.status_code == 422
    assert "query/windowS" in refused.json()["error"]["message"]
    assert bound in refused.json()["error"]["message"]


async def test_recorded_metrics_are_shown_and_a_list_is_all_or_nothing(client_of) -> None:
    client = await client_of(services())
    good = {"metric_name": "orders", "metric_type": "counter", "value": 2}
    assert (await client.post("/record", json=good)).json() == {"accepted": 1}
    refused = await client.post("/record", json=[good, {**good, "value": "two"}])
    assert (refused.status_code, refused.json()["error"]["details"]["index"]) == (422, 1)
    assert (await client.post("/record", json=[good, good])).json() == {"accepted": 2}
    shown = await client.get("/metrics")
    assert "orders_total 6.0" in shown.text
    assert shown.headers["content-type"].startswith("text/plain")


async def test_readiness_names_what_is_not_ready(client_of) -> None:
    async def fine() -> None:
        return None

    async def down() -> str:
        return "redis does not answer"

    async def broken() -> None:
        raise OSError("no space left")

    client = await client_of(services(probes={"loops": fine}))
    assert (await client.get("/readyz")).json()["status"] == "ready"
    client = await client_of(services(probes={"loops": fine, "runtime": down, "state": broken}))
    response = await client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["reasons"] == {"runtime": "redis does not answer", "state": "no space left"}


@pytest.mark.parametrize("scheme", ["Basic abc", "Bearer", "Bearer ", "bearer\twrong"])
async def test_malformed_credentials_are_401(client_of, scheme: str) -> None:
    client: httpx.AsyncClient = await client_of(services())
    assert (await client.get("/admin/v1/apps", headers={"Authorization": scheme})).status_code == 401

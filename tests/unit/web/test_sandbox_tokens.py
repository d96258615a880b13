"""What executions in images of users' own write by their tokens: whose series, with which labels, for how long."""

import hashlib
from typing import Any

import httpx
import pytest
import structlog

from tests.node_image import NodeProcess
from tests.otlp_requests import as_json, as_protobuf, gauge, point, request, total
from tests.scripted_http_worker import ScriptedHttpWorker, ScriptedSandbox
from uhlp.access.sandbox_tokens import SandboxIdentity, SandboxTokens
from uhlp.clock import FakeClock, SystemClock
from uhlp.metering import NullMeter
from uhlp.models.definition import PoolDefinition
from uhlp.sandbox.config import SandboxSettings
from uhlp.sandbox.driver import SandboxSpec
from uhlp.sandbox.drivers.fake import FakeDriver
from uhlp.sandbox.drivers.fake_worker import response
from uhlp.sandbox.manager import SandboxManager
from uhlp.web.edge import open_edge
from web.fakes import KeyIdentity, SnapshotsOnly, application, component, listening, services

PRICE = SandboxIdentity("shop", "price", "uhlp-1-2", "node", "JIT", "req-1.4")
SHOWN = 'componentId="price",handlerType="JIT",poolName="node",sandboxId="uhlp-1-2"'
OTLP = {"Content-Type": "application/x-protobuf"}


def shops(**more: Any) -> Any:
    """Services of a server in production, with the applications shop and desk and a key of shop's."""
    registry = SnapshotsOnly(
        {name: application(name, component("echo", "/echo", "POST")) for name in ("shop", "desk")},
        keys={"shops-key": KeyIdentity("shop")},
    )
    return services(**{"registry": registry, "deployment_mode": "production", "metrics_are_open": True, **more})


def bearer(raw: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {raw}"}


def of_price(tokens: SandboxTokens, **more: Any) -> dict[str, str]:
    return bearer(tokens.make(PRICE._replace(**more), lasts_s=30))


def record(**more: Any) -> dict[str, Any]:
    return {"metric_name": "orders", "metric_type": "counter", "value": 1, **more}


async def test_what_is_known_of_the_execution_is_filled_into_its_records(client_of) -> None:
    given = shops()
    client: httpx.AsyncClient = await client_of(given)
    sent = [record(), record(labels={"appId": "shop", "componentId": "price"})]
    answer = await client.post("/record", json=sent, headers=of_price(given.sandbox_tokens))
    assert (answer.status_code, answer.json()) == (202, {"accepted": 2})
    assert f'orders_total{{appId="shop",{SHOWN}}} 2.0' in (await client.get("/metrics")).text


async def test_what_is_known_of_the_execution_is_filled_into_its_points(client_of) -> None:
    given = shops()
    client: httpx.AsyncClient = await client_of(given)
    headers = of_price(given.sandbox_tokens)
    body = request(gauge("depth", point(3.0, of={})), total("jobs", point(4.0)))
    for content, kind in ((as_protobuf(body), OTLP), (as_json(body), {"Content-Type": "application/json"})):
        assert (await client.post("/v1/metrics", content=content, headers={**headers, **kind})).status_code == 200
    shown = (await client.get("/metrics")).text
    assert f'depth{{appId="shop",{SHOWN}}} 3.0' in shown
    assert f'jobs_total{{appId="shop",{SHOWN}}} 4.0' in shown


@pytest.mark.parametrize("label", ["appId", "componentId", "sandboxId", "handlerType", "poolName"])
async def test_an_execution_writes_in_nobody_elses_name(client_of, label: str) -> None:
    given = shops()
    client: httpx.AsyncClient = await client_of(given)
    headers = of_price(given.sandbox_tokens)
    refused = await client.post("/record", json=[record(), record(labels={label: "desk"})], headers=headers)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["details"]["index"]) == (403, "PERMISSION_DENIED", 1)
    sent = request(gauge("depth", point(1.0, of={}), point(2.0, of={label: "desk"})))
    told = await client.post(
        "/v1/metrics", content=as_json(sent), headers={**headers, "Content-Type": "application/json"}
    )
    assert told.json()["partialSuccess"]["rejectedDataPoints"] == "1"
    assert f"The label {label} is the writer's own" in told.json()["partialSuccess"]["errorMessage"]
    shown = (await client.get("/metrics")).text
    assert "orders_total" not in shown
    assert f'depth{{appId="shop",{SHOWN}}} 1.0' in shown
    assert '"desk"' not in shown


async def test_a_token_that_is_not_good_is_refused_alike_whatever_is_wrong_with_it(client_of) -> None:
    clock = FakeClock()
    given = shops(clock=clock)
    client: httpx.AsyncClient = await client_of(given)
    good = given.sandbox_tokens.make(PRICE, lasts_s=30)
    over = given.sandbox_tokens.make(PRICE, lasts_s=1)
    clock.advance(1)
    others = SandboxTokens(clock=clock).make(PRICE, lasts_s=30)
    forged = good[:-2] + ("A" if good[-2] != "A" else "B") + good[-1]
    said = set()
    with structlog.testing.capture_logs() as logs:
        for raw in (over, forged, good[:-5], others, "uhlp_call_"):
            refused = await client.post("/record", json=record(), headers=bearer(raw))
            assert (refused.status_code, refused.json()["error"]["code"]) == (401, "UNAUTHORIZED")
            assert raw == "uhlp_call_" or raw not in refused.text
            said.add(refused.json()["error"]["message"])
    assert len(said) == 1
    assert "uhlp_call_" not in str(logs)
    assert (await client.post("/record", json=record(), headers=bearer(good))).status_code == 202


async def test_who_keeps_guessing_tokens_is_told_when_to_come_back_and_others_are_not_stopped(client_of) -> None:
    given = shops()
    client: httpx.AsyncClient = await client_of(given)
    guesses = [await client.post("/record", json=record(), headers=bearer(f"uhlp_call_{n}")) for n in range(6)]
    assert [one.status_code for one in guesses] == [401] * 5 + [429]
    assert int(guesses[-1].headers["retry-after"]) > 0
    guess = await client.post("/v1/metrics", content=b"", headers={**bearer("uhlp_call_"), **OTLP})
    assert (guess.status_code, b"uhlp_call_" in guess.content) == (429, False)
    for headers in (of_price(given.sandbox_tokens), bearer("shops-key")):
        sent = record(metric_name=f"orders_{len(headers['Authorization'])}")
        assert (await client.post("/record", json=sent, headers=headers)).status_code == 202


async def test_a_token_of_an_application_that_is_gone_is_refused(client_of) -> None:
    given = shops()
    client: httpx.AsyncClient = await client_of(given)
    refused = await client.post("/record", json=record(), headers=of_price(given.sandbox_tokens, app_id="bank"))
    assert refused.status_code == 401
    assert "orders_total" not in (await client.get("/metrics")).text


async def test_a_token_opens_nothing_else(client_of) -> None:
    closed = SnapshotsOnly({"shop": application("shop", component("echo", "/echo", "POST"), public=False)})
    given = shops(registry=closed, metrics_are_open=False)
    client: httpx.AsyncClient = await client_of(given)
    headers = of_price(given.sandbox_tokens)
    for path in ("/metrics", "/admin/v1/apps", "/admin/v1/settings"):
        assert (await client.get(path, headers=headers)).status_code == 401
    assert (await client.post("/apps/shop/echo", json={}, headers=headers)).status_code == 401


class OneHttpWorker(FakeDriver):
    """Each sandbox has this worker, which speaks HTTP."""

    def __init__(self, worker: Any) -> None:
        super().__init__()
        self._worker = worker

    async def start(self, spec: SandboxSpec) -> Any:
        async def start_worker() -> Any:
            return self._worker

        async def stop(reason: str) -> None:
            await self._worker.kill()

        sandbox: Any = ScriptedSandbox(spec, sandbox_id="uhlp-1-2")
        sandbox.start_worker, sandbox.stop, sandbox.transport = start_worker, stop, "http"
        return sandbox


async def execute(given: Any, worker: Any, port: int, code: bytes) -> Any:
    """What one execution of `code` on this worker answers, with the server on `port`."""
    manager = SandboxManager(
        driver=OneHttpWorker(worker),
        config=SandboxSettings(server_url=f"http://127.0.0.1:{port}", spare_workers=0),
        clock=SystemClock(),
        meter=NullMeter(),
        tokens=given.sandbox_tokens,
    )
    sha256 = hashlib.sha256(code).hexdigest()
    body = {
        "requestId": "req-1.4",
        "requestData": {"source": "http", "input": {}},
        "context": {
            "appId": "shop", "componentId": "price", "handlerType": "JIT", "revision": "0" * 40, "configuration": {},
            "task": {"artifact": {"sha256": sha256, "path": "price.js"}, "function": "handle"}, "deadlineMs": 10_000,
            "applicationInfo": {"deploymentMode": "production"},
        },
    }  # fmt: skip
    await manager.open()
    try:
        answer = await manager.execute(
            "shop", PoolDefinition(pool_name="node", network="bridge"), body, artifacts={sha256: code},
            call_tool=None, timeout_s=10, group="serving",
        )  # fmt: skip
    finally:
        await manager.close()
    return answer["data"]


async def test_an_image_pushes_its_metrics_with_what_its_call_brought_along(client_of) -> None:
    given = shops()

    async def push(worker: ScriptedHttpWorker, asked: dict[str, Any]) -> dict[str, Any]:
        endpoint, headers = asked["context"]["mcpEndpoint"], bearer(asked["context"]["mcpToken"])
        async with httpx.AsyncClient(trust_env=False) as image:
            recorded = await image.post(f"{endpoint}/record", json=record(), headers=headers)
            body = as_protobuf(request(gauge("depth", point(3.0, of={}))))
            exported = await image.post(f"{endpoint}/v1/metrics", content=body, headers={**headers, **OTLP})
        return response(asked, [recorded.status_code, exported.status_code])

    async with open_edge(given) as edge, listening(edge) as port:
        worker = await ScriptedHttpWorker(push).start()
        assert await execute(given, worker, port, b"anything") == [202, 200]
    shown = (await (await client_of(given)).get("/metrics")).text
    assert f'orders_total{{appId="shop",{SHOWN}}} 1.0' in shown
    assert f'depth{{appId="shop",{SHOWN}}} 3.0' in shown


async def test_a_handler_in_node_js_records_with_the_token_of_its_call(client_of) -> None:
    given = shops()
    code = b"""
    exports.handle = async (inputs, { mcpEndpoint, mcpToken }) => {
      const headers = { Authorization: `Bearer ${mcpToken}`, "Content-Type": "application/json" };
      const body = JSON.stringify({ metric_name: "orders", metric_type: "counter", value: 2 });
      const answer = await fetch(`${mcpEndpoint}/record`, { method: "POST", headers, body });
      return { status: answer.status, told: await answer.json() };
    };
    """
    worker = await NodeProcess.start()
    async with open_edge(given) as edge, listening(edge) as port:
        assert await execute(given, worker, port, code) == {"status": 202, "told": {"accepted": 1}}
    assert f'orders_total{{appId="shop",{SHOWN}}} 2.0' in (await (await client_of(given)).get("/metrics")).text

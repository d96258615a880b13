"""Metrics from outside: who may send them, how many, and what a scrape reads."""

import httpx

from uhlp.clock import FakeClock
from uhlp.metrics import MetricCollector, MetricsConfig
from uhlp.models.metric import MetricRecord
from web.fakes import KeyIdentity, SnapshotsOnly, application, component, services


def record(name: str = "orders", **more: object) -> dict[str, object]:
    return {"metric_name": name, "metric_type": "counter", "value": 1, **more}


def shop() -> SnapshotsOnly:
    return SnapshotsOnly(
        {"shop": application("shop", component("echo", "/echo", "POST"))}, keys={"good": KeyIdentity("shop")}
    )


async def test_outside_production_anyone_may_record(client_of) -> None:
    for mode in ("development", "staging"):
        client: httpx.AsyncClient = await client_of(services(deployment_mode=mode))
        response = await client.post("/record", json=[record(), record()])
        assert (response.status_code, response.json()) == (202, {"accepted": 2})
        assert "orders_total 2.0" in (await client.get("/metrics")).text


async def test_in_production_recording_needs_the_admin_token_or_an_application_key(client_of, admin) -> None:
    client: httpx.AsyncClient = await client_of(services(registry=shop(), deployment_mode="production"))
    for headers in ({}, {"X-API-Key": "guess"}, {"Authorization": "Bearer guess"}, {"Authorization": "Basic x"}):
        response = await client.post("/record", json=record(), headers=headers)
        assert (response.status_code, response.json()["error"]["code"]) == (401, "UNAUTHORIZED"), headers
    for headers in (admin, {"X-API-Key": "good"}, {"Authorization": "Bearer good"}):
        assert (await client.post("/record", json=record(), headers=headers)).status_code == 202
    for _ in range(5):
        last = await client.post("/record", json=record(), headers={"X-API-Key": "guess"})
    assert last.status_code == 429


async def test_a_record_body_has_a_limit_of_its_own(client_of) -> None:
    given = services()
    settings = given.settings.model_copy(update={"max_record_bytes": 2_000})
    client: httpx.AsyncClient = await client_of(services(settings=settings))
    response = await client.post("/record", json=[record()] * 100)
    assert (response.status_code, response.json()["error"]["details"]["limitBytes"]) == (413, 2_000)


async def test_an_invented_application_has_no_share_of_its_own(client_of) -> None:
    metrics = MetricCollector(
        schema=MetricRecord.model_json_schema(), config=MetricsConfig(max_app_series=3), clock=FakeClock()
    )
    client: httpx.AsyncClient = await client_of(services(registry=shop(), metrics=metrics))
    for number in range(4):
        response = await client.post("/record", json=record(labels={"appId": f"made-up-{number}"}))
        assert response.status_code == (202 if number < 3 else 429)
    assert (await client.post("/record", json=record(labels={"appId": "shop"}))).status_code == 202

"""Metrics from outside: who may send them, whose and how many, and what a scrape reads."""

import gzip
from dataclasses import replace
from typing import Any

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from uhlp.clock import FakeClock
from uhlp.metrics import MetricCollector, MetricsConfig
from uhlp.models.metric import MetricRecord
from web.fakes import KeyIdentity, SnapshotsOnly, application, component, services

KEY = {"X-API-Key": "good"}


def record(name: str = "orders", **more: object) -> dict[str, object]:
    return {"metric_name": name, "metric_type": "counter", "value": 1, **more}


def shop() -> SnapshotsOnly:
    return SnapshotsOnly(
        {"shop": application("shop", component("echo", "/echo", "POST"))}, keys={"good": KeyIdentity("shop")}
    )


def collector(**config: Any) -> MetricCollector:
    return MetricCollector(schema=MetricRecord.model_json_schema(), config=MetricsConfig(**config), clock=FakeClock())


async def test_outside_production_anyone_may_record(client_of) -> None:
    for mode in ("development", "staging"):
        client: httpx.AsyncClient = await client_of(services(deployment_mode=mode))
        response = await client.post("/record", json=[record(), record()])
        assert (response.status_code, response.json()) == (202, {"accepted": 2})
        assert "orders_total 2.0" in (await client.get("/metrics")).text


async def test_credentials_that_are_sent_must_be_good_in_every_mode(client_of) -> None:
    client: httpx.AsyncClient = await client_of(services(registry=shop()))
    for headers in ({"X-API-Key": "guess"}, {"Authorization": "Bearer guess"}):
        assert (await client.post("/record", json=record(), headers=headers)).status_code == 401


async def test_in_production_recording_needs_the_admin_token_or_an_application_key(client_of, admin) -> None:
    client: httpx.AsyncClient = await client_of(services(registry=shop(), deployment_mode="production"))
    for headers in ({}, {"X-API-Key": "guess"}, {"Authorization": "Bearer guess"}, {"Authorization": "Basic x"}):
        response = await client.post("/record", json=record(), headers=headers)
        assert (response.status_code, response.json()["error"]["code"]) == (401, "UNAUTHORIZED"), headers
    for headers in (admin, KEY, {"Authorization": "Bearer good"}):
        sent = record(labels={"appId": "shop"})
        assert (await client.post("/record", json=sent, headers=headers)).status_code == 202
    for _ in range(5):
        last = await client.post("/record", json=record(), headers={"X-API-Key": "guess"})
    assert last.status_code == 429


async def test_a_key_writes_the_series_of_its_own_application_alone(client_of, admin) -> None:
    client: httpx.AsyncClient = await client_of(services(registry=shop()))
    given = [record(labels={"zone": "a"}), record(labels={"zone": "a", "appId": "shop"})]
    assert (await client.post("/record", json=given, headers=KEY)).status_code == 202
    other = [given[0], record(labels={"zone": "a", "appId": "bank"})]
    refused = await client.post("/record", json=other, headers=KEY)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "PERMISSION_DENIED")
    assert refused.json()["error"]["details"]["index"] == 1
    assert (await client.post("/record", json=other, headers=admin)).status_code == 409  # the first one lacks the label
    assert (await client.post("/record", json=other[1], headers=admin)).status_code == 202
    shown = (await client.get("/metrics")).text
    assert 'orders_total{appId="shop",zone="a"} 2.0' in shown
    assert 'orders_total{appId="bank",zone="a"} 1.0' in shown


async def test_a_refusal_names_index_and_field_and_records_nothing(client_of) -> None:
    client: httpx.AsyncClient = await client_of(services())
    for wrong, path in (
        (record(value="two"), "/value"),
        (record(labels={"a-b": "x"}), "/labels/a-b"),
        (record("1st"), "/metric_name"),
        (record(colour="red"), ""),
        (record(buckets=[1]), "/buckets"),
    ):
        refused = await client.post("/record", json=[record("good"), wrong])
        error = refused.json()["error"]
        assert (refused.status_code, error["code"]) == (422, "VALIDATION_FAILED")
        assert (error["details"]["index"], error["details"]["problems"][0]["path"]) == (1, path)
        assert error["message"].startswith("Record 1: ")
    assert "good_total" not in (await client.get("/metrics")).text


async def test_a_clash_is_a_conflict_and_names_both(client_of) -> None:
    client: httpx.AsyncClient = await client_of(services())
    await client.post("/record", json=record(labels={"zone": "a"}))
    for other in (record(labels={"area": "a"}), record(labels={"zone": "a"}, metric_type="gauge")):
        refused = await client.post("/record", json=other)
        error = refused.json()["error"]
        assert (refused.status_code, error["code"]) == (409, "METRIC_CONFLICT")
        assert "orders exists as counter {zone}" in error["message"]
        assert f"this one is {other['metric_type']} {{{', '.join(other['labels'])}}}" in error["message"]


async def test_too_many_label_sets_are_refused_and_counted(client_of) -> None:
    client: httpx.AsyncClient = await client_of(services(metrics=collector(max_label_sets=2)))
    answers = [(await client.post("/record", json=record(labels={"user": str(n)}))) for n in range(3)]
    assert [one.status_code for one in answers] == [202, 202, 429]
    assert answers[2].json()["error"]["code"] == "CARDINALITY_LIMIT"
    shown = (await client.get("/metrics")).text
    assert 'uhlp_metric_records_refused_total{code="CARDINALITY_LIMIT"} 1.0' in shown


async def test_bodies_that_are_no_record_are_refused(client_of) -> None:
    client: httpx.AsyncClient = await client_of(services())
    for body, kind, status in (
        (b'{"metric_name": "a", "metric_type": "counter", "value": 1}', "text/plain", 422),
        (b"7", "application/json", 422),
        (b"", "application/json", 400),
        (b'{"metric_name": "a", "metric_type": "counter", "value": NaN}', "application/json", 400),
        (b"[" + b",".join([b"{}"] * 10_001) + b"]", "application/json", 413),
    ):
        answer = await client.post("/record", content=body, headers={"Content-Type": kind})
        assert answer.status_code == status, body[:60]
        assert answer.json()["error"]["traceId"] == answer.headers["x-trace-id"]
    assert (await client.post("/record", json=[])).json() == {"accepted": 0}


async def test_a_record_body_has_a_limit_of_its_own(client_of) -> None:
    given = services()
    settings = given.settings.model_copy(update={"max_record_bytes": 2_000})
    client: httpx.AsyncClient = await client_of(services(settings=settings))
    response = await client.post("/record", json=[record()] * 100)
    assert (response.status_code, response.json()["error"]["details"]["limitBytes"]) == (413, 2_000)


async def test_an_invented_application_has_no_share_of_its_own(client_of) -> None:
    client: httpx.AsyncClient = await client_of(services(registry=shop(), metrics=collector(max_app_series=3)))
    for number in range(4):
        response = await client.post("/record", json=record(labels={"appId": f"made-up-{number}"}))
        assert response.status_code == (202 if number < 3 else 429)
    assert (await client.post("/record", json=record(labels={"appId": "shop"}))).status_code == 202


@pytest.mark.parametrize(
    ("accept", "is_openmetrics"),
    [
        (None, False),
        ("*/*", False),
        ("text/plain", False),
        ("application/openmetrics-text", True),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", True),
        ("application/openmetrics-text;version=2.0.0", False),
        ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", True),
        ("application/openmetrics-text;q=0.3, text/plain;q=0.5", False),
        ("application/openmetrics-text;q=0.5, text/plain;q=0.5", True),
        ("application/openmetrics-text;q=0, */*", False),
        ("application/openmetrics-text;q=0.5, text/*;q=0.9", False),
        ("APPLICATION/OPENMETRICS-TEXT ; Q=1", True),
        ("application/openmetrics-text;q=high", False),
        ("application/openmetrics-text;q=nan", False),
        ("image/png, ;;,=", False),
    ],
)
async def test_a_scrape_gets_the_format_it_asks_for(client_of, accept: str | None, is_openmetrics: bool) -> None:
    client: httpx.AsyncClient = await client_of(services())
    await client.post("/record", json=record())
    shown = await client.get("/metrics", headers={"Accept": accept} if accept else {"Accept": ""})
    kind = "application/openmetrics-text; version=1.0.0" if is_openmetrics else "text/plain; version=0.0.4"
    assert shown.headers["content-type"] == f"{kind}; charset=utf-8"
    assert shown.text.endswith("# EOF\n") is is_openmetrics
    assert "orders_total 1.0\n" in shown.text
    if is_openmetrics:
        assert "orders" in {family.name for family in text_string_to_metric_families(shown.text)}


@pytest.mark.parametrize(
    ("encoding", "is_gzipped"),
    [
        ("gzip", True), ("", False), ("identity", False), ("br, gzip;q=0.8", True), ("gzip;q=0", False),
        ("*", True), ("gzip;q=0, *", False), ("identity, gzip;q=0.5", False),
    ],
)  # fmt: skip
async def test_a_scrape_is_compressed_when_asked(client_of, encoding: str, is_gzipped: bool) -> None:
    client: httpx.AsyncClient = await client_of(services())
    async with client.stream("GET", "/metrics", headers={"Accept-Encoding": encoding}) as answer:
        raw = b"".join([piece async for piece in answer.aiter_raw()])
    assert answer.headers.get("content-encoding") == ("gzip" if is_gzipped else None)
    assert int(answer.headers["content-length"]) == len(raw)
    assert (gzip.decompress(raw) if is_gzipped else raw).startswith(b"# HELP uhlp_")


async def test_reading_may_need_the_token(client_of, admin) -> None:
    client: httpx.AsyncClient = await client_of(services(registry=shop(), metrics_are_open=False))
    for headers in ({}, {"Authorization": "Bearer guess"}, KEY):
        assert (await client.get("/metrics", headers=headers)).status_code == 401
    assert (await client.get("/metrics", headers=admin)).status_code == 200


async def test_every_role_reads_and_operators_record(client_of, stored, bearer_of) -> None:
    client: httpx.AsyncClient = await client_of(replace(stored, metrics_are_open=False))
    for role, may_record in (("viewer", 403), ("operator", 202), ("owner", 202)):
        token = await bearer_of(role)
        assert (await client.get("/metrics", headers=token)).status_code == 200
        assert (await client.post("/record", json=record(), headers=token)).status_code == may_record


@pytest.mark.parametrize(
    ("access", "mode", "is_open"),
    [
        (None, "development", True), (None, "staging", True), (None, "production", False),
        ("open", "production", True), ("token", "development", False),
    ],
)  # fmt: skip
def test_reading_is_open_as_the_setting_says_and_closed_in_production(
    access: str | None, mode: str, is_open: bool
) -> None:
    assert MetricsConfig(access=access).is_open(mode) is is_open


async def test_other_methods_are_refused_and_head_is_a_get_without_its_body(client_of) -> None:
    client: httpx.AsyncClient = await client_of(services())
    for method, path, allow in (("GET", "/record", "POST"), ("POST", "/metrics", "GET, HEAD")):
        refused = await client.request(method, path)
        assert (refused.status_code, refused.headers["allow"]) == (405, allow)
        assert refused.headers["x-content-type-options"] == "nosniff"
    head = await client.head("/metrics")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) > 100


async def test_openapi_speaks_of_both(client_of) -> None:
    client: httpx.AsyncClient = await client_of(services())
    paths = (await client.get("/openapi.json")).json()["paths"]
    assert {"202", "403", "409", "422", "429"} <= paths["/record"]["post"]["responses"].keys()
    assert "application/openmetrics-text" in paths["/metrics"]["get"]["responses"]["200"]["content"]

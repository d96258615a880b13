"""What starts components besides routes, on a server as its users start it, and after it was killed or restarted."""

import asyncio
import hashlib
import hmac
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.test_runtime_store import RedisServer
from tests.e2e.applications import BILLING, PARCEL, SHIPPING, TICKET, desk
from tests.e2e.model import Model
from tests.e2e.server import Server, need, wait_until
from tests.shown_metrics import Series, series_of
from uhlp.catalogue import Metric, sources
from uhlp.catalogue.server import LOOP_CYCLES
from uhlp.state.redis_runtime_store import RedisRuntimeStore
from uhlp.state.runtime_store import RuntimeStore
from uhlp.state.sqlite_runtime_store import SqliteRuntimeStore

SECRET = "of-the-payment-provider"
_DONE = "uhlp:framework:cron:"
"""Under it stands up to when each schedule is done."""

SIGNED = {"secret": "secret:PAYMENTS", "header": "X-Signature"}


def started_by(*triggers: dict[str, Any], sort: tuple[dict[str, Any], ...] = (), **more: Any) -> dict[str, Any]:
    """The desk, with what starts `classify`, which asks the model, and `sort`, which runs a handler."""
    body = desk(**more)
    registry = json.loads(body["files"]["component_registry.yaml"])
    for component, its in zip(registry["components"], (triggers, sort), strict=True):
        component["triggers"] = list(its)
    body["files"]["component_registry.yaml"] = json.dumps(registry)
    return body


@pytest.fixture
def server(tmp_path: Path, model: Model) -> Iterator[Server]:
    environment = {"PAYMENTS": SECRET, "UHLP_SECRETS__APPLICATIONS": json.dumps({"desk": ["PAYMENTS"]})}
    with Server(tmp_path / "data", environment=model.environment | environment) as server:
        yield server


def key_of(server: Server, app_id: str, *permissions: str) -> dict[str, str]:
    made = server.administer("POST", f"/apps/{app_id}/api-keys", {"permissions": list(permissions)})
    return {"X-API-Key": made["apiKey"]}


def inputs_seen(server: Server, component: str) -> list[Any]:
    """The inputs that a component has answered."""
    return [one["input"] for one in server.administer("GET", f"/apps/desk/samples?componentId={component}")["samples"]]


def shown(server: Server, metric: Metric) -> Series:
    return series_of(server.http.get("/metrics").text, metric)


def queue(server: Server, name: str = "tickets") -> dict[str, Any]:
    (row,) = [one for one in server.administer("GET", "/apps/desk/queues")["queues"] if one["queue"] == name]
    return row


def test_an_event_of_another_application_is_answered(server: Server) -> None:
    allowed = {"interAppPermissions": [{"allowedSourceAppId": "shop", "allowedEvents": ["parcel.lost"]}]}
    server.administer(
        "POST", "/apps", started_by(sort=({"source": "trigger", "event": "parcel.lost"},), securityConfig=allowed)
    )
    server.administer("POST", "/apps", desk("shop"))
    key = key_of(server, "shop", "trigger:*")
    answer = server.http.post("/apps/desk/-/triggers/parcel.lost", json=PARCEL, headers=key)
    assert (answer.status_code, answer.json(), answer.headers["X-UHLP-Handler"]) == (200, SHIPPING, "jit")
    assert server.http.post("/apps/desk/-/triggers/parcel.found", json=PARCEL, headers=key).status_code == 403


def test_a_signed_callback_runs_once_also_over_a_restart(server: Server) -> None:
    server.administer(
        "POST", "/apps", started_by(sort=({"source": "callback", "name": "paid", "verification": SIGNED},))
    )
    body = json.dumps(PARCEL).encode()
    headers = {"X-Signature": hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()}
    sent = {"content": body, "headers": headers | {"Content-Type": "application/json"}}
    assert server.http.post("/apps/desk/-/callbacks/paid", **sent).json() == SHIPPING
    server.stop()
    server.start()
    assert server.http.post("/apps/desk/-/callbacks/paid", **sent).json()["repeated"] is True
    assert server.http.post("/apps/desk/-/callbacks/paid", content=b"{}", headers=headers).status_code == 401


def test_a_message_is_worked_on_and_gone(server: Server) -> None:
    server.administer("POST", "/apps", started_by(sort=({"source": "queue", "queue": "tickets"},)))
    key = key_of(server, "desk", "trigger:tickets")
    answer = server.http.post("/apps/desk/-/queues/tickets", json=PARCEL, headers=key)
    assert answer.status_code == 202
    wait_until(lambda: inputs_seen(server, "sort") == [PARCEL], "the message is worked on")
    wait_until(lambda: (row := queue(server))["leased"] + row["ready"] == 0, "the message is gone")
    wait_until(lambda: shown(server, sources.QUEUE_DELIVERIES) == {("desk", "tickets", "done"): 1}, "it is counted")


def test_a_message_whose_server_is_killed_is_delivered_again(server: Server, model: Model) -> None:
    one = {"source": "queue", "queue": "tickets", "visibilityTimeoutS": 3, "maxDeliveries": 2}
    server.administer("POST", "/apps", started_by(one))
    key = key_of(server, "desk", "invoke:classify")
    model.hold()
    sent = server.http.post("/apps/desk/-/queues/tickets", json=TICKET, headers=key).json()["messageId"]
    wait_until(lambda: model.asked == 1, "the model is asked")
    assert server.process is not None
    os.killpg(server.process.pid, signal.SIGKILL)
    server.wait()
    model.says({"queue": "nonsense"})
    model.release()
    server.start()
    wait_until(lambda: queue(server)["dead"] == 1, "it was delivered again, and failed", 20)
    (letter,) = server.administer("GET", "/apps/desk/queues/tickets/dead-letters")["deadLetters"]
    assert (letter["messageId"], letter["deliveryCount"], letter["input"]) == (sent, 2, TICKET)
    model.forget()
    model.says(BILLING)
    assert server.command("queues", "desk", "tickets", "--revive", sent).returncode == 0
    wait_until(lambda: queue(server)["dead"] + queue(server)["leased"] == 0, "it is done")
    wait_until(lambda: TICKET in inputs_seen(server, "classify"), "it was answered")


def test_a_schedule_runs_once_for_what_was_due_while_the_server_was_down(server: Server) -> None:
    hourly = {"source": "cron", "schedule": f"{half_an_hour_ago()} * * * *", "input": PARCEL}
    server.administer("POST", "/apps", started_by(sort=(hourly,)))
    runtime = server.data_dir / "runtime.db"
    wait_until(lambda: asyncio.run(has_seen_schedules(SqliteRuntimeStore(runtime))), "the schedule was seen")
    assert inputs_seen(server, "sort") == []
    server.stop()
    asyncio.run(set_back(SqliteRuntimeStore(runtime), hours=5))
    server.start()
    wait_until(lambda: len(inputs_seen(server, "sort")) == 1, "what was due runs")
    wait_until(lambda: queue(server, "_events")["leased"] == 0, "its message is gone")
    counted = {("desk", "sort", "started"): 1, ("desk", "sort", "skipped"): 4}
    wait_until(lambda: shown(server, sources.CRON_RUNS) == counted, "what ran and what was skipped is counted")
    server.stop()
    server.start()
    wait_until(lambda: looked(server), "it looked again")
    assert len(inputs_seen(server, "sort")) == 1


def test_two_servers_on_one_redis_do_everything_once(tmp_path: Path, model: Model) -> None:
    need("redis-server")
    (tmp_path / "redis").mkdir()
    redis = RedisServer(tmp_path / "redis")
    environment = model.environment | {"UHLP_RUNTIME__URL": redis.url}
    servers = [Server(tmp_path / name, environment=environment) for name in ("one", "other")]
    hourly = {"source": "cron", "schedule": f"{half_an_hour_ago()} * * * *", "input": {"text": "nightly parcel"}}
    body = started_by(sort=({"source": "queue", "queue": "tickets", "concurrency": 2}, hourly))

    def seen() -> list[str]:
        return sorted(one["text"] for server in servers for one in inputs_seen(server, "sort"))

    try:
        for server in servers:
            server.start()
            server.administer("POST", "/apps", body)
        texts = [f"parcel {number:02}" for number in range(24)]
        keys = [key_of(server, "desk", "trigger:*") for server in servers]
        for number, text in enumerate(texts):
            sender, key = servers[number % 2], keys[number % 2]
            assert sender.http.post("/apps/desk/-/queues/tickets", json={"text": text}, headers=key).status_code == 202
        wait_until(lambda: len(seen()) >= len(texts), "all messages are worked on", 20)
        assert seen() == texts
        for server in servers:
            server.stop()
        asyncio.run(set_back(RedisRuntimeStore(redis.url, timeout_s=2.0), hours=5))
        for server in servers:
            server.launch()
        for server in servers:
            server.wait_until_ready()
            wait_until(lambda server=server: looked(server), "it looked at its schedules", 20)  # type: ignore[misc]
        wait_until(lambda: "nightly parcel" in seen(), "what was due runs")
        assert seen() == ["nightly parcel", *texts]
    finally:
        for server in servers:
            if server.process is not None:
                server.stop()
        redis.stop()


def half_an_hour_ago() -> int:
    """A minute of the hour at which nothing is due while a test runs."""
    return (time.gmtime().tm_min + 30) % 60


def looked(server: Server) -> bool:
    return shown(server, LOOP_CYCLES).get(("cron",), 0) >= 2


async def has_seen_schedules(store: RuntimeStore) -> bool:
    try:
        return bool(await store.keys(_DONE))
    finally:
        await store.aclose()


async def set_back(store: RuntimeStore, *, hours: float) -> None:
    """As if the servers had been down for so long."""
    for key in await store.keys(_DONE):
        await store.set(key, (await store.get(key)).value - hours * 3_600)
    await store.aclose()

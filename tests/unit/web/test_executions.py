"""Runs of workflows as their callers and the administration see them."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.execution.workflow.workflow_parts import (
    Parts,
    ScriptedComponents,
    WaitForCallback,
    app_of,
    ask,
    expression,
    running,
    sequence,
)
from uhlp.registry.route_table import Route, RouteTable
from uhlp.registry.snapshot import AppSnapshot
from web.fakes import KeyIdentity, SnapshotsOnly, services

ROOT = sequence(
    ("price", ask("pricing", item="=trigger.input.item", card="=trigger.input.card")),
    ("paid", WaitForCallback("paid", expression("trigger.input.item"), 3_600.0)),
)
ORDER = {"item": "lamp", "card": "4111"}
ASYNC = {"Prefer": "wait=5, respond-async;x"}


def shop(root: Any = ROOT, *, public: bool = True) -> AppSnapshot:
    app = app_of(root)
    definition = app.definition.model_copy(update={"public": public})
    return replace(app, definition=definition, routes=RouteTable([Route("order", "/orders", ("POST",))]))


@pytest.fixture
async def parts(tmp_path) -> AsyncIterator[Parts]:
    components = ScriptedComponents(pricing={"usd": 3, "card": "4111"})
    async with running(Parts(tmp_path / "w.db", shop(), components=components)) as parts:
        yield parts


async def started(client: Any, **headers: str) -> str:
    answer = await client.post("/apps/shop/orders", json=ORDER, headers={**ASYNC, **headers})
    assert answer.status_code == 202, answer.text
    assert answer.headers["preference-applied"] == "respond-async"
    execution_id: str = answer.json()["executionId"]
    assert answer.headers["x-execution-id"] == execution_id
    assert answer.headers["location"] == f"/apps/shop/-/executions/{execution_id}"
    assert answer.headers["content-security-policy"] == "sandbox"
    return execution_id


async def shown(client: Any, execution_id: str, **headers: str) -> Any:
    return await client.get(f"/apps/shop/-/executions/{execution_id}", headers=headers)


async def waiting(parts: Parts, client: Any, execution_id: str, state: str = "waiting") -> dict[str, Any]:
    for _ in range(500):
        await parts.runs.run_cycle()
        found: dict[str, Any] = (await shown(client, execution_id)).json()
        if found["state"] == state:
            return found
    raise AssertionError(f"the run is never {state}")


async def test_who_does_not_wait_finds_state_and_result_where_the_answer_said(parts, client_of) -> None:
    client = await client_of(services(registry=SnapshotsOnly({"shop": shop()}), workflows=parts.runs))
    execution_id = await started(client)
    found = await waiting(parts, client, execution_id)
    assert (found["result"], found["endedAt"]) == (None, None)
    await parts.runs.signal("shop", "paid", "lamp", {"card": "4111", "by": "you"})
    found = await waiting(parts, client, execution_id, "succeeded")
    assert found["result"] == {"card": "[redacted]", "by": "you"}
    assert (await shown(client, "nothing")).json()["error"]["code"] == "EXECUTION_NOT_FOUND"
    refused = await client.delete(f"/apps/shop/-/executions/{execution_id}")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")


async def test_a_key_that_would_not_keep_a_run_from_beginning_twice_is_refused(parts, client_of) -> None:
    client = await client_of(services(registry=SnapshotsOnly({"shop": shop()}), workflows=parts.runs))
    refused = await client.post("/apps/shop/orders", json=ORDER, headers={**ASYNC, "Idempotency-Key": "order-7"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "VALIDATION_FAILED")
    assert "callback" in refused.json()["error"]["message"]
    assert await parts.runs.history.listed("shop", component_id=None, state=None, limit=9) == []


async def test_only_who_may_ask_the_component_learns_of_its_runs(parts, client_of) -> None:
    keys = {
        "may": KeyIdentity("shop"),
        "other": KeyIdentity("shop", permissions=("invoke:pricing",)),
    }
    registry = SnapshotsOnly({"shop": shop(public=False)}, keys=keys)
    client = await client_of(services(registry=registry, workflows=parts.runs))
    execution_id = await started(client, **{"X-API-Key": "may"})
    assert (await shown(client, execution_id)).status_code == 401
    assert (await shown(client, "nothing")).status_code == 401
    assert (await shown(client, execution_id, **{"X-API-Key": "other"})).status_code == 403
    assert (await shown(client, execution_id, **{"X-API-Key": "may"})).status_code == 200
    assert (await shown(client, "nothing", **{"X-API-Key": "may"})).status_code == 404


async def test_the_administration_sees_ends_and_forgets_runs(parts, client_of, admin) -> None:
    client = await client_of(services(registry=SnapshotsOnly({"shop": shop()}), workflows=parts.runs))
    execution_id = await started(client)
    await waiting(parts, client, execution_id)
    at = f"/admin/v1/apps/shop/executions/{execution_id}"
    timeline = (await client.get(at, headers=admin)).json()
    price, paid = timeline["steps"]
    assert (price["input"], price["output"]) == (
        {"item": "lamp", "card": "[redacted]"}, {"usd": 3, "card": "[redacted]"},
    )  # fmt: skip
    assert (paid["state"], paid["waitsFor"]["callback"], paid["waitsFor"]["correlation"]) == ("waiting", "paid", "lamp")
    assert timeline["usage"] == {"tokensIn": 1, "tokensOut": 2, "costUsd": 0.25}
    listed = (await client.get("/admin/v1/apps/shop/executions?state=waiting", headers=admin)).json()["executions"]
    assert [one["executionId"] for one in listed] == [execution_id]
    assert (await client.delete(at, headers=admin)).status_code == 409
    assert (await client.post(f"{at}/cancel", headers=admin, json={"reason": ""})).status_code == 422
    ended = await client.post(f"{at}/cancel", headers=admin, json={"reason": "a test"})
    assert (ended.status_code, ended.json()["state"], ended.json()["error"]["code"]) == (
        200, "cancelled", "RUN_CANCELLED",
    )  # fmt: skip
    assert (await client.post(f"{at}/cancel", headers=admin, json={"reason": "again"})).status_code == 409
    assert (await client.delete(at, headers=admin)).status_code == 204
    assert (await client.get(at, headers=admin)).status_code == 404
    assert (await client.get("/admin/v1/apps/nobody/executions", headers=admin)).status_code == 404

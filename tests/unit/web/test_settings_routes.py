"""GET and PUT of the governor's numbers and of global rules and configuration."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from uhlp.clock import FakeClock
from uhlp.evolution.store import EvolutionStore
from uhlp.web.services import Services
from web.fakes import run_time_settings, services

NUMBERS, GLOBAL = "/admin/v1/evolution/config", "/admin/v1/config"


class NoCandidates:
    def candidates(self) -> list[Any]:
        return []


@pytest.fixture
async def changeable(tmp_path: Path) -> AsyncIterator[Services]:
    async with EvolutionStore(path=tmp_path / "evolution.db", clock=FakeClock()) as store:
        yield services(
            run_time=run_time_settings(store=store, book=NoCandidates()),
            effective_settings={"evolution.delta": {"value": 0.05, "origin": "default"}},
        )


async def test_numbers_are_shown_changed_and_given_back(client_of, changeable: Services, admin) -> None:
    client: httpx.AsyncClient = await client_of(changeable)
    shown = (await client.get(NUMBERS, headers=admin)).json()
    assert shown["numbers"]["canary.weights"]["value"] == [0.05, 0.25, 0.5, 1.0]
    body = {"changes": {"delta": 0.01, "canary.weights": [0.1, 1.0]}, "reason": "stricter"}
    changed = await client.put(NUMBERS, json=body, headers=admin)
    assert changed.status_code == 200, changed.text
    assert changed.json()["numbers"]["delta"]["changedBy"] == "admin"
    assert changed.json()["configHash"] != shown["configHash"]
    settings = (await client.get("/admin/v1/settings", headers=admin)).json()["settings"]
    assert settings["evolution.delta"] == {"value": 0.01, "origin": "run time"}
    back = await client.put(NUMBERS, json={"reset": ["delta", "canary.weights"], "reason": "enough"}, headers=admin)
    assert back.json() == shown


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"changes": {"delta": 0.5}, "reason": "r"}, "delta: Input should be less than or equal to 0.2"),
        ({"changes": {"nothing": 1}, "reason": "r"}, "nothing: there is no such number"),
        ({"changes": {"delta": 0.1}}, "/reason: Field required"),
        ({"changes": {"delta": 0.1}, "reason": "  "}, "/reason"),
        ({"reason": "r"}, "Nothing is asked for"),
        ({"changes": {"delta": 0.1}, "reason": "r", "more": 1}, "/more"),
        ({"changes": [], "reason": "r"}, "/changes"),
    ],
)
async def test_what_is_wrong_with_a_change_of_numbers_is_said(
    client_of, changeable: Services, admin, body: dict[str, Any], words: str
) -> None:
    client: httpx.AsyncClient = await client_of(changeable)
    before = (await client.get(NUMBERS, headers=admin)).json()
    refused = await client.put(NUMBERS, json=body, headers=admin)
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "VALIDATION_FAILED")
    assert words in refused.json()["error"]["message"]
    assert (await client.get(NUMBERS, headers=admin)).json() == before


async def test_global_rules_and_configuration_are_changed_apart(client_of, changeable: Services, admin) -> None:
    client: httpx.AsyncClient = await client_of(changeable)
    rule = {"condition": {"expression": "count(requests) > 600"}}
    put = await client.put(GLOBAL, json={"rules": [rule], "reason": "everywhere"}, headers=admin)
    assert put.status_code == 200, put.text
    assert put.json()["optimization.rules"]["value"][0]["action"] == "ACTION_TRIGGER_JIT"
    assert put.json()["configuration"]["origin"] == "default"
    put = await client.put(GLOBAL, json={"configuration": {"currency": "EUR"}, "reason": "ours"}, headers=admin)
    assert put.json()["configuration"]["value"] == {"currency": "EUR"}
    assert put.json()["optimization.rules"]["origin"] == "run time"
    assert (await client.get(GLOBAL, headers=admin)).json() == put.json()
    bad = {"rules": [{"condition": {"expression": "latency > 1s"}}], "reason": "r"}
    refused = await client.put(GLOBAL, json=bad, headers=admin)
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "EXPRESSION_INVALID")
    assert refused.json()["error"]["details"]["hint"]
    both = {"configuration": {}, "reset": ["configuration"], "reason": "r"}
    assert (await client.put(GLOBAL, json=both, headers=admin)).status_code == 422


async def test_only_owners_change_settings(client_of, changeable: Services, stored, bearer_of) -> None:
    client: httpx.AsyncClient = await client_of(services(tokens=stored.tokens, run_time=changeable.run_time))
    operator, owner = await bearer_of("operator"), await bearer_of("owner", "olga")
    body = {"changes": {"delta": 0.01}, "reason": "stricter"}
    assert (await client.put(NUMBERS, json=body, headers=operator)).status_code == 403
    assert (await client.put(NUMBERS, json=body, headers=owner)).json()["numbers"]["delta"]["changedBy"] == "olga"

"""`uhlp token`, `uhlp config` and `uhlp evolution config` against a listening server."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from web.fakes import ADMIN_TOKEN, listening, run_time_settings

from cli.conftest import Run
from uhlp.clock import FakeClock
from uhlp.evolution.store import EvolutionStore
from uhlp.web.edge import open_edge
from uhlp.web.services import Services


class NoCandidates:
    def candidates(self) -> list[Any]:
        return []


@pytest.fixture
async def changeable(services: Services, tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    """A listening server with a ledger; the environment in which `uhlp` finds it."""
    async with EvolutionStore(path=tmp_path / "ledger.db", clock=FakeClock()) as store:
        shown = replace(services, run_time=run_time_settings(store=store, book=NoCandidates()))
        async with open_edge(shown) as edge, listening(edge) as port:
            yield {"UHLP_URL": f"http://127.0.0.1:{port}", "UHLP_ADMIN_TOKEN": ADMIN_TOKEN}


def names_in(table: str) -> list[str]:
    """The first cell of every row."""
    return [line.split()[0] for line in table.rpartition("─")[2].splitlines() if line.strip()]


async def test_a_token_is_made_used_listed_and_deleted(uhlp: Run, server: dict[str, str]) -> None:
    made = await uhlp("tokens", "create", "ann", "--role", "viewer", **server)
    assert made.status == 0, made.err
    raw, note, delete = made.out.splitlines()
    token_id = raw.split("_")[2]
    assert ("shown once" in note, delete) == (True, f"  delete it: uhlp tokens delete {token_id}")
    hers = {**server, "UHLP_ADMIN_TOKEN": raw}
    listed = await uhlp("token", "list", **hers)
    assert [line.split()[:3] for line in listed.out.splitlines() if "ann" in line] == [[token_id, "ann", "viewer"]]
    refused = await uhlp("token", "create", "bob", "--role", "owner", **hers)
    assert (refused.status, refused.err.strip()) == (1, "uhlp: This needs the role owner; ann is viewer.")
    assert "the id of one" in (await uhlp("token", "delete", raw, **server)).err
    gone = await uhlp("token", "delete", token_id, "--reason", "she left", **server)
    assert gone.out.strip() == f"{token_id} of ann is deleted"
    late = await uhlp("token", "list", **hers)
    assert (late.status, "not valid" in late.err) == (3, True)
    told = json.loads((await uhlp("token", "list", "--json", **server)).out)
    assert [one["name"] for one in told] == ["admin"]


async def test_a_role_that_is_none_is_refused_before_anything_is_asked(uhlp: Run) -> None:
    done = await uhlp("token", "create", "ann", "--role", "root")
    assert (done.status, "viewer" in done.err) == (2, True)


async def test_the_governors_numbers_are_shown_and_set(uhlp: Run, changeable: dict[str, str]) -> None:
    shown = await uhlp("evolution", "config", **changeable)
    assert "canary.min_step_s" in shown.out, shown.err
    assert "[0.05, 0.25, 0.5, 1.0]" in shown.out
    change = ("--set", "delta=0.01", "--set", "canary.weights=[0.1, 1]")
    assert "needs a reason" in (await uhlp("evolution", "config", *change, **changeable)).err
    done = await uhlp("evolution", "config", *change, "--reason", "stricter", **changeable)
    assert done.status == 0, done.err
    assert names_in(done.out) == ["delta", "canary.weights"]
    assert "run time: admin" in done.out
    wrong = await uhlp("evolution", "config", "--set", "delta=0.9", "--reason", "r", **changeable)
    assert (wrong.status, "delta: Input should be less than or equal to 0.2" in wrong.err) == (1, True)
    assert "no NAME=VALUE" in (await uhlp("evolution", "config", "--set", "delta", **changeable)).err
    back = await uhlp("evolution", "config", "--reset", "delta", "--reason", "enough", "--json", **changeable)
    assert json.loads(back.out)["numbers"]["delta"]["origin"] == "default"
    changed = await uhlp("evolution", "config", "--changed", **changeable)
    assert names_in(changed.out) == ["canary.weights"]


async def test_what_holds_everywhere_is_shown_and_set(uhlp: Run, changeable: dict[str, str], tmp_path: Path) -> None:
    empty = await uhlp("config", **changeable)
    assert "No rule holds for every application." in empty.out, empty.err
    rule = {"description": "busy", "condition": {"expression": "count(requests) > 600"}}
    (tmp_path / "rules.json").write_text(json.dumps([rule]))
    done = await uhlp("config", "--set", "currency=EUR", "--rules", "rules.json", "--reason", "ours", **changeable)
    assert done.status == 0, done.err
    assert "count(requests) > 600" in done.out
    more = await uhlp("config", "--set", "rows=3", "--reason", "more", "--json", **changeable)
    assert json.loads(more.out)["configuration"]["value"] == {"currency": "EUR", "rows": 3}
    (tmp_path / "rules.json").write_text("{}")
    assert "holds no list" in (await uhlp("config", "--rules", "rules.json", "--reason", "r", **changeable)).err

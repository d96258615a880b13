"""The ledger's head is kept in the applications' repositories, so that nobody can shorten the ledger unseen."""

import sqlite3

import pytest

from tests.unit.evolution.world import APP, World, coder_answer, lines
from uhlp.evolution.ledger_anchors import verified_ledger


async def test_without_decisions_nothing_is_anchored(world: World) -> None:
    await world.anchors.run_cycle()
    assert await world.anchors.newest() is None


async def test_a_promotion_and_a_rollback_are_anchored(world: World) -> None:
    await world.record(lines(30, split="train") + lines(90, split="held_out"))
    world.model.coder.append(coder_answer())
    candidate_id = await world.optimize()
    await world.pass_canary(candidate_id)
    assert world.state_of(candidate_id) == "promoted"
    promoted = await world.anchors.newest()
    assert promoted == await world.store.head()
    await world.oversight.act(candidate_id, "rollback", actor="ann", reason="a rehearsal")
    rolled_back = await world.anchors.newest()
    assert rolled_back is not None
    assert rolled_back[0] > promoted[0]


@pytest.mark.parametrize("action", ["rollback", "quarantine"])
async def test_whatever_takes_a_handler_out_of_service_is_anchored(world: World, action: str) -> None:
    candidate_id = await world.to_state("promoted")
    await world.oversight.act(candidate_id, action, actor="ann", reason="a rehearsal")
    assert await world.anchors.newest() == await world.store.head()


async def test_a_changed_prompt_that_takes_a_handler_out_is_anchored(world: World) -> None:
    await world.to_state("promoted")
    await world.change_prompt()
    await world.daemon.run_cycle()
    assert await world.anchors.newest() == await world.store.head()


async def test_a_ledger_that_was_cut_short_does_not_hold(world: World) -> None:
    await world.record(lines(30, split="train") + lines(90, split="held_out"))
    world.model.coder.append(coder_answer())
    await world.optimize()
    await world.anchors.anchor(APP)
    assert (await verified_ledger(world.store, world.anchors))["ok"]
    rows = sqlite3.connect(world.folder / "evolution.db")
    kept = rows.execute("SELECT * FROM ledger ORDER BY seq").fetchall()
    candidates = rows.execute("SELECT * FROM candidates").fetchall()
    with rows:
        rows.execute("DELETE FROM ledger")
        rows.execute("DELETE FROM candidates")
    report = await verified_ledger(world.store, world.anchors)
    assert not report["ok"]
    assert "an anchor names entry" in report["firstBad"]["why"]
    with rows:  # as it was: the world checks its ledger when it ends
        rows.executemany(f"INSERT INTO ledger VALUES ({', '.join('?' * len(kept[0]))})", kept)
        rows.executemany(f"INSERT INTO candidates VALUES ({', '.join('?' * len(candidates[0]))})", candidates)
    rows.close()

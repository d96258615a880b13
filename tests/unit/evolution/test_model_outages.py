"""While the model does not answer, nothing is promoted and nothing is taken out: it says nothing about handlers."""

from dataclasses import replace

import pytest

from tests.unit.evolution.world import World, lines
from uhlp.errors import UhlpError

UNKNOWN = [f"please {number} things" for number in range(40)]
"""Inputs that the handler leaves to the model."""


async def send_while_down(world: World, texts: list[str]) -> None:
    for text in texts:
        try:
            await world.send(text)
        except UhlpError:
            continue


def audited(world: World, share: float, weight: float) -> None:
    live = world.live()
    assert live is not None
    world.rollouts.put(replace(live, weight=weight, audit_share=share))


@pytest.mark.parametrize("share", [1.0, 0.3])
@pytest.mark.parametrize("weight", [0.5, 0.9999])
async def test_a_canary_stays_where_it_is_and_goes_on_afterwards(world: World, share: float, weight: float) -> None:
    candidate_id = await world.to_state("canary")
    before = world.book.candidate(candidate_id)
    audited(world, share, weight)
    world.model.is_down = True
    for round_number in range(5):
        start = 50_000 + 1000 * round_number
        await send_while_down(world, [*lines(60, start=start), *UNKNOWN])
        world.clock.advance(3600)
        await world.daemon.run_cycle()
    after = world.book.candidate(candidate_id)
    assert (after.state, after.canary_step) == (before.state, before.canary_step)
    assert after.evidence["k"] == before.evidence["k"]

    world.model.is_down = False
    if after.paused:
        await world.oversight.act(candidate_id, "resume", actor="ann", reason="the model is back")
    await world.pass_canary(candidate_id)
    assert world.state_of(candidate_id) == "promoted"


@pytest.mark.parametrize("state", ["shadow", "promoted"])
async def test_neither_stage_changes(world: World, state: str) -> None:
    candidate_id = await world.to_state(state)
    before = world.book.candidate(candidate_id)
    world.model.is_down = True
    for round_number in range(3):
        await send_while_down(world, [*lines(60, start=50_000 + 1000 * round_number), *UNKNOWN])
        world.clock.advance(3600)
        await world.daemon.run_cycle()
    after = world.book.candidate(candidate_id)
    assert (after.state, after.evidence["n"], after.evidence["k"]) == (
        before.state,
        before.evidence["n"],
        before.evidence["k"],
    )


async def test_one_check_that_could_not_be_made_holds_the_next_step_until_one_is_made(world: World) -> None:
    candidate_id = await world.to_state("canary")
    for text in lines(40, start=50_000):
        audited(world, 1.0, 0.9999)
        await world.send(text)
    world.model.is_down = True
    audited(world, 1.0, 0.9999)
    await send_while_down(world, lines(1, start=60_000))
    candidate = world.book.candidate(candidate_id)
    assert not candidate.paused
    assert "could not be made" in (world.governor.what_holds(candidate) or "")
    step = candidate.canary_step
    world.clock.advance(61)
    await world.daemon.run_cycle()
    assert world.book.candidate(candidate_id).canary_step == step

    world.model.is_down = False
    audited(world, 1.0, 0.9999)
    await world.send_all(lines(1, start=61_000))
    await world.daemon.run_cycle()
    assert world.book.candidate(candidate_id).canary_step == (step or 0) + 1

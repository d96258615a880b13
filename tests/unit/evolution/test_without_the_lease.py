"""A server that lost its lease answers, measures, takes out what turns out wrong, and decides nothing."""

import pytest

from tests.unit.evolution.world import APP, FORGETS_PEARS, PARSE, World, lines
from uhlp.errors import NotLeading
from uhlp.evolution.promotion import candidate_ref


def lost() -> int:
    raise NotLeading("another server leads")


async def send_all(world: World, texts: list[str]) -> list[str]:
    found = []
    for text in texts:
        found.append((await world.send(text)).handler)
    return found


async def test_a_canary_goes_no_step_further_and_goes_on_with_the_lease(world: World) -> None:
    candidate_id = await world.to_state("canary")
    head, step = await world.store.head(), world.book.candidate(candidate_id).canary_step
    world.fence = lost
    for round_number in range(3):
        world.clock.advance(3600)
        await send_all(world, lines(200, start=7001 + 1000 * round_number))
    assert await world.store.head() == head
    assert (world.state_of(candidate_id), world.book.candidate(candidate_id).canary_step) == ("canary", step)
    world.fence = lambda: 2
    await world.daemon.run_cycle()
    assert world.book.candidate(candidate_id).canary_step == (step or 0) + 1


async def test_a_handler_that_turns_out_wrong_is_taken_out_although_nothing_may_be_written(world: World) -> None:
    candidate_id = await world.to_state("promoted", code=FORGETS_PEARS, without="pears")
    head = await world.store.head()
    world.fence = lost
    await send_all(world, lines(200, start=20_000, product="pears"))
    assert await world.store.head() == head
    assert world.state_of(candidate_id) == "promoted", "nobody has decided yet"
    assert set(await send_all(world, lines(10, start=90_000))) == {"llm"}, "but it answers no more"
    world.fence = lambda: 2
    await world.daemon.run_cycle()
    assert world.state_of(candidate_id) == "rolled_back"


async def test_people_are_told_that_another_server_decides(world: World) -> None:
    world.fence = lost
    with pytest.raises(NotLeading):
        await world.oversight.pause(actor="ann", reason="r")
    with pytest.raises(NotLeading):
        await world.oversight.optimize(APP, PARSE, action="jit", actor="ann", reason="r")


async def test_a_server_starts_without_the_lease_and_serves_no_code_that_is_not_what_was_decided(world: World) -> None:
    candidate_id = await world.to_state("promoted")
    files = await world.state.read_ref_tree(APP, candidate_ref(candidate_id))
    assert files is not None
    await world.state.put_ref_tree(APP, candidate_ref(candidate_id), {**files, "handler.py": b"evil"}, "Changed")
    world.fence = lost
    await world.restart()
    assert (await world.send("3 pears")).handler == "llm"
    assert world.state_of(candidate_id) == "promoted"
    world.fence = lambda: 2
    await world.daemon.run_cycle()
    assert world.state_of(candidate_id) == "rolled_back"


async def test_what_was_to_go_and_could_not_be_written_stays_out_and_goes_with_the_lease(world: World) -> None:
    candidate_id = await world.to_state("promoted")
    world.fence = lost
    with pytest.raises(NotLeading):
        await world.oversight.act(candidate_id, "rollback", actor="ann", reason="I do not trust it")
    assert set(await send_all(world, lines(30, start=90_000))) == {"llm"}
    world.fence = lambda: 2
    await world.daemon.run_cycle()
    candidate = world.book.candidate(candidate_id)
    assert (candidate.state, candidate.reason) == ("rolled_back", "I do not trust it")


async def test_a_handler_with_a_standing_alarm_does_not_come_back_with_a_restart(world: World) -> None:
    candidate_id = await world.to_state("promoted", code=FORGETS_PEARS, without="pears")
    world.fence = lost
    await send_all(world, lines(200, start=20_000, product="pears"))
    await world.restart(crash=True)
    assert world.state_of(candidate_id) == "promoted", "nobody has decided yet"
    assert (await world.send("3 pears", observe=False)).handler == "llm"


async def test_a_handler_of_an_old_specification_does_not_come_back_with_a_restart(world: World) -> None:
    candidate_id = await world.to_state("promoted")
    world.fence = lost
    await world.change_prompt()
    await world.restart()
    assert (await world.send("3 pears", observe=False)).handler == "llm"
    world.fence = lambda: 2
    await world.daemon.run_cycle()
    assert world.state_of(candidate_id) == "superseded"

"""Turns: applications are served in turn, each one thing at a time."""

import asyncio

from uhlp.evals.turns import Turns


async def test_applications_are_served_in_turn_and_their_own_things_in_order() -> None:
    turns: Turns[int] = Turns()
    for number in range(3):
        turns.put("flood", f"f{number}", number)
    turns.put("desk", "d0", 0)
    turns.put("shop", "s0", 0)
    taken = []
    for _ in range(5):
        app_id, name, _work = await turns.take()
        taken.append(name)
        turns.over(app_id)
    assert taken == ["f0", "d0", "s0", "f1", "f2"]


async def test_an_application_has_one_thing_in_work_however_many_would_take_it() -> None:
    turns: Turns[int] = Turns()
    turns.put("desk", "first", 1)
    turns.put("desk", "second", 2)
    assert (await turns.take())[1] == "first"
    waiting = asyncio.create_task(turns.take())
    await asyncio.sleep(0)
    assert not waiting.done()
    turns.over("desk")
    assert (await waiting)[1] == "second"


async def test_what_is_withdrawn_is_not_taken() -> None:
    turns: Turns[int] = Turns()
    turns.put("desk", "first", 1)
    turns.put("desk", "second", 2)
    turns.withdraw("desk", "first")
    turns.withdraw("desk", "nothing")
    turns.withdraw("nobody", "nothing")
    assert await turns.take() == ("desk", "second", 2)

"""Who holds the lock of a key is alone there, and a key that nobody holds is forgotten."""

import asyncio

from uhlp.keyed_locks import KeyedLocks


async def test_one_caller_of_a_key_at_a_time_and_others_beside_it() -> None:
    locks, inside = KeyedLocks[str](), list[str]()
    two_are_inside, ending = asyncio.Event(), asyncio.Event()

    async def hold(name: str, key: str) -> None:
        async with locks[key]:
            inside.append(name)
            if len(inside) == 2:
                two_are_inside.set()
            await ending.wait()

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        for name, key in (("first", "a"), ("second", "a"), ("beside", "b")):
            group.create_task(hold(name, key))
        await two_are_inside.wait()
        assert inside == ["first", "beside"]
        assert locks["a"].locked()
        ending.set()
    assert inside == ["first", "beside", "second"]


async def test_who_waits_gets_the_lock_that_is_held_and_not_another_one() -> None:
    locks = KeyedLocks[int]()
    async with asyncio.timeout(5):
        async with locks[1]:
            waiting = asyncio.create_task(locks[1].acquire())
            await asyncio.sleep(0)
            assert not waiting.done()
        await waiting


async def test_a_key_that_nobody_holds_is_forgotten() -> None:
    locks = KeyedLocks[int]()
    for key in range(100):
        async with locks[key]:
            assert len(locks) == 1
    assert len(locks) == 0

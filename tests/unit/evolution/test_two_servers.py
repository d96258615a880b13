"""Two servers share a Redis: one decides, and a lease that changes hands loses and doubles nothing."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contracts.test_runtime_store import RedisServer, redis_server, until_up
from tests.unit.evolution.world import APP, LEASE_S, PARSE, World, lines
from uhlp.clock import FakeClock
from uhlp.errors import NotLeading
from uhlp.evolution.leadership import LEASE
from uhlp.state.redis_runtime_store import RedisRuntimeStore

__all__ = ["redis_server"]
REFUSED = ("begun", "entry written", "candidate written", "server state written", "payloads written")
WRITTEN = ("fence passed", "committed")


@pytest.fixture
async def servers(redis_server: RedisServer, tmp_path: Path) -> AsyncIterator[tuple[World, World]]:
    """The first one leads. Each has a data directory, and the shop, of its own."""
    stores, worlds = [], []
    for name in ("one", "two"):
        leases = RedisRuntimeStore(redis_server.url)
        await until_up(leases)
        (tmp_path / name).mkdir()
        world = World(tmp_path / name, FakeClock())
        world.leases = leases
        await world.open()
        await world.register()
        stores.append(leases)
        worlds.append(world)
    yield worlds[0], worlds[1]
    for world, leases in zip(worlds, stores, strict=True):
        await world.check()
        await world.close()
        await leases.aclose()


async def ended_at_redis(lease_of: World) -> None:
    """By its own clock the server has lost the lease; this does to Redis what the same time does."""
    held = await lease_of.leases.lease(LEASE)
    assert await lease_of.leases.release_lease(LEASE, held.holder)


async def into(world: World, state: str) -> list[int]:
    """Numbers of the entries by which a candidate entered `state`."""
    return [
        one.seq for one in await world.store.entries(limit=-1) if one.entry.to_state == state != one.entry.from_state
    ]


async def test_the_one_without_the_lease_decides_nothing(servers: tuple[World, World]) -> None:
    one, two = servers
    assert (one.leadership.is_leading, two.leadership.is_leading) == (True, False)
    await two.record(lines(60))
    await two.send_all(lines(20, start=5001))
    await two.leadership.when_leading(two.daemon.run_cycle)()
    with pytest.raises(NotLeading):
        await two.oversight.optimize(APP, PARSE, action="jit", actor="ann", reason="please")
    with pytest.raises(NotLeading):
        await two.oversight.pause(actor="ann", reason="please")
    assert (await two.store.head())[0] == 0
    assert await one.to_state("shadow"), "while the other one goes on"


@pytest.mark.parametrize("step", [*REFUSED, *WRITTEN])
async def test_a_lease_that_changes_hands_within_a_decision_loses_and_doubles_nothing(
    servers: tuple[World, World], step: str
) -> None:
    one, two = servers
    candidate_id = await one.to_state("shadow")
    seen: list[str] = []

    def lose_the_lease(name: str) -> None:
        if name == step and not seen:
            seen.append(name)
            one.clock.advance(LEASE_S)

    one.step = lose_the_lease
    await one.send_all(lines(45, start=5001))
    assert seen == [step]
    assert not one.leadership.is_leading
    assert len(await into(one, "canary")) == (step in WRITTEN)
    assert one.state_of(candidate_id) == ("canary" if step in WRITTEN else "shadow")

    await ended_at_redis(one)
    await two.leadership.run_cycle()
    assert two.leadership.is_leading
    decided = (await one.store.head())[0]
    await one.send_all(lines(45, start=6001))
    await one.leadership.when_leading(one.daemon.run_cycle)()
    assert (await one.store.head())[0] == decided, "the other one leads"
    assert await two.to_state("shadow")
    tokens = [await two.store.newest_token()]

    await two.leadership.aclose()
    await one.leadership.run_cycle()
    assert one.leadership.is_leading
    await one.daemon.run_cycle()
    assert len(await into(one, "canary")) == 1, "once, and not again"
    assert one.state_of(candidate_id) == "canary"
    await one.oversight.act(candidate_id, "rollback", actor="ann", reason="done")
    tokens.append(await one.store.newest_token())
    assert tokens[0] < tokens[1]

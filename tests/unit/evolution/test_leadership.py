"""Of the servers that share a runtime store one leads; what it decides late is refused."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from tests.contracts.test_runtime_store import RedisServer, redis_server, until_up
from uhlp.clock import FakeClock, SystemClock
from uhlp.errors import NotLeading, RuntimeStoreUnavailable
from uhlp.evolution.leadership import LEASE, Leadership, holder_name
from uhlp.evolution.store import EvolutionStore
from uhlp.state.redis_runtime_store import RedisRuntimeStore
from uhlp.state.runtime_store import Lease, RuntimeStore
from uhlp.state.sqlite_runtime_store import SqliteRuntimeStore

__all__ = ["redis_server"]
TTL_S = 15.0


class BreakingStore(SqliteRuntimeStore):
    """Leases that cannot be asked for while `is_down`."""

    is_down = False

    async def take_lease(self, key: str, holder: str, *, ttl_seconds: float, above: int = 0) -> Lease:
        if self.is_down:
            raise RuntimeStoreUnavailable("Redis does not answer")
        return await super().take_lease(key, holder, ttl_seconds=ttl_seconds, above=above)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def leases(tmp_path: Path, clock: FakeClock) -> AsyncIterator[BreakingStore]:
    store = BreakingStore(tmp_path / "leases.db", clock=clock)
    yield store
    await store.aclose()


def server(leases: RuntimeStore, name: str, clock: FakeClock | SystemClock, ttl_s: float = TTL_S) -> Leadership:
    return Leadership(leases=leases, holder=name, ttl_s=ttl_s, clock=clock)


async def test_a_server_that_shares_nothing_always_leads(clock: FakeClock) -> None:
    alone = Leadership(leases=None, holder="alone", ttl_s=TTL_S, clock=clock)
    await alone.open(above=7)
    clock.advance(1e6)
    assert alone.is_leading
    assert alone.token() is None
    assert alone.status() == {"leads": True, "leader": "alone", "token": None, "isShared": False, "problem": None}


async def test_the_first_leads_and_the_others_know_who(leases: BreakingStore, clock: FakeClock) -> None:
    first, second = server(leases, "one", clock), server(leases, "two", clock)
    await first.open(above=0)
    await second.open(above=0)
    assert (first.is_leading, second.is_leading) == (True, False)
    assert second.status()["leader"] == "one"
    with pytest.raises(NotLeading, match="Server one decides") as refused:
        second.token()
    assert refused.value.details == {"leader": "one"}


async def test_a_leader_that_ends_lets_the_next_one_in_at_once(leases: BreakingStore, clock: FakeClock) -> None:
    first, second = server(leases, "one", clock), server(leases, "two", clock)
    await first.open(above=0)
    await first.aclose()
    assert not first.is_leading
    await second.open(above=0)
    assert second.is_leading
    assert second.token() == 2


async def test_who_does_not_renew_has_lost_the_lease_without_being_told(
    leases: BreakingStore, clock: FakeClock
) -> None:
    first, second = server(leases, "one", clock), server(leases, "two", clock)
    await first.open(above=0)
    clock.advance(TTL_S * 0.95)
    assert not first.is_leading, "it stops before another can begin"
    await second.run_cycle()
    assert not second.is_leading
    clock.advance(TTL_S * 0.1)
    await second.run_cycle()
    assert second.is_leading
    with pytest.raises(NotLeading):
        first.token()
    await first.run_cycle()
    assert first.status()["leader"] == "two"


async def test_two_renewals_may_fail(leases: BreakingStore, clock: FakeClock) -> None:
    one = server(leases, "one", clock)
    await one.open(above=0)
    leases.is_down = True
    for _ in range(2):
        clock.advance(one.renew_every_s)
        await one.run_cycle()
        assert one.is_leading
        assert one.status()["problem"] == "Redis does not answer"
    clock.advance(one.renew_every_s)
    with pytest.raises(NotLeading, match="Redis does not answer"):
        one.token()
    leases.is_down = False
    await one.run_cycle()
    assert one.is_leading
    assert one.status()["problem"] is None


async def test_a_store_that_forgot_its_tokens_does_not_lower_them(leases: BreakingStore, clock: FakeClock) -> None:
    one = server(leases, "one", clock)
    await one.open(above=41)
    assert one.token() == 42


async def test_gaining_the_lease_is_told_and_wakes_who_waits(leases: BreakingStore, clock: FakeClock) -> None:
    first, second = server(leases, "one", clock), server(leases, "two", clock)
    told: list[str] = []
    first.on_gain(lambda: told.append("one"))
    second.on_gain(lambda: told.append("two"))
    await first.open(above=0)
    await second.open(above=0)
    done = asyncio.Event()

    async def work() -> None:
        done.set()

    waiting = asyncio.create_task(second.once_leading(work)())
    await second.when_leading(work)()
    assert not done.is_set()
    await first.aclose()
    await second.run_cycle()
    await asyncio.wait_for(waiting, 30)
    assert done.is_set()
    await second.run_cycle()
    assert told == ["one", "two"]


@pytest.mark.parametrize("seed", range(20))
async def test_two_never_lead_at_once_and_tokens_only_rise(leases: BreakingStore, clock: FakeClock, seed: int) -> None:
    random, tokens = Random(seed), [0]
    servers = [server(leases, f"{number}", clock) for number in range(3)]
    for _ in range(150):
        match random.randrange(5):
            case 0:
                clock.advance(random.uniform(0, TTL_S * 1.2))
            case 1:
                leases.is_down = not leases.is_down
            case 2:
                number = random.randrange(3)
                servers[number] = server(leases, f"restarted-{random.random()}", clock)  # killed, and back
            case 3:
                await random.choice(servers).aclose()
            case _:
                await random.choice(servers).run_cycle()
        leading = [one for one in servers if one.is_leading]
        assert len(leading) <= 1
        if leading and leading[0].token() != tokens[-1]:
            tokens.append(leading[0].token() or 0)
    assert tokens == sorted(set(tokens))
    assert len(tokens) > 2


# -- the fence


async def test_a_decision_without_the_lease_is_refused_and_writes_nothing(
    leases: BreakingStore, clock: FakeClock, tmp_path: Path
) -> None:
    one = server(leases, "one", clock)
    await one.open(above=0)
    async with EvolutionStore(path=tmp_path / "evolution.db", clock=clock, fence=one.token) as store:
        told: list[int] = []
        store.on_append(lambda sealed: told.extend(entry.seq for entry in sealed))
        await store.pause(actor="ann", reason="leading")
        clock.advance(TTL_S)
        with pytest.raises(NotLeading):
            await store.pause(actor="ann", reason="too late", app_id="shop")
        assert ((await store.head())[0], store.pauses(), told) == (1, {(None, None)}, [1])
        assert await store.check_fold() == []
        await one.run_cycle()
        await store.resume(actor="ann", reason="leading again")
        assert await store.newest_token() == one.token() == 2


async def test_a_decision_that_was_on_its_way_when_the_lease_ended_is_refused(
    leases: BreakingStore, clock: FakeClock, tmp_path: Path
) -> None:
    one = server(leases, "one", clock)
    await one.open(above=0)

    def stalls(step: str) -> None:
        if step == "entry written":
            clock.advance(TTL_S)

    async with EvolutionStore(path=tmp_path / "evolution.db", clock=clock, fence=one.token, step=stalls) as store:
        with pytest.raises(NotLeading):
            await store.pause(actor="ann", reason="on its way")
        assert (await store.head())[0] == 0


async def test_an_earlier_leaders_token_is_refused_where_a_later_one_has_written(
    clock: FakeClock, tmp_path: Path
) -> None:
    path = tmp_path / "evolution.db"
    async with EvolutionStore(path=path, clock=clock, fence=lambda: 1) as early:
        await early.pause(actor="ann", reason="first")
        async with EvolutionStore(path=path, clock=clock, fence=lambda: 2) as late:
            await late.resume(actor="bob", reason="now I lead")
        with pytest.raises(NotLeading, match="token 2 came after this server's 1"):
            await early.pause(actor="ann", reason="am I still?")
        assert (await early.head())[0] == 2


# -- on a real Redis


async def test_on_redis_a_killed_leader_is_followed_and_fenced(redis_server: RedisServer, tmp_path: Path) -> None:
    clock, ttl_s = SystemClock(), 1.0
    stores = [RedisRuntimeStore(redis_server.url) for _ in range(2)]
    first, second = (server(store, holder_name(), clock, ttl_s) for store in stores)
    await until_up(stores[0])
    await first.open(above=0)
    await second.open(above=0)
    async with EvolutionStore(path=tmp_path / "evolution.db", clock=clock, fence=first.token) as ledger:
        assert first.is_leading
        await ledger.pause(actor="ann", reason="leading")
        await stores[0].aclose()  # killed: it neither renews nor releases
        async with asyncio.timeout(30):
            while not second.is_leading:
                await second.run_cycle()
                assert not (first.is_leading and second.is_leading)
        assert not first.is_leading
        assert second.token() == 2
        with pytest.raises(NotLeading):
            await ledger.resume(actor="ann", reason="I did not notice")
        assert (await ledger.head())[0] == 1
    await stores[1].aclose()


async def test_on_redis_tokens_rise_although_redis_lost_everything(redis_server: RedisServer, tmp_path: Path) -> None:
    clock = SystemClock()
    store = RedisRuntimeStore(redis_server.url)
    await until_up(store)
    first = server(store, "one", clock, 60)
    await first.open(above=12)
    await store._redis.flushall()
    assert await store.lease(LEASE) is None
    second = server(store, "two", clock, 60)
    await second.open(above=13)
    assert (first.token(), second.token()) == (13, 14)
    await store.aclose()

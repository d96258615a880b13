"""What every RuntimeStore keeps: the embedded one on a file, the other one on a real Redis server."""

import asyncio
import os
import shutil
import signal
import stat
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.free_port import free_port
from uhlp.clock import FakeClock
from uhlp.errors import Conflict, RuntimeStoreUnavailable, ValidationFailed
from uhlp.state.reconnecting import Reconnecting
from uhlp.state.redis_runtime_store import RedisRuntimeStore
from uhlp.state.runtime_store import MISSING, RuntimeStore, RuntimeValue, StreamEntry
from uhlp.state.sqlite_runtime_store import SqliteRuntimeStore


class RedisServer:
    """A Redis server of the test's own on a free port of 127.0.0.1."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes",
                   "--appendfsync", "always"]  # fmt: skip
        self.process = subprocess.Popen(
            ["redis-server", *options, "--dir", str(self._folder)], stdout=subprocess.DEVNULL
        )

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


async def until_up(store: RuntimeStore) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                return await store.ping()
            except RuntimeStoreUnavailable:
                continue


async def until_gone(store: RuntimeStore, key: str) -> None:
    async with asyncio.timeout(20):
        while True:
            if not (await store.get(key)).found:
                return


@pytest.fixture
def redis_server(tmp_path: Path):
    if shutil.which("redis-server") is None:
        if os.environ.get("UHLP_REQUIRE_SERVICES") == "1":
            pytest.fail("redis-server is not installed")
        pytest.skip("redis-server is not installed")
    server = RedisServer(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["sqlite", "redis"])
async def store(request, tmp_path: Path, clock: FakeClock) -> AsyncIterator[RuntimeStore]:
    opened: RuntimeStore
    if request.param == "sqlite":
        opened = SqliteRuntimeStore(tmp_path / "runtime.db", clock=clock)
    else:
        opened = RedisRuntimeStore(request.getfixturevalue("redis_server").url)
    await until_up(opened)
    yield opened
    await opened.aclose()


@pytest.mark.parametrize("value", [None, True, 0, -1.5, "é\u0000", [], {"a": [1, {"b": None}]}, 2**63])
async def test_a_json_value_is_read_back(store, value):
    await store.set("k", value)
    found = await store.get("k")
    assert found.found
    assert found.value == value


async def test_what_is_no_json_is_refused(store):
    with pytest.raises(ValidationFailed):
        await store.set("k", object())
    with pytest.raises(ValidationFailed):
        await store.set("k", 2**70)


async def test_a_missing_key_is_not_found(store):
    assert not (await store.get("k")).found
    assert not await store.delete("k")


async def test_delete_says_whether_there_was_something(store):
    await store.set("k", 1)
    assert await store.delete("k")
    assert not (await store.get("k")).found


async def test_a_value_goes_when_its_time_runs_out(store, clock):
    await store.set("short", 1, ttl_seconds=0.05)
    await store.set("long", 2, ttl_seconds=3600)
    clock.advance(1)
    await until_gone(store, "short")
    assert not await store.delete("short")
    assert (await store.get("long")).value == 2


async def test_setting_again_forgets_the_time_limit(store, clock):
    await store.set("k", 1, ttl_seconds=0.05)
    await store.set("k", 2)
    await store.set("marker", 1, ttl_seconds=0.06)
    clock.advance(1)
    await until_gone(store, "marker")
    assert (await store.get("k")).value == 2


@pytest.mark.parametrize("ttl", [0, -1, 1e12])
async def test_a_time_limit_must_lie_ahead(store, ttl):
    with pytest.raises(ValidationFailed):
        await store.set("k", 1, ttl_seconds=ttl)


async def test_increments_at_the_same_time_all_count(store):
    await asyncio.gather(*(store.increment("n", 2) for _ in range(50)))
    assert (await store.get("n")).value == 100
    assert await store.increment("n", -101) == -1


async def test_an_increment_keeps_the_time_limit(store, clock):
    await store.set("n", 1, ttl_seconds=0.2)
    assert await store.increment("n") == 2
    clock.advance(1)
    await until_gone(store, "n")


@pytest.mark.parametrize("value", ["5", 1.5, None, [1], True, 2**63 - 1])
async def test_only_64_bit_integers_are_incremented(store, value):
    await store.set("n", value)
    with pytest.raises(Conflict):
        await store.increment("n")
    assert (await store.get("n")).value == value


async def test_an_increment_out_of_range_is_refused(store):
    with pytest.raises(ValidationFailed):
        await store.increment("n", 2**63)


async def test_a_prefix_removes_its_keys_and_no_others(store):
    for key in ("uhlp:runtime:a:1", "uhlp:runtime:a:2", "uhlp:runtime:a*:1", "uhlp:runtime:ab:1"):
        await store.set(key, 1)
    assert await store.delete_prefix("uhlp:runtime:a:") == 2
    assert await store.delete_prefix("uhlp:runtime:a*") == 1
    assert (await store.get("uhlp:runtime:ab:1")).found


async def test_a_value_is_replaced_only_while_it_is_what_was_expected(store):
    assert await store.compare_and_set("k", MISSING, {"b": 1, "a": [2]})
    assert not await store.compare_and_set("k", MISSING, 1)
    assert not await store.compare_and_set("k", RuntimeValue(True, {"b": 1}), 1)
    assert await store.compare_and_set("k", RuntimeValue(True, {"a": [2], "b": 1}), None)
    assert await store.compare_and_set("k", RuntimeValue(True, None), 3)
    assert await store.increment("k") == 4
    assert await store.compare_and_set("k", RuntimeValue(True, 4), 5)
    assert (await store.get("k")).value == 5


async def test_of_many_comparisons_at_once_one_wins(store):
    await store.set("k", 0)
    won = await asyncio.gather(*(store.compare_and_set("k", RuntimeValue(True, 0), n) for n in range(1, 31)))
    assert won.count(True) == 1
    assert (await store.get("k")).value == won.index(True) + 1


async def test_a_comparison_gives_its_value_the_time_limit(store, clock):
    await store.set("k", 1)
    assert await store.compare_and_set("k", RuntimeValue(True, 1), 2, ttl_seconds=0.05)
    clock.advance(1)
    await until_gone(store, "k")
    assert await store.compare_and_set("k", MISSING, 3)
    assert (await store.get("k")).value == 3


async def test_a_stream_keeps_its_newest_entries_and_their_numbers(store):
    for n in range(1, 8):
        assert await store.append("s", {"n": n}, most=5) == n
    assert [(one.number, one.value) for one in await store.entries("s")] == [(n, {"n": n}) for n in range(3, 8)]
    assert [one.number for one in await store.entries("s", after=4, limit=2)] == [5, 6]
    assert await store.entries("s", after=7) == []
    assert await store.entries("nobody") == []
    assert await store.append("s", None, most=1) == 8
    assert await store.entries("s") == [StreamEntry(8, None)]


async def test_appends_at_the_same_time_get_a_number_each(store):
    numbers = await asyncio.gather(*(store.append("s", n, most=100) for n in range(50)))
    assert sorted(numbers) == list(range(1, 51))
    assert {one.number: one.value for one in await store.entries("s")} == dict(zip(numbers, range(50), strict=True))


async def test_a_stream_goes_as_a_whole_and_begins_again(store, clock):
    await store.append("s", 1, most=5, ttl_seconds=0.05)
    clock.advance(1)
    async with asyncio.timeout(20):
        while await store.entries("s"):
            pass
    assert await store.append("s", 2, most=5) == 1
    assert await store.delete("s")
    assert await store.append("s", 3, most=5) == 1
    assert await store.entries("s") == [StreamEntry(1, 3)]
    assert await store.delete_prefix("s") == 1
    assert await store.entries("s") == []


async def test_an_append_without_a_time_limit_keeps_the_earlier_one(store, clock):
    await store.append("s", 1, most=5, ttl_seconds=0.2)
    await store.append("s", 2, most=5)
    clock.advance(1)
    async with asyncio.timeout(20):
        while await store.entries("s"):
            pass


async def test_a_value_is_no_stream_and_a_stream_no_value(store):
    await store.set("value", 1)
    await store.append("stream", 1, most=5)
    for wrong in (
        store.append("value", 1, most=5),
        store.entries("value"),
        store.get("stream"),
        store.increment("stream"),
        store.compare_and_set("stream", MISSING, 1),
    ):
        with pytest.raises(Conflict):
            await wrong
    assert [one.value for one in await store.entries("stream")] == [1]
    await store.set("stream", 2)
    assert (await store.get("stream")).value == 2
    assert await store.delete("stream")
    assert await store.append("stream", 3, most=5) == 1


@pytest.mark.parametrize("most", [0, -1, 10**6])
async def test_a_stream_is_bounded(store, most):
    with pytest.raises(ValidationFailed):
        await store.append("s", 1, most=most)
    with pytest.raises(ValidationFailed):
        await store.entries("s", limit=most)


async def test_keys_are_listed_by_prefix_page_by_page(store, clock):
    names = ["a*:1", "a*:2", "a:1", "a:é", "a:\U0010ffff", "ab", "b"]
    for name in reversed(names):
        await store.set(name, 1)
    await store.append("a:stream", 1, most=1)
    await store.set("a:old", 1, ttl_seconds=0.05)
    clock.advance(1)
    await until_gone(store, "a:old")
    assert await store.keys("a:") == ["a:1", "a:stream", "a:é", "a:\U0010ffff"]
    assert await store.keys("a*") == ["a*:1", "a*:2"]
    assert await store.keys("a:\U0010ffff") == ["a:\U0010ffff"]
    assert await store.count("a") == 7
    assert await store.count("") == 8
    pages, after = [], ""
    while page := await store.keys("", after=after, limit=3):
        pages.append(page)
        after = page[-1]
    assert [len(page) for page in pages] == [3, 3, 2]
    assert sorted(key for page in pages for key in page) == sorted([*names, "a:stream"])


async def until_free(store: RuntimeStore, key: str) -> None:
    async with asyncio.timeout(20):
        while await store.lease(key) is not None:
            pass


async def test_a_lease_has_one_holder_who_may_renew_it(store):
    mine = await store.take_lease("k", "ann", ttl_seconds=60)
    assert mine.holder == "ann"
    assert await store.take_lease("k", "bob", ttl_seconds=60) == mine
    assert await store.take_lease("k", "ann", ttl_seconds=60) == mine
    assert await store.lease("k") == mine
    assert (await store.take_lease("another", "bob", ttl_seconds=60)).holder == "bob"


async def test_of_many_who_ask_at_once_one_gets_the_lease(store):
    found = await asyncio.gather(*(store.take_lease("k", f"server-{n}", ttl_seconds=60) for n in range(40)))
    assert len({(one.holder, one.token) for one in found}) == 1


async def test_a_lease_that_is_not_renewed_goes_to_the_next_with_a_higher_token(store, clock):
    first = await store.take_lease("k", "ann", ttl_seconds=0.05)
    clock.advance(1)
    await until_free(store, "k")
    second = await store.take_lease("k", "bob", ttl_seconds=60)
    assert (second.holder, second.token) == ("bob", first.token + 1)
    assert await store.take_lease("k", "ann", ttl_seconds=60) == second
    assert not await store.release_lease("k", "ann")


async def test_renewing_counts_from_the_renewal(store, clock):
    await store.take_lease("k", "ann", ttl_seconds=0.05)
    await store.take_lease("k", "ann", ttl_seconds=3600)
    await store.take_lease("marker", "ann", ttl_seconds=0.06)
    clock.advance(1)
    await until_free(store, "marker")
    assert (await store.lease("k")).holder == "ann"


async def test_a_released_lease_is_free_at_once_and_its_token_is_not_given_again(store):
    first = await store.take_lease("k", "ann", ttl_seconds=60)
    assert not await store.release_lease("k", "bob")
    assert await store.release_lease("k", "ann")
    assert await store.lease("k") is None
    assert not await store.release_lease("k", "ann")
    assert (await store.take_lease("k", "ann", ttl_seconds=60)).token == first.token + 1


async def test_a_token_lies_above_what_the_caller_knows_of_earlier_ones(store):
    assert (await store.take_lease("k", "ann", ttl_seconds=60, above=10**15)).token == 10**15 + 1
    assert (await store.take_lease("j", "ann", ttl_seconds=60, above=41)).token == 42


@pytest.mark.parametrize(
    "wrong", [{"ttl_seconds": 0}, {"ttl_seconds": 1, "above": -1}, {"ttl_seconds": 1, "above": 2**53}]
)
async def test_a_lease_needs_a_time_and_a_counting_token(store, wrong):
    with pytest.raises(ValidationFailed):
        await store.take_lease("k", "ann", **wrong)


async def test_values_and_leases_of_one_name_are_apart(store):
    await store.take_lease("k", "ann", ttl_seconds=60)
    assert not (await store.get("k")).found
    await store.set("k", 1)
    assert await store.delete_prefix("k") == 1
    assert (await store.lease("k")).holder == "ann"


async def test_the_sqlite_file_is_private(tmp_path, clock):
    store = SqliteRuntimeStore(tmp_path / "runtime.db", clock=clock)
    await store.set("a", 1)
    await store.aclose()
    assert stat.S_IMODE((tmp_path / "runtime.db").stat().st_mode) == 0o600


async def test_sqlite_values_survive_a_restart_and_old_ones_are_swept(tmp_path, clock):
    first = SqliteRuntimeStore(tmp_path / "runtime.db", clock=clock)
    await first.set("k", {"a": 1})
    await first.set("old", 1, ttl_seconds=5)
    await first.aclose()
    clock.advance(10)
    second = SqliteRuntimeStore(tmp_path / "runtime.db", clock=clock)
    await second.run_cycle()
    assert (await second.get("k")).value == {"a": 1}
    assert await second.delete_prefix("o") == 0
    await second.aclose()


async def test_a_sqlite_file_that_cannot_be_opened_is_unavailable(tmp_path):
    (tmp_path / "no folder").touch()
    store = SqliteRuntimeStore(tmp_path / "no folder" / "runtime.db")
    with pytest.raises(RuntimeStoreUnavailable):
        await store.get("k")
    await store.aclose()


async def test_redis_down_is_unavailable_and_its_return_is_noticed(redis_server):
    store = RedisRuntimeStore(redis_server.url)
    await until_up(store)
    await store.set("k", 1)
    redis_server.stop()
    for call in (
        store.get("k"), store.set("k", 2), store.increment("k"), store.delete_prefix("k"), store.keys("k"),
        store.append("s", 1, most=1), store.compare_and_set("k", MISSING, 2), store.ping(),
    ):  # fmt: skip
        with pytest.raises(RuntimeStoreUnavailable) as caught:
            await call
        assert caught.value.retry_after_s == 1.0
    redis_server.start()
    await until_up(store)
    assert (await store.get("k")).value == 1
    await store.aclose()


async def test_redis_stopped_and_started_under_load_keeps_every_acknowledged_write(redis_server):
    store = RedisRuntimeStore(redis_server.url)
    await until_up(store)
    kept: dict[str, int] = {}
    is_over, refused, grown = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def write(worker: int) -> int:
        number = refusals = 0
        while not is_over.is_set():
            number += 1
            try:
                await store.set(f"w{worker}:{number}", number)
                kept[f"w{worker}:{number}"] = number
                grown.set()
                await store.increment(f"n{worker}")
            except RuntimeStoreUnavailable:
                refusals += 1
                refused.set()
                await asyncio.sleep(0)
        return refusals

    async def until_kept(number: int) -> None:
        while len(kept) < number:
            grown.clear()
            await grown.wait()

    writers = [asyncio.ensure_future(write(worker)) for worker in range(8)]
    async with asyncio.timeout(30):
        for more in (200, 400):
            await until_kept(more)
            refused.clear()
            redis_server.stop()
            await refused.wait()
            redis_server.start()
            await until_kept(len(kept) + 100)
        is_over.set()
        assert sum(await asyncio.gather(*writers)) > 0
    for key, number in kept.items():
        assert (await store.get(key)).value == number
    await store.aclose()


async def test_a_redis_that_hangs_is_given_up_and_then_left_in_peace(redis_server):
    store = RedisRuntimeStore(redis_server.url, timeout_s=0.3)
    await until_up(store)
    redis_server.process.send_signal(signal.SIGSTOP)
    try:
        async with asyncio.timeout(10):
            first = await asyncio.gather(*(store.get("k") for _ in range(200)), return_exceptions=True)
            assert all(isinstance(one, RuntimeStoreUnavailable) for one in first)
            then = await asyncio.gather(*(store.set("k", 1) for _ in range(2000)), return_exceptions=True)
            assert all(isinstance(one, RuntimeStoreUnavailable) for one in then)
    finally:
        redis_server.process.send_signal(signal.SIGCONT)
    await until_up(store)
    await store.set("k", 2)
    assert (await store.get("k")).value == 2
    await store.aclose()


def test_pauses_between_attempts_grow_to_a_second_and_end_with_an_answer():
    clock = FakeClock()
    again = Reconnecting(clock=clock)
    pauses = []
    assert again.may_try()
    again.failed("refused")
    again.failed("refused")  # was on its way too
    for _ in range(7):
        waited = 0.0
        while not again.may_try():
            clock.advance(0.01)
            waited += 0.01
        assert not again.may_try()
        again.failed("refused")
        pauses.append(waited)
    assert pauses == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0], abs=0.011)
    again.succeeded()
    assert again.may_try()
    assert again.may_try()

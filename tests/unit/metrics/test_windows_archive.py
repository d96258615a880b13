"""What windows hold outlives the server, but for the last minute of one that was killed."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contracts.test_runtime_store import RedisServer, redis_server, until_up
from tests.unit.metrics.naive_recorder import APP, COMPONENT, WINDOWS_S, NaiveRecorder, gaps, latencies
from uhlp.clock import FakeClock, SystemClock
from uhlp.errors import RuntimeStoreUnavailable
from uhlp.metrics import Windows
from uhlp.metrics.windows_archive import WindowsArchive
from uhlp.state.framework_values import FrameworkValues
from uhlp.state.redis_runtime_store import RedisRuntimeStore
from uhlp.state.runtime_store import RuntimeStore
from uhlp.state.sqlite_runtime_store import SqliteRuntimeStore

__all__ = ["redis_server"]

SERVER = "server-1"
SERIES = (APP, COMPONENT, "llm")


class CountingStore(SqliteRuntimeStore):
    """The embedded store, in memory; it counts what is written, and can be down."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(":memory:", clock=clock)
        self.written: dict[str, Any] = {}
        self.is_down = False
        self.answers = asyncio.Event()
        self.answers.set()

    async def set(self, key: str, value: Any, *, ttl_seconds: float | None = None) -> None:
        self._answer()
        self.written[key] = value
        await super().set(key, value, ttl_seconds=ttl_seconds)

    async def keys(self, prefix: str, *, after: str = "", limit: int = 10_000) -> list[str]:
        self._answer()
        await self.answers.wait()
        return await super().keys(prefix, after=after, limit=limit)

    def _answer(self) -> None:
        if self.is_down:
            raise RuntimeStoreUnavailable("it is down")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(clock: FakeClock) -> AsyncIterator[CountingStore]:
    opened = CountingStore(clock)
    yield opened
    await opened.aclose()


async def start(store: RuntimeStore, clock: Any, server: str = SERVER) -> tuple[Windows, WindowsArchive]:
    windows = Windows(clock=clock)
    archive = WindowsArchive(windows=windows, values=FrameworkValues(store), server=server)
    await archive.open(within_s=60)
    return windows, archive


def call(windows: Windows, times: int = 1, **more: Any) -> None:
    for _ in range(times):
        windows.observe(APP, COMPONENT, **{"handler": "llm", "latency_ms": 800.0, "ok": True, **more})


def count(windows: Windows, window_s: int = 3_600) -> int:
    return windows.window(APP, COMPONENT, window_s).count


# -- nothing is lost, nothing is invented

acts = st.lists(
    st.one_of(
        st.tuples(st.just("observe"), gaps, latencies, st.sampled_from(["llm", "jit"])),
        st.tuples(st.sampled_from(["keep", "restart", "kill"]), gaps),
    ),
    max_size=25,
)


async def play(done: list[tuple[Any, ...]]) -> None:
    clock = FakeClock()
    store = SqliteRuntimeStore(":memory:", clock=clock)
    recorder, kept = NaiveRecorder(clock), 0
    windows, archive = await start(store, clock)
    for act, gap_s, *what in done:
        if act == "observe":
            recorder.observe(windows, handler=what[1], latency_ms=what[0], ok=True, tokens_in=3)
        elif act == "keep":
            await archive.run_cycle()
        else:
            if act == "restart":
                await archive.aclose()
            else:
                del recorder.executions[kept:]
            clock.advance(gap_s)
            windows, archive = await start(store, clock)
        kept = len(recorder.executions) if act != "observe" else kept
        clock.advance(gap_s)
    for window_s in WINDOWS_S:
        recorder.check(windows, window_s, None)
        recorder.check(windows, window_s, "jit")
    await store.aclose()


@settings(max_examples=60, deadline=None)
@given(acts)
def test_whatever_happens_only_what_came_after_the_last_cycle_of_a_killed_server_is_lost(
    done: list[tuple[Any, ...]],
) -> None:
    asyncio.run(play(done))


async def test_a_month_of_traffic_is_there_after_a_day_without_a_server(store: CountingStore, clock: FakeClock) -> None:
    windows, archive = await start(store, clock)
    for _ in range(30 * 24 * 2):
        call(windows, latency_ms=500.0)
        clock.advance(1_800)
        await archive.run_cycle()
    clock.advance(86_400)
    windows, archive = await start(store, clock)
    assert count(windows, 35 * 86_400) == 1_440
    assert count(windows, 48 * 3_600) == 47
    assert await store.count("uhlp:framework:windows:") < 720 + 100


async def test_on_redis_windows_come_back(redis_server: RedisServer) -> None:
    clock = SystemClock()
    store = RedisRuntimeStore(redis_server.url)
    await until_up(store)
    windows, archive = await start(store, clock)
    call(windows, 3, deoptimized="guard", tokens_in=5, cost_usd=0.25)
    before = windows.window(APP, COMPONENT, 3_600).as_dict()
    await archive.aclose()
    windows, _ = await start(store, clock)
    after = windows.window(APP, COMPONENT, 3_600).as_dict()
    assert {**after, "callsPerMin": 0} == {**before, "callsPerMin": 0}
    await store.aclose()


# -- what is written


async def test_only_what_changed_is_written(store: CountingStore, clock: FakeClock) -> None:
    windows, archive = await start(store, clock)
    await archive.run_cycle()
    assert store.written == {}
    call(windows)
    await archive.run_cycle()
    assert sorted(key.split(":")[4] for key in store.written) == ["10", "300", "3600"]
    store.written.clear()
    for _ in range(90):
        clock.advance(60)
        await archive.run_cycle()
    assert store.written == {}
    call(windows)
    await archive.run_cycle()
    assert len(store.written) == 3


async def test_what_is_out_of_reach_goes_by_itself(store: CountingStore, clock: FakeClock) -> None:
    windows, archive = await start(store, clock)
    call(windows)
    await archive.run_cycle()
    clock.advance(36 * 86_400)
    await store.run_cycle()
    assert await store.count("uhlp:framework:") == 0


async def test_many_series_are_kept_in_parts(store: CountingStore, clock: FakeClock) -> None:
    windows, archive = await start(store, clock)
    for number in range(300):
        for step in range(200):
            windows.observe(APP, f"c{number}", handler="jit", latency_ms=1.03**step, ok=True)
    await archive.aclose()
    assert max(len(str(value)) for value in store.written.values()) < 120_000
    assert len(store.written) > 6
    windows, _ = await start(store, clock)
    assert windows.window(APP).count == 60_000


async def test_servers_on_one_store_keep_theirs_apart(store: CountingStore, clock: FakeClock) -> None:
    windows, archive = await start(store, clock)
    call(windows)
    await archive.aclose()
    windows, _ = await start(store, clock, "server-2")
    assert count(windows) == 0


# -- trouble


async def test_a_store_that_is_down_at_the_start_gives_back_later(store: CountingStore, clock: FakeClock) -> None:
    windows, archive = await start(store, clock)
    call(windows, 5)
    await archive.aclose()
    clock.advance(30)
    store.is_down, written = True, len(store.written)
    windows, archive = await start(store, clock)
    call(windows, 2)
    clock.advance(60)
    await archive.run_cycle()
    await archive.aclose()
    assert (count(windows), len(store.written)) == (2, written)
    store.is_down = False
    call(windows, 1)
    await archive.run_cycle()
    assert count(windows) == count(windows, 35 * 86_400) == 8
    clock.advance(20)
    windows, _ = await start(store, clock)
    assert count(windows) == count(windows, 48 * 3_600) == 8


async def test_a_slow_store_does_not_hold_up_the_start(store: CountingStore, clock: FakeClock) -> None:
    windows, archive = await start(store, clock)
    call(windows, 5)
    await archive.aclose()
    store.answers.clear()
    windows = Windows(clock=clock)
    archive = WindowsArchive(windows=windows, values=FrameworkValues(store), server=SERVER)
    await archive.open(within_s=0.01)
    assert count(windows) == 0
    store.answers.set()
    await archive.run_cycle()
    assert count(windows) == 5


async def test_what_could_not_be_kept_is_kept_by_the_next_cycle(store: CountingStore, clock: FakeClock) -> None:
    windows, archive = await start(store, clock)
    store.is_down = True
    for _ in range(10):
        call(windows)
        await archive.run_cycle()
        clock.advance(60)
    assert store.written == {}
    store.is_down = False
    await archive.run_cycle()
    windows, _ = await start(store, clock)
    assert count(windows) == 10


async def test_after_an_hour_without_its_past_a_server_begins_anew(store: CountingStore, clock: FakeClock) -> None:
    windows, archive = await start(store, clock)
    call(windows, 5)
    await archive.aclose()
    store.is_down = True
    windows, archive = await start(store, clock)
    clock.advance(3_700)
    store.is_down = False
    call(windows)
    await archive.run_cycle()
    assert count(windows, 48 * 3_600) == 1


GOOD = {"crc": 223132457, "series": []}


@pytest.mark.parametrize(
    "value",
    [None, 7, "text", [], {}, {"series": []}, {"crc": 1, "series": []}, {"crc": None, "series": 3}],
)
async def test_a_foreign_value_is_dropped_and_the_others_are_read(
    store: CountingStore, clock: FakeClock, value: Any
) -> None:
    windows, archive = await start(store, clock)
    call(windows)
    await archive.aclose()
    stretch = int(clock.now() / 60)
    await store.set(f"uhlp:framework:windows:{SERVER}:10:{stretch}:9", value)
    windows, _ = await start(store, clock)
    assert count(windows) == 1
    assert windows.dropped["values"] == 1


@pytest.mark.parametrize("key", ["10:x:0", "11:5:0", "10:1", "10:1:0:0", "10:99999999999:0", "nothing"])
async def test_a_foreign_key_is_dropped(store: CountingStore, clock: FakeClock, key: str) -> None:
    await store.set(f"uhlp:framework:windows:{SERVER}:10:{int(clock.now() / 60)}:7", GOOD)
    await store.set(f"uhlp:framework:windows:{SERVER}:{key}", GOOD)
    windows, _ = await start(store, clock)
    assert windows.dropped["values"] == 1


async def test_a_stream_and_what_is_no_json_are_dropped(tmp_path: Path, clock: FakeClock) -> None:
    store = SqliteRuntimeStore(tmp_path / "runtime.db", clock=clock)
    windows, archive = await start(store, clock)
    call(windows)
    await archive.aclose()
    stretch = int(clock.now() / 60)
    await store.append(f"uhlp:framework:windows:{SERVER}:10:{stretch}:8", 1, most=5)
    await store.append(f"uhlp:framework:windows:{SERVER}:forgotten", 1, most=5)
    await store._run(lambda db: db.execute("UPDATE runtime_values SET value = x'7B7B' WHERE key LIKE '%:10:%'"))
    windows, _ = await start(store, clock)
    assert (count(windows, 60), count(windows, 7_200)) == (0, 1), "the slot of 5 min has it still"
    await store.aclose()


def flipped(text: str, at: int) -> str:
    return text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_value_is_dropped(data: st.DataObject) -> None:
    async def play() -> None:
        clock = FakeClock()
        store = CountingStore(clock)
        windows, archive = await start(store, clock)
        call(windows, 3, deoptimized="guard")
        await archive.aclose()
        key, value = data.draw(st.sampled_from(sorted(store.written.items(), key=str)))
        text = value["series"][0][3][0]
        value["series"][0][3][0] = flipped(text, data.draw(st.integers(0, len(text) - 1)))
        await store.set(key, value)
        windows, _ = await start(store, clock)
        assert windows.dropped["values"] == 1
        assert {windows.window(APP, COMPONENT, window_s).count for window_s in WINDOWS_S} <= {0, 3}
        await store.aclose()

    asyncio.run(play())


async def test_a_clock_that_was_set_back_goes_on_from_what_was_kept(store: CountingStore, clock: FakeClock) -> None:
    windows, archive = await start(store, clock)
    call(windows, 4)
    await archive.aclose()
    clock.advance(-1_800)
    windows, archive = await start(store, clock)
    assert count(windows, 60) == 4
    clock.advance(1_800)
    assert count(windows, 60) == 0
    assert count(windows) == 4


async def test_what_a_clock_years_ahead_wrote_is_dropped(store: CountingStore, clock: FakeClock) -> None:
    windows, archive = await start(store, clock)
    call(windows)
    await archive.aclose()
    clock.advance(-400 * 86_400)
    windows, _ = await start(store, clock)
    assert (count(windows, 35 * 86_400), windows.dropped["values"]) == (0, 3)


async def test_what_is_kept_of_an_application_that_was_dropped_is_not_its_successors(
    store: CountingStore, clock: FakeClock
) -> None:
    windows, archive = await start(store, clock)
    call(windows, 3)
    windows.observe("other", "c", handler="llm", latency_ms=1, ok=True)
    clock.advance(7_200)
    await archive.run_cycle()
    windows.forget(APP)
    await archive.run_cycle()
    clock.advance(60)
    call(windows)
    await archive.aclose()
    windows, archive = await start(store, clock)
    assert count(windows, 35 * 86_400) == 1
    assert windows.window("other", "c", 48 * 3_600).count == 1
    await archive.aclose()
    windows, _ = await start(store, clock)
    assert count(windows, 48 * 3_600) == 1

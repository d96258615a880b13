"""What rules and people read: windows, their queries, a cycle of rules, keeping and taking back: `python -m
tests.bench.windows`.

Everything is real: the oracle on a registry of 1,000 components with 5 rules each, the runtime store on SQLite, and on
Redis where `redis-server` is installed. Milliseconds are of the processor, as others share the machine; "holds the
loop" is the longest piece of work after which another task had its turn.
"""

import asyncio
import contextlib
import gc
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.contracts.test_runtime_store import RedisServer, until_up
from tests.unit.evolution.world import component, files
from uhlp.clock import FakeClock, SystemClock
from uhlp.metrics import Windows, WindowsArchive
from uhlp.metrics.window_history import SCALES
from uhlp.models.definition import AppDefinition, OptimizationRule
from uhlp.optimization.optimization_oracle import OptimizationOracle
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.state.definition_store import DefinitionStore
from uhlp.state.framework_values import FrameworkValues
from uhlp.state.redis_runtime_store import RedisRuntimeStore
from uhlp.state.runtime_store import RuntimeStore
from uhlp.state.sqlite_runtime_store import SqliteRuntimeStore
from uhlp.state.state_manager import StateManager

COMPONENTS = 1_000
RULES = (
    "count(requests) > 600 && avg(latency_ms) > 500",
    "p95(latency_ms) > 1000",
    "ratio(sum(cost_usd), count(requests)) > 0.002",
    "rate(errors) > 0.05 && calls_per_min > 10",
    "sum(tokens_in) + sum(tokens_out) > 100000.0 || p50(latency_ms) > 2000",
)
OBSERVE, RULES_CYCLE, RULES_HOLD = "observe, µs", "rules, 1,000 components x 5, ms", "  holds the loop, ms"
GOALS = {OBSERVE: 2.0, RULES_CYCLE: 100.0}
LOOK_BACK = {"60 s": 60, "1 h": 3_600, "48 h": 48 * 3_600, "35 days": 35 * 86_400}

Results = dict[str, float]


def run(rounds: int = 5, say: Callable[[str], None] = print) -> Results:
    """Medians over `rounds`, a line each."""
    results = asyncio.run(_measured(rounds))
    for name, value in results.items():
        goal = GOALS.get(name)
        say(f"{name:44}{value:10.2f}" + ("" if goal is None else f"   (goal ≤ {goal:g})"))
    return results


async def _measured(rounds: int) -> Results:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return {
            **_observing(rounds),
            **_querying(rounds),
            **await _ruling(folder, rounds),
            **await _keeping("SQLite", SqliteRuntimeStore(folder / "windows.db")),
            **await _keeping_on_redis(folder),
        }


def _observing(rounds: int) -> Results:
    windows, times = Windows(clock=SystemClock()), []
    names = [f"c{number}" for number in range(COMPONENTS)]
    for _ in range(rounds):
        started = time.thread_time()
        for number in range(100_000):
            windows.observe("app", names[number % COMPONENTS], handler="llm", latency_ms=123.4 + number, ok=True,
                            tokens_in=300, tokens_out=20, cost_usd=0.001)  # fmt: skip
        times.append((time.thread_time() - started) * 10)
    return {OBSERVE: statistics.median(times)}


def _querying(rounds: int) -> Results:
    clock, latency = FakeClock(), random.Random(1)
    windows = Windows(clock=clock)
    for _ in range(35 * 24 * 60):  # a call a minute for 35 days
        _call(windows, "busy", latency)
        clock.advance(60)
    for _ in range(36_000):  # and ten a second for an hour
        _call(windows, "busy", latency)
        clock.advance(0.1)
    slots = [slot for scale in SCALES for slot in windows.kept(("app", "busy", "llm"), 0, scale)]
    found = {"memory of a series, 35 days, KB": sum(map(sys.getsizeof, slots)) / 1e3}
    for name, seconds in LOOK_BACK.items():
        for what in ("sum", "p95"):
            times = []
            for _ in range(rounds * 4):
                started = time.perf_counter()
                windows.window("app", "busy", seconds).value(what, "latency_ms")
                times.append((time.perf_counter() - started) * 1e6)
            found[f"{what} of {name}, µs"] = statistics.median(times)
    return found


async def _ruling(folder: Path, rounds: int) -> Results:
    async with _components(folder) as (registry, state):
        windows, latency = Windows(clock=SystemClock()), random.Random(2)
        for number in range(COMPONENTS):
            for _ in range(60):
                _call(windows, f"c{number}", latency)
        rules = [OptimizationRule.model_validate({"condition": {"expression": one}}) for one in RULES]
        oracle = OptimizationOracle(
            registry, state, windows, _NoTools(), clock=SystemClock(),
            global_rules=lambda: rules,
        )  # fmt: skip
        times, holds = [], []
        for _ in range(rounds + 1):
            gc.collect()
            took, longest = await _timed(oracle.run_optimization_cycle)
            times.append(took)
            holds.append(longest)
            oracle.take_discoveries()
        return {RULES_CYCLE: statistics.median(times[1:]), RULES_HOLD: statistics.median(holds[1:])}


async def _keeping(name: str, store: RuntimeStore) -> Results:
    """1,000 components that were called 60 times in the minute; then all of an hour's minutes are taken back."""
    clock, latency = FakeClock(time.time()), random.Random(3)
    windows = Windows(clock=clock)
    archive = WindowsArchive(windows=windows, values=FrameworkValues(store), server="bench")
    await archive.open()
    kept, holds = [], []
    for _ in range(10):
        for _ in range(6):
            for number in range(COMPONENTS):
                for _ in range(10):
                    _call(windows, f"c{number}", latency)
            clock.advance(10)
        took, longest = await _timed(archive.run_cycle)
        kept.append(took)
        holds.append(longest)
    again = Windows(clock=clock)
    taken, _ = await _timed(WindowsArchive(windows=again, values=FrameworkValues(store), server="bench").open)
    assert again.window("app", "c7", 3_600).count == 600
    await store.aclose()
    return {
        f"keep a minute of 1,000 components, {name}, ms": statistics.median(kept),
        f"  holds the loop, {name}, ms": statistics.median(holds),
        f"take back ten minutes of them, {name}, ms": taken,
    }


async def _keeping_on_redis(folder: Path) -> Results:
    if shutil.which("redis-server") is None:
        return {}
    server = RedisServer(folder)
    try:
        store = RedisRuntimeStore(server.url)
        await until_up(store)
        return await _keeping("Redis", store)
    finally:
        server.stop()


@contextlib.asynccontextmanager
async def _components(folder: Path) -> AsyncIterator[tuple[ApplicationRegistry, StateManager]]:
    runtime = SqliteRuntimeStore(folder / "runtime.db")
    state = StateManager(definitions=DefinitionStore(folder / "apps"), runtime=runtime)
    registry = ApplicationRegistry(state=state)
    try:
        await registry.load_all()
        made = [component(f"c{number}") for number in range(COMPONENTS)]
        await registry.register_application(AppDefinition(app_id="app"), files=files(*made))
        yield registry, state
    finally:
        registry.close()
        await runtime.aclose()


def _call(windows: Windows, component_id: str, latency: random.Random) -> None:
    windows.observe("app", component_id, handler="llm", latency_ms=latency.lognormvariate(6, 0.8), ok=True,
                    tokens_in=300, tokens_out=20, cost_usd=0.001)  # fmt: skip


async def _timed(work: Callable[[], Awaitable[Any]]) -> tuple[float, float]:
    """What it took of the processor, and the longest piece of it in one; milliseconds."""
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        before = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            longest, before = max(longest, now - before), now

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    started = time.thread_time()
    await work()
    took = time.thread_time() - started
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    return took * 1000, longest * 1000


class _NoTools:
    async def call_tool(self, name: str, params: Any, context: Any) -> Any:
        raise AssertionError("no rule asks a tool")


if __name__ == "__main__":
    run()

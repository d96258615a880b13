"""Sandboxes of each driver, beside the least that a call to a process can cost: `python -m tests.bench.sandboxes`.

No HTTP, no routing: the pool and its driver, in an event loop like the server's. The floor is the same frame, back
from a process that does nothing but read it as JSON and write it. Docker joins where there is an engine:
UHLP_TEST_DOCKER_HOST names it, else root starts one. Rounds are interleaved, figures are their medians.
"""

import asyncio
import contextlib
import hashlib
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import structlog.testing
import uvloop

from tests.bench.echo import Echo
from tests.bench.rounds import verdict
from tests.chaos.sandboxes import DockerSandboxes, ProcessSandboxes
from tests.docker_engine import NAMED_ENGINE, build_runner, private_engine
from tests.machine_image import installed_wheels, python_image
from uhlp.clock import SystemClock
from uhlp.metering import NullMeter
from uhlp.models.definition import PoolDefinition
from uhlp.sandbox.allocation import AllocateSandboxRequest, ReleaseSandboxRequest
from uhlp.sandbox.command import CommandSpec
from uhlp.sandbox.command_run import run_command
from uhlp.sandbox.config import DockerSettings, SandboxSettings
from uhlp.sandbox.driver import Driver, SandboxSpec
from uhlp.sandbox.drivers.docker.driver import DockerDriver
from uhlp.sandbox.drivers.interpreter import Interpreter
from uhlp.sandbox.drivers.process import ProcessDriver
from uhlp.sandbox.manager import SandboxManager

PROCESS, DOCKER, DOCKER_STDIO, FLOOR = "process", "docker, unix", "docker, stdio", "floor: echo"
COLD, CLAIMED, FORK, SECOND = "cold start, ms", "claimed start, ms", "fork of a worker, ms", "second component, ms"
CLAIM, P50, P99, RATE = "claim from pool, ms", "warm call p50, µs", "warm call p99, µs", "calls/s at c=16"
SANDBOX_MIB, WORKER_MIB, COMMAND = "idle sandbox, MiB", "idle worker, MiB", "one command, ms"
MEASURES = (COLD, CLAIMED, FORK, SECOND, CLAIM, P50, P99, RATE, SANDBOX_MIB, WORKER_MIB, COMMAND)
COMMON_GOALS = {FORK: 5, SECOND: 5, CLAIM: 1, WORKER_MIB: 2.5}
DOCKER_GOALS = {**COMMON_GOALS, COLD: 400, P50: 200, P99: 2_000, SANDBOX_MIB: 22}
GOALS: dict[str, dict[str, float]] = {
    PROCESS: {**COMMON_GOALS, COLD: 250, P50: 120, P99: 1_000},
    DOCKER: DOCKER_GOALS,
    DOCKER_STDIO: DOCKER_GOALS,
}

CALLS = 500
"""In a row at c=1, and by each of the callers at c=16 a quarter as many."""

CALLERS = 16
WORKERS = 8
"""So many idle ones share the memory that is counted."""

POOL = PoolDefinition(pool_name="default", max_instances=2 * CALLERS)
TICKET = {"subject": "Parcel still not here", "text": "The courier says that the delivery is late. Where is my parcel?"}
CODE = b"def handle(inputs, context):\n    return {'queue': 'shipping' if 'parcel' in inputs['text'] else 'other'}\n"
_numbers = itertools.count(1)
_SHA256 = hashlib.sha256(CODE).hexdigest()
Figures = defaultdict[str, list[float]]
"""By measure, one each round."""


class Side:
    """One driver: `pool` holds sandboxes as the server does; `cold` and `spare` start some that are ended again."""

    def __init__(self, driver: Driver, cold: Driver, spare: Driver | None, seen: Any) -> None:
        self.figures: Figures = defaultdict(list)
        self._cold, self._spare, self._seen = cold, spare, seen
        self._pool = SandboxManager(driver=driver, config=SandboxSettings(), clock=SystemClock(), meter=NullMeter())

    async def __aenter__(self) -> "Side":
        await self._pool.open()
        await asyncio.gather(*(self._call() for _ in range(CALLERS)))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._pool.close()

    async def starts(self) -> None:
        """What a first call waits for, and what stays in memory."""
        taken_s, sandbox = await _timed(self._cold.start(_spec("cold")))
        self.figures[COLD].append(taken_s * 1e3)
        await sandbox.start_worker()
        alone = _memory_mib(self._seen.processes(sandbox.sandbox_id))
        forks = [await _timed(sandbox.start_worker()) for _ in range(WORKERS)]
        self.figures[FORK].append(statistics.median(taken_s for taken_s, _ in forks) * 1e3)
        each = (_memory_mib(self._seen.processes(sandbox.sandbox_id)) - alone) / WORKERS
        self.figures[WORKER_MIB].append(each)
        self.figures[SANDBOX_MIB].append(alone - each)
        await sandbox.stop("it is measured")
        if self._spare is not None:
            while not self._spare.status()["spares"]:  # noqa: ASYNC110 - it tells nobody when one is ready
                await asyncio.sleep(0.05)
            taken_s, sandbox = await _timed(self._spare.start(_spec("claimed")))
            self.figures[CLAIMED].append(taken_s * 1e3)
            await sandbox.stop("it is measured")

    async def command(self) -> None:
        """From nothing to nothing: Python says its version, because every image here has it."""
        spec = CommandSpec(owner="bench", argv=(str(Interpreter.own().executable), "-V"))
        run = run_command(self._cold.open_command, spec, stdin=b"", timeout_s=30, most_output_bytes=1000)
        self.figures[COMMAND].append((await _timed(run))[0] * 1e3)

    async def calls(self) -> None:
        """Warm calls, and a first one of another component."""
        self.figures[SECOND].append((await _timed(self._call(component=f"second{next(_numbers)}")))[0] * 1e3)
        self.figures[CLAIM].append(statistics.median([await self._claim() for _ in range(CALLS)]) * 1e3)
        await _measure_calls(self._call, self.figures)

    async def _call(self, *, component: str = "sort") -> None:
        await self._pool.execute(
            "bench",
            POOL,
            _request(component),
            artifacts={_SHA256: CODE},
            call_tool=None,
            timeout_s=30,
            group="serving",
        )

    async def _claim(self) -> float:
        request = AllocateSandboxRequest(
            app_id="bench", required_pool_name="default", pool=POOL, identity=("sort", _SHA256), timeout_s=30
        )
        taken_s, answer = await _timed(self._pool.allocate_sandbox(request))
        self._pool.release_sandbox(ReleaseSandboxRequest(instance_id=answer.instance_id))
        return taken_s


async def measure(rounds: int, engine_url: str | None) -> dict[str, Figures]:
    """Figures by side; without an engine only those of processes and of the floor."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="uhlp-bench-")))
        sides = {PROCESS: await stack.enter_async_context(_process(folder))}
        if engine_url is not None:
            sides[DOCKER] = await stack.enter_async_context(_docker(folder, engine_url, "unix"))
            sides[DOCKER_STDIO] = await stack.enter_async_context(_docker(folder, engine_url, "stdio"))
        echo = await stack.enter_async_context(Echo.open())
        floor: Figures = defaultdict(list)
        for _ in range(rounds):
            for side in sides.values():
                await side.calls()
            await _measure_calls(lambda: echo.call(_request("sort")), floor)
            for side in sides.values():
                await side.starts()
                await side.command()
    return {**{name: side.figures for name, side in sides.items()}, FLOOR: floor}


@contextlib.asynccontextmanager
async def _process(folder: Path) -> AsyncIterator[Side]:
    def driver(name: str) -> ProcessDriver:
        return ProcessDriver(data_dir=_made(folder / name), allow_unisolated=True, production=False)

    async with (
        _opened(driver("process-cold")) as cold,
        Side(driver("process"), cold, None, ProcessSandboxes()) as side,
    ):
        yield side


@contextlib.asynccontextmanager
async def _docker(folder: Path, url: str, transport: Any) -> AsyncIterator[Side]:
    def driver(name: str, spares: int) -> DockerDriver:
        docker = DockerSettings(url=url, transport=transport, spare_sandboxes=spares)
        return DockerDriver(
            data_dir=_made(folder / f"{transport}-{name}"),
            config=SandboxSettings(docker=docker),
            clock=SystemClock(),
            read_secret=lambda name: None,
        )

    async with (
        _opened(driver("cold", 0)) as cold,
        _opened(driver("spare", 1)) as spare,
        Side(driver("pool", 0), cold, spare, DockerSandboxes(url)) as side,
    ):
        yield side


@contextlib.asynccontextmanager
async def _opened(driver: Driver) -> AsyncIterator[Driver]:
    await driver.open()
    try:
        yield driver
    finally:
        await driver.close()


async def _measure_calls(call: Callable[[], Awaitable[object]], figures: Figures) -> None:
    times_us = sorted([(await _timed(call()))[0] * 1e6 for _ in range(CALLS)])
    figures[P50].append(times_us[CALLS // 2])
    figures[P99].append(times_us[CALLS * 99 // 100])

    async def calls() -> None:
        for _ in range(CALLS // 4):
            await call()

    async def all_callers() -> None:
        await asyncio.gather(*(calls() for _ in range(CALLERS)))

    figures[RATE].append(CALLERS * (CALLS // 4) / (await _timed(all_callers()))[0])


async def _timed(work: Awaitable[Any]) -> tuple[float, Any]:
    began_s = time.perf_counter()
    result = await work
    return time.perf_counter() - began_s, result


def _memory_mib(pids: list[int]) -> float:
    """What the processes take together: pages that they share count once."""
    rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids]
    return sum(int(text.partition("\nPss:")[2].split()[0]) for text in rollups) / 1024


def _request(component: str) -> dict[str, Any]:
    return {
        "requestId": f"r{next(_numbers)}",
        "requestData": {"source": "http", "input": TICKET},
        "context": {
            "appId": "bench",
            "componentId": component,
            "handlerType": "JIT",
            "revision": "0" * 40,
            "task": {"artifact": {"sha256": _SHA256, "path": "handler.py"}, "function": "handle"},
            "configuration": {},
            "applicationInfo": {"deploymentMode": "production"},
            "deadlineMs": 30_000,
        },
    }


def _spec(app_id: str) -> SandboxSpec:
    return SandboxSpec(app_id=app_id, pool=POOL, group="serving")


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@contextlib.contextmanager
def _engine() -> Iterator[str | None]:
    """An engine that has the runner's image; None, said aloud, where there can be none."""
    with contextlib.ExitStack() as stack:
        try:
            url = os.environ.get(NAMED_ENGINE) or stack.enter_context(private_engine(in_memory=False)).url
        except (pytest.skip.Exception, pytest.fail.Exception) as reason:
            print(f"Docker is not measured: {reason}")
            yield None
            return
        with tempfile.TemporaryDirectory() as wheels:
            build_runner(url, python_image(url), installed_wheels(Path(wheels)))
        yield url


def run(*, rounds: int = 5) -> dict[str, Figures]:
    """Measure, and print table and goals."""
    with (
        _engine() as url,
        structlog.testing.capture_logs(),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        results = runner.run(measure(rounds, url))
    print(f"{'':24}" + "".join(f"{name:>16}" for name in results))
    medians = {
        name: {what: statistics.median(figures[what]) for what in MEASURES if figures[what]}
        for name, figures in results.items()
    }
    for what in MEASURES:
        cells = [f"{each[what]:16,.3f}" if what in each else f"{'':16}" for each in medians.values()]
        print(f"{what:24}" + "".join(cells))
    print("load average of the machine: {:.2f} {:.2f} {:.2f}".format(*os.getloadavg()))
    _print_goals(medians)
    return results


def _print_goals(medians: Mapping[str, Mapping[str, float]]) -> None:
    for name, goals in GOALS.items():
        for what, goal in goals.items():
            if name in medians:
                print(verdict(f"{name}: {what}", medians[name][what], goal, at_least=False))
        if name in medians:
            over = medians[name][P50] / medians[FLOOR][P50]
            print(f"{name}: warm call p50 over the floor's: {over:.2f}")


if __name__ == "__main__":
    run(rounds=int(sys.argv[1]) if len(sys.argv) > 1 else 5)

"""Stores and registry, each beside what it stands on: `python -m tests.bench.state [applications]`."""

import asyncio
import gc
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter

import pygit2
from pygit2.enums import FileMode, Option
from redis.asyncio import Redis

from tests.bench.rounds import verdict
from uhlp.registry.api_keys import ApiKeys
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.registry.config import RegistrySettings
from uhlp.registry.route_table import Route, RouteTable
from uhlp.state.definition_store import DefinitionStore
from uhlp.state.redis_runtime_store import RedisRuntimeStore
from uhlp.state.runtime_store import RuntimeStore
from uhlp.state.sqlite_runtime_store import SqliteRuntimeStore
from uhlp.state.state_manager import StateManager

Row = tuple[str, float]
"""What was measured, and its figure in the unit that it names."""

_COMPONENT = """\
- componentId: c{n}
  taskDetails: {{prompt_template: p{n}}}
  routeMatcher: {{pathPattern: "/c{n}/:id", methods: [POST]}}
  inputSchema:
    type: object
    properties: {{text: {{type: string, maxLength: 2000}}, n: {{type: integer}}}}
    required: [text]
  optimization: {{comparator: {{team: exact}}, rules: [{{condition: {{expression: "count(requests) > 600"}}}}]}}
"""
_PROMPT = """\
template: |
  You are component {n} of {app_id}.
  Which team takes {{{{ text }}}}?
outputSchema: {{type: object, properties: {{team: {{type: string}}}}, required: [team]}}
"""


def definition(app_id: str, components: int) -> dict[str, bytes]:
    registry = "components:\n" + "".join(_COMPONENT.format(n=n) for n in range(components))
    files = {"app.yaml": f"appId: {app_id}\n", "component_registry.yaml": registry}
    files |= {f"prompts/p{n}.yaml": _PROMPT.format(n=n, app_id=app_id) for n in range(components)}
    return {path: text.encode() for path, text in files.items()}


def state_of(root: Path) -> StateManager:
    return StateManager(definitions=DefinitionStore(root), runtime=SqliteRuntimeStore(":memory:"))


def resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


async def timed(work: Callable[[int], Awaitable[object]], times: int) -> list[float]:
    """Seconds of each call."""
    spans = []
    for number in range(times):
        started = perf_counter()
        await work(number)
        spans.append(perf_counter() - started)
    return spans


def commit_with_pygit2(path: Path) -> Callable[[int], Awaitable[object]]:
    """One file with libgit2 and, where that is set, its own fsync: the floor."""
    repository = pygit2.init_repository(str(path), bare=True)
    who = pygit2.Signature("x", "x@x")
    parents: list[pygit2.Oid] = []

    async def commit(number: int) -> None:
        nonlocal parents
        builder = repository.TreeBuilder()
        builder.insert("file", repository.create_blob(f"{number}".encode()), FileMode.BLOB)
        parents = [repository.create_commit("refs/heads/main", who, who, "m", builder.write(), parents)]

    return commit


def commit_with_git(path: Path) -> Callable[[int], Awaitable[object]]:
    subprocess.run(["git", "init", "-q", str(path)], check=True)
    git = ["git", "-C", str(path), "-c", "user.name=x", "-c", "user.email=x@x", "-c", "core.fsync=all"]

    async def commit(number: int) -> None:
        (path / "file").write_text(f"{number}")
        for arguments in (["add", "file"], ["commit", "-qm", "m"]):
            await (await asyncio.create_subprocess_exec(*git, *arguments)).wait()

    return commit


async def commits(folder: Path, times: int = 40) -> list[Row]:
    store = DefinitionStore(folder / "apps")
    for app_id in ("one", *(f"app-{n}" for n in range(4))):
        await store.create(app_id)

    async def one(number: int, app_id: str = "one") -> None:
        await store.commit(app_id, {"file": f"{number}".encode()}, store.note("m", None))

    floor, git = commit_with_pygit2(folder / "floor.git"), commit_with_git(folder / "git")
    await timed(one, 3)
    spans: dict[str, list[float]] = {"uhlp": [], "floor": [], "git": []}
    for number in range(times):  # in turn, so that a noisy moment hits all of them alike
        pygit2.option(Option.ENABLE_FSYNC_GITDIR, False)
        spans["uhlp"] += await timed(lambda _, n=number: one(n), 1)
        pygit2.option(Option.ENABLE_FSYNC_GITDIR, True)
        spans["floor"] += await timed(lambda _, n=number: floor(n), 1)
        spans["git"] += await timed(lambda _, n=number: git(n), 1)
    pygit2.option(Option.ENABLE_FSYNC_GITDIR, False)
    started = perf_counter()
    await asyncio.gather(*(one(n, f"app-{n % 4}") for n in range(times)))
    beside = times / (perf_counter() - started)
    p50 = {name: median(some) * 1000 for name, some in spans.items()}
    print(verdict("commit over pygit2 with fsync", p50["uhlp"] / p50["floor"], 1.2, at_least=False))
    print(verdict("git's own program over a commit", p50["git"] / p50["uhlp"], 4.0, at_least=True))
    return [
        ("commit, ms p50", p50["uhlp"]),
        ("  pygit2 + fsync, ms p50", p50["floor"]),
        ("  git add, git commit, ms p50", p50["git"]),
        ("commits/s, four applications at once", beside),
    ]


def routes() -> list[Row]:
    rows = []
    for number in (10, 1_000, 10_000):
        made = [Route(f"c{n}", f"/area{n % 100}/thing{n}/:id/part/:part", ("GET", "POST")) for n in range(number)]
        started = perf_counter()
        table = RouteTable(made)
        built_ms = (perf_counter() - started) * 1000
        paths = [f"/area{n % 100}/thing{n}/17/part/a%20b" for n in range(0, number, max(1, number // 100))]
        spans = []
        for _ in range(30):
            started = perf_counter()
            for path in paths:
                table.match("POST", path)
            spans.append((perf_counter() - started) / len(paths) * 1e6)
        rows += [(f"route match of {number}, µs", median(spans)), (f"  table of {number}, ms", built_ms)]
    print(verdict("match of 10,000 routes over one of 10", rows[4][1] / rows[0][1], 1.5, at_least=False))
    return rows


async def keys() -> list[Row]:
    made = ApiKeys(settings=RegistrySettings())
    pairs = [await made.create(["*"], "") for _ in range(8)]
    made.replace("desk", {key.key_id: key for _, key in pairs})
    first = await timed(lambda n: made.validate(pairs[n][0]), len(pairs))
    unknown = await timed(lambda n: made.validate(f"uhlp_ffffffff_{n:048d}"), 8)
    raw = pairs[0][0]
    started = perf_counter()
    for _ in range(20_000):
        made.known(raw)
    known_us = (perf_counter() - started) / 20_000 * 1e6
    made.close()
    return [("key, first check, ms p50", median(first) * 1000), ("  unknown key, ms p50", median(unknown) * 1000),
            ("  known key, µs", known_us)]  # fmt: skip


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    server = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.kill()
        server.wait()


@asynccontextmanager
async def closing(store: RuntimeStore) -> AsyncIterator[RuntimeStore]:
    yield store
    await store.aclose()


async def runtime_values(name: str, store: RuntimeStore, times: int = 3_000) -> list[Row]:
    value = {"a": 1, "text": "x" * 100}
    await timed(lambda n: store.set(f"k{n}", value), 100)
    spans = {
        "set": await timed(lambda n: store.set(f"k{n % 100}", value), times),
        "get": await timed(lambda n: store.get(f"k{n % 100}"), times),
        "increment": await timed(lambda n: store.increment("n"), times),
        "append": await timed(lambda n: store.append("s", value, most=1_000), times),
    }
    return [(f"{name} {what}, µs p50", median(some) * 1e6) for what, some in spans.items()]


async def runtime_stores(folder: Path) -> list[Row]:
    async with closing(SqliteRuntimeStore(folder / "runtime.db")) as store:
        rows = await runtime_values("sqlite", store)
    if shutil.which("redis-server") is None:
        return rows
    with redis_server(folder) as url:
        async with closing(RedisRuntimeStore(url)) as store:
            while True:
                try:
                    await store.ping()
                    break
                except Exception:
                    await asyncio.sleep(0.05)
            rows += await runtime_values("redis", store)
            plain = Redis.from_url(url)
            floor = median(await timed(lambda n: plain.get("k1"), 3_000)) * 1e6
            await plain.aclose()
    print(verdict("redis get over redis-py's", dict(rows)["redis get, µs p50"] / floor, 1.2, at_least=False))
    return [*rows, ("  redis-py get, µs p50", floor)]


def fill(root: Path, applications: int, components: int = 20) -> None:
    """Repositories as a copy of a data directory has them."""
    who = pygit2.Signature("x", "x@x", 1, 0)
    for number in range(applications):
        app_id = f"app-{number:04d}"
        repository = pygit2.init_repository(str(root / f"{app_id}.git"), bare=True, initial_head="main")
        index = pygit2.Index()
        for path, content in definition(app_id, components).items():
            index.add(pygit2.IndexEntry(path, repository.create_blob(content), FileMode.BLOB))
        tree = index.write_tree(repository)
        repository.create_commit("refs/heads/main", who, who, "m", tree, [])


async def registry(root: Path, applications: int) -> list[Row]:
    await asyncio.to_thread(fill, root, applications)
    made = ApplicationRegistry(state=state_of(root))
    before = resident_mib()
    gc.disable()  # as a server that starts does
    started = perf_counter()
    await made.load_all()
    gc.enable()
    loaded_s, grown = perf_counter() - started, resident_mib() - before
    assert len(made.app_ids()) == applications
    await made.run_cycle()
    followed = await timed(lambda n: made.run_cycle(), 3)
    app_ids = made.app_ids()
    started = perf_counter()
    for number in range(100_000):
        made.snapshot(app_ids[number % applications]).components["c7"]
    read_us = (perf_counter() - started) / 100_000 * 1e6
    gaps = await _gaps_while(
        lambda n: made.update_application(app_ids[0], {"version": str(n)}, update_mask=["version"])
    )
    made.close()
    print(verdict(f"load of {applications} applications, s", loaded_s, 10.0, at_least=False))
    print(verdict(f"memory of {applications} applications, MiB", grown, 500.0, at_least=False))
    return [(f"load of {applications} x 20 components, s", loaded_s), ("  memory, MiB", grown),
            ("  a cycle that follows all repositories, ms", median(followed) * 1000), ("snapshot read, µs", read_us),
            ("longest pause of the loop in 20 swaps, ms", max(gaps) * 1000),
            ("  p99, ms", quantiles(gaps, n=100)[98] * 1000)]  # fmt: skip


async def _gaps_while(work: Callable[[int], Awaitable[object]]) -> list[float]:
    """Seconds between two turns of the event loop while `work` runs 20 times."""
    gaps: list[float] = []

    async def watch() -> None:
        last = perf_counter()
        while True:
            await asyncio.sleep(0)
            now = perf_counter()
            gaps.append(now - last)
            last = now

    watching = asyncio.create_task(watch())
    await timed(work, 20)
    watching.cancel()
    return gaps


def run(*, applications: int = 1_000) -> dict[str, float]:
    """Measure everything once and print it; the figures by their names."""
    with tempfile.TemporaryDirectory(prefix="uhlp-bench-") as made:
        folder = Path(made)

        async def measure() -> list[Row]:
            rows = await registry(folder / "many", applications)
            return [*rows, *await commits(folder), *routes(), *await keys(), *await runtime_stores(folder)]

        (folder / "many").mkdir()
        rows = asyncio.run(measure())
    for what, figure in rows:
        print(f"{what:48}{figure:12,.3f}")
    print("load average of the machine: {:.2f} {:.2f} {:.2f}".format(*os.getloadavg()))
    return dict(rows)


if __name__ == "__main__":
    run(applications=int(sys.argv[1]) if len(sys.argv) > 1 else 1_000)

"""The life of containers: spares, starts that fail, what dead servers leave, engines that go and come back."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from docker_parts import containers, docker_driver, make_container, opened, remove_container, runner_that
from raw_runner import new_data_dir, raw_runner, spec
from test_images import store_of

from tests.docker_engine import PrivateEngine
from uhlp.clock import FakeClock, SystemClock
from uhlp.errors import EngineUnavailable, ImageUnavailable, IsolationRefused, SandboxDied
from uhlp.sandbox.config import DockerSettings
from uhlp.sandbox.drivers.docker.driver import DockerDriver
from uhlp.sandbox.drivers.docker.engine import Engine
from uhlp.sandbox.drivers.docker.launcher import Launcher
from uhlp.sandbox.drivers.docker.tasks import OwnedTasks

ECHO = "def handle(inputs, context):\n    return inputs\n"
_BOUND_S = 20.0


@pytest.fixture
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_data_dir(tmp_path_factory)


def instance_of(data_dir: Path) -> str:
    return hashlib.sha256(str(data_dir.resolve()).encode()).hexdigest()[:12]


def ours(engine: str, data_dir: Path) -> list[str]:
    return containers(engine, f"uhlp.instance={instance_of(data_dir)}")


async def until_none_is_left(engine: str, data_dir: Path) -> None:
    async with asyncio.timeout(_BOUND_S):
        while await asyncio.to_thread(ours, engine, data_dir):  # noqa: ASYNC110 - the engine only answers
            await asyncio.sleep(0.01)


# -- spares


async def test_a_spare_is_claimed_once_and_another_is_started_for_it(
    docker_engine: str, runner_image: str, data_dir: Path
) -> None:
    async with opened(docker_driver(docker_engine, data_dir, spare_sandboxes=1)) as driver:
        first = await driver.start(spec("shop", memory="256M"))
        assert driver.status()["starts"] == {"cold": 0, "claimed": 1}
        assert first.spec.app_id == "shop"
        await driver._spares.settle()
        second = await driver.start(spec("desk", memory="256M", group="trial"))
        assert driver.status()["starts"] == {"cold": 0, "claimed": 2}
        assert second.sandbox_id != first.sandbox_id
        other_kind = await driver.start(spec(memory="128M"))
        assert driver.status()["starts"] == {"cold": 1, "claimed": 2}
        assert len(await driver.list_owned()) == 3
        for sandbox in (first, second, other_kind):
            await sandbox.stop("the test is over")
        await driver._spares.settle()
        assert sum(driver.status()["spares"].values()) == 2
        await driver.run_cycle()
        assert sum(driver.status()["spares"].values()) == 1  # nobody uses the other kind any more
    assert ours(docker_engine, data_dir) == []


# -- starts that fail


@pytest.mark.parametrize(
    ("name", "code", "reason"),
    [
        ("never-dials", "import time; time.sleep(600)", "dialed nobody within 1 s"),
        ("ends-at-once", "raise SystemExit('no such thing')", "no such thing"),
        (
            "lets-another-dial",
            "import os, socket, time\n"
            "if os.fork() == 0: socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect('/run/uhlp/s')\n"
            "time.sleep(600)",
            "dialed in place of",
        ),
    ],
)
async def test_a_container_that_does_not_answer_is_refused_and_removed(
    docker_engine: str, runner_image: str, data_dir: Path, name: str, code: str, reason: str
) -> None:
    image = runner_that(docker_engine, f"uhlp-test-{name}", code)
    async with opened(docker_driver(docker_engine, data_dir, transport="unix", start_timeout_s=10)) as driver:
        driver._launcher._start_limit_s = 1
        with pytest.raises(SandboxDied, match=reason):
            await driver.start(spec(docker_image=image))
        await driver._tasks.finish()
        assert ours(docker_engine, data_dir) == []


async def test_standard_streams_are_tried_where_nobody_dials_and_remembered(
    docker_engine: str, runner_image: str, data_dir: Path
) -> None:
    deaf = (
        "import sys, json; sys.path.append('/runner')\n"
        "settings = json.loads(sys.argv[-1])\n"
        "if settings['control_path']: raise SystemExit('no socket can be dialed here')\n"
        "from uhlp_runner.zygote import main; main()"
    )
    image = runner_that(docker_engine, "uhlp-test-cannot-dial", deaf)
    tasks = OwnedTasks()
    async with Engine(url=docker_engine) as engine:
        launcher = Launcher(
            engine=engine,
            settings=DockerSettings(),
            instance=instance_of(data_dir),
            data_dir=data_dir,
            volume_allow=(),
            start_limit_s=10,
            clock=SystemClock(),
            remove=engine.remove,
            spawn=tasks.spawn,
            on_end=lambda sandbox: None,
        )
        async with store_of(engine) as store:
            facts = await store.ensure(image)
        for _ in range(2):
            sandbox = await launcher.launch(spec(), facts)
            runner = await raw_runner(sandbox)
            assert (await runner.run(ECHO, {"n": 1}))["data"] == {"n": 1}
            assert sandbox.transport == launcher.transport == "attached stdio"
            await sandbox.stop("the test is over")
        await tasks.finish()
    assert ours(docker_engine, data_dir) == []


async def test_a_missing_image_is_named_and_asked_for_again(
    docker_engine: str, runner_image: str, data_dir: Path
) -> None:
    async with opened(docker_driver(docker_engine, data_dir)) as driver:
        with pytest.raises(ImageUnavailable, match="build-image"):
            await driver.start(spec(docker_image="uhlp-runner:never-built"))


async def test_a_start_that_is_given_up_leaves_no_container(
    docker_engine: str, runner_image: str, data_dir: Path
) -> None:
    async with opened(docker_driver(docker_engine, data_dir)) as driver:
        for steps in (1, 3, 10, 30):
            start = asyncio.ensure_future(driver.start(spec()))
            for _ in range(steps):
                await asyncio.sleep(0)
            start.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await (await start).stop("it was too late to give up")
        await driver._tasks.finish()
        assert ours(docker_engine, data_dir) == []


# -- what is left behind


async def test_what_a_dead_server_left_is_removed_at_the_next_start(
    docker_engine: str, runner_image: str, data_dir: Path
) -> None:
    dead = docker_driver(docker_engine, data_dir)
    await dead.open()
    left = await dead.start(spec())
    async with opened(docker_driver(docker_engine, data_dir)) as driver:
        assert await driver.list_owned() == []
        with pytest.raises(SandboxDied):
            await left.start_worker()
    await dead.close()


async def test_containers_end_by_themselves_when_their_server_lets_go(
    docker_engine: str, runner_image: str, data_dir: Path
) -> None:
    async with opened(docker_driver(docker_engine, data_dir)) as driver:
        sandbox = await driver.start(spec())
        sandbox.link.close()  # type: ignore[attr-defined] # as the kernel does when the server is killed
        await until_none_is_left(docker_engine, data_dir)


async def test_only_what_is_nobodys_or_expired_is_swept(docker_engine: str, runner_image: str, data_dir: Path) -> None:
    clock = FakeClock()
    mine, hour_s = instance_of(data_dir), 3600
    late, early = str(int(clock.now()) + hour_s), str(int(clock.now()) - hour_s)
    foreign = {
        "uhlp-sweep-nobodys": {"uhlp.instance": mine, "uhlp.expires": late},
        "uhlp-sweep-expired": {"uhlp.instance": "another", "uhlp.expires": early},
        "uhlp-sweep-anothers": {"uhlp.instance": "another", "uhlp.expires": late},
        "uhlp-sweep-strange": {"somebody": "else"},
    }
    async with opened(docker_driver(docker_engine, data_dir, clock=clock, orphan_grace_s=60)) as driver:
        sandbox = await driver.start(spec())
        try:
            for name, labels in foreign.items():
                make_container(docker_engine, name, labels)
            await driver.run_cycle()
            assert set(ours(docker_engine, data_dir)) == {"uhlp-sweep-nobodys", sandbox.sandbox_id}
            clock.advance(61)
            await driver.run_cycle()
            assert ours(docker_engine, data_dir) == [sandbox.sandbox_id]
            assert containers(docker_engine, "uhlp.instance=another") == ["uhlp-sweep-anothers"]
            assert containers(docker_engine, "somebody") == ["uhlp-sweep-strange"]
        finally:
            for name in foreign:
                remove_container(docker_engine, name)


async def test_a_container_retires_before_it_expires(docker_engine: str, runner_image: str, data_dir: Path) -> None:
    clock = FakeClock()
    async with opened(docker_driver(docker_engine, data_dir, clock=clock)) as driver:
        sandbox = await driver.start(spec())
        runner = await raw_runner(sandbox)
        clock.advance(23 * 3600)
        with pytest.raises(SandboxDied, match="too old"):
            await sandbox.start_worker()
        assert (await runner.run(ECHO, {"n": 1}))["data"] == {"n": 1}


class Gate:
    """Stands between a driver and its engine: swallows the answer to the next `create`, or exchanges words of requests
    for others of the same length, when told to."""

    def __init__(self, engine: str, path: Path) -> None:
        self._engine = engine.removeprefix("unix://")
        self._path = path
        self.swallows = False
        self.exchanges = (b"", b"")

    async def __aenter__(self) -> "Gate":
        self._server = await asyncio.start_unix_server(self._serve, self._path)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        engine_reader, engine_writer = await asyncio.open_unix_connection(self._engine)
        drops = asyncio.Event()

        async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_answer: bool) -> None:
            while data := await source.read(65_536):
                if is_answer and drops.is_set():
                    break
                if not is_answer and self.swallows and b"/containers/create" in data:
                    drops.set()
                    self.swallows = False
                sink.write(data if is_answer else data.replace(*self.exchanges))
            sink.close()
            writer.close()

        await asyncio.gather(
            pass_on(reader, engine_writer, is_answer=False), pass_on(engine_reader, writer, is_answer=True)
        )


async def test_a_container_whose_creation_got_no_answer_is_not_leaked(
    docker_engine: str, runner_image: str, data_dir: Path
) -> None:
    async with (
        Gate(docker_engine, data_dir / "g") as gate,
        opened(docker_driver(f"unix://{data_dir / 'g'}", data_dir)) as driver,
    ):
        gate.swallows = True
        with pytest.raises(EngineUnavailable, match="does not answer"):
            await driver.start(spec())
        await driver._tasks.finish()
        assert ours(docker_engine, data_dir) == []
        await driver.start(spec())


async def test_an_image_says_whether_it_holds_our_runner(
    docker_engine: str, runner_image: str, base_image: str, data_dir: Path
) -> None:
    async with opened(docker_driver(docker_engine, data_dir)) as driver:
        assert await driver.has_runner(runner_image)
        assert not await driver.has_runner(base_image)
        with pytest.raises(ImageUnavailable):
            await driver.has_runner("uhlp-runner:none")


async def test_an_engine_that_drops_a_wall_gets_no_code_of_ours_and_none_of_users(
    docker_engine: str, runner_image: str, base_image: str, data_dir: Path
) -> None:
    async with Gate(docker_engine, data_dir / "g") as gate:
        gate.exchanges = (b'"ReadonlyRootfs": true', b'"ReadonlyRootfs":false')
        async with opened(docker_driver(f"unix://{data_dir / 'g'}", data_dir)) as driver:
            assert driver.capabilities.isolation == "none"
            for image in ("uhlp-runner", base_image):
                with pytest.raises(IsolationRefused, match="read-only root"):
                    await driver.start(spec(docker_image=image))
            assert "read-only root" in driver.status()["problem"]


# -- engines that go and come back


@pytest.fixture
async def far(data_dir: Path, second_engine: PrivateEngine) -> AsyncIterator[tuple[PrivateEngine, DockerDriver]]:
    """An engine that may be stopped, whose containers outlive it, and a driver on it."""
    second_engine.stop()
    second_engine.start(live_restore=True)
    async with opened(docker_driver(second_engine.url, data_dir, spare_sandboxes=1)) as driver:
        yield second_engine, driver


async def test_while_the_engine_is_down_warm_sandboxes_serve_and_it_recovers_alone(
    far: tuple[PrivateEngine, DockerDriver], data_dir: Path
) -> None:
    engine, driver = far
    sandbox = await driver.start(spec(memory="256M"))
    runner = await raw_runner(sandbox)
    await driver._spares.settle()
    await asyncio.to_thread(engine.stop)
    assert (await runner.run(ECHO, {"n": 1}))["data"] == {"n": 1}
    newcomer = await raw_runner(sandbox)
    assert (await newcomer.run(ECHO, {"n": 2}))["data"] == {"n": 2}
    spare = await raw_runner(await driver.start(spec("desk", memory="256M")))
    assert (await spare.run(ECHO, {"n": 3}))["data"] == {"n": 3}
    with pytest.raises(EngineUnavailable, match="does not answer"):
        await driver.start(spec("late", memory="256M"))
    await driver.run_cycle()
    assert "does not answer" in driver.status()["problem"]
    await sandbox.stop("it is not needed any more")
    await asyncio.to_thread(engine.start, live_restore=True)
    await driver.run_cycle()
    assert driver.status()["problem"] == ""
    assert sandbox.sandbox_id not in await driver.list_owned()
    late = await raw_runner(await driver.start(spec("late", memory="256M")))
    assert (await late.run(ECHO, {"n": 4}))["data"] == {"n": 4}
    await driver.close()
    assert ours(engine.url, data_dir) == []


async def test_a_driver_that_finds_no_engine_opens_says_so_and_starts_when_there_is_one(
    docker_engine: str, runner_image: str, data_dir: Path
) -> None:
    async with opened(docker_driver(f"unix://{data_dir / 'g'}", data_dir)) as driver:
        assert "does not answer" in driver.status()["problem"]
        with pytest.raises(EngineUnavailable, match=r"sandbox\.docker\.url"):
            await driver.start(spec())
        async with Gate(docker_engine, data_dir / "g"):
            await driver.run_cycle()
            assert driver.status()["problem"] == ""
            assert driver.capabilities.facts[0].startswith("Docker")
            runner = await raw_runner(await driver.start(spec()))
            assert (await runner.run(ECHO, {"n": 1}))["data"] == {"n": 1}
            await driver.close()

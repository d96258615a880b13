"""ImageStore on a real engine and a real private registry; where time or a broken engine matters, on a scripted one."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from tests.image_registry import PASSWORD, USERNAME, ImageRegistry, image_registry
from tests.machine_image import http_client, image_of
from uhlp.clock import FakeClock
from uhlp.errors import ImageUnavailable, ShuttingDown
from uhlp.sandbox.config import SandboxSettings
from uhlp.sandbox.drivers.docker import build
from uhlp.sandbox.drivers.docker.engine import Engine
from uhlp.sandbox.drivers.docker.images import ImageStore
from uhlp.secret_references import secret_reader

BACKOFF_S = 4.0


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageRegistry]:
    with image_registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture(scope="module")
def small_image(docker_engine: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A megabyte that says nothing."""
    file = tmp_path_factory.mktemp("image") / "noise"
    file.write_bytes(os.urandom(1 << 20))
    name = f"uhlp-test-noise:{os.urandom(4).hex()}"
    return image_of(docker_engine, name, tree=[(file, Path("/noise"))])


@pytest.fixture
async def engine(docker_engine: str) -> AsyncIterator[Engine]:
    engine = Engine(url=docker_engine)
    await engine.connect()
    yield engine
    await engine.close()


@asynccontextmanager
async def store_of(
    engine: Engine, *, password: str | None = None, clock: FakeClock | None = None, host: str = "", **docker: Any
) -> AsyncIterator[ImageStore]:
    """A store with a login of that password at `host`, where one is given."""
    registries = {host: {"username": USERNAME, "password": password}} if password else {}
    settings = SandboxSettings.model_validate(
        {"docker": {"registries": registries, **docker}, "backoff_initial_s": BACKOFF_S, "backoff_max_s": 30}
    )
    environment = {"WHARF_KEY": PASSWORD}
    store = ImageStore(
        engine=engine, config=settings, clock=clock or FakeClock(), read_secret=secret_reader(environment)
    )
    yield store
    await store.close()


def forget(engine_url: str, image: str) -> None:
    with http_client(engine_url) as http:
        http.delete(f"/images/{image}")


async def test_an_image_that_is_there_is_taken_as_it_is(engine: Engine, runner_image: str) -> None:
    async with store_of(engine) as store:
        facts = await store.ensure(runner_image)
        assert facts.is_runner
        assert not facts.is_stale
        assert (facts.runner_version, facts.runner_content) == (build.runner_version(), build.runner_content())
        (line,) = store.status()
        assert line == {
            "image": runner_image,
            "state": "present",
            "imageId": facts.image_id,
            "digest": None,
            "runner": build.runner_version(),
            "isStale": False,
        }


@pytest.mark.parametrize(
    ("changes", "port"),
    [
        ((), 8080),
        (("EXPOSE 9000/udp", "EXPOSE 7001", "EXPOSE 700"), 700),
        (("EXPOSE 7001", "LABEL uhlp.port=9100"), 9100),
        (("LABEL uhlp.port=www",), 8080),
    ],
)
async def test_an_image_that_speaks_http_says_where(
    engine: Engine, docker_engine: str, tmp_path: Path, changes: tuple[str, ...], port: int
) -> None:
    (tmp_path / "file").write_text("")
    name = image_of(
        docker_engine, f"uhlp-test-port:{os.urandom(4).hex()}", tree=[(tmp_path / "file", Path("/f"))],
        changes=changes,
    )  # fmt: skip
    async with store_of(engine) as store:
        facts = await store.ensure(name)
        assert (facts.is_runner, facts.http_port) == (False, port)
    forget(docker_engine, name)


async def test_the_runner_image_is_never_pulled_but_built(engine: Engine) -> None:
    async with store_of(engine) as store:
        with capture_logs() as logs, pytest.raises(ImageUnavailable, match=r"uhlp sandbox build-image"):
            await store.ensure("uhlp-runner:no-such")
        assert not logs


@pytest.mark.parametrize(
    ("labels", "is_refused"),
    [({"uhlp.runner": "0"}, True), ({"uhlp.runner": build.runner_version(), "uhlp.runner.content": "old"}, False)],
)
async def test_an_image_with_another_runner_is_stale_and_refused_where_it_speaks_otherwise(
    labels: dict[str, str], is_refused: bool, tmp_path: Path
) -> None:
    async with scripted_engine(tmp_path) as script, store_of(script.engine) as store:
        script.labels = labels
        script.is_present = True
        with capture_logs() as logs:
            if is_refused:
                with pytest.raises(ImageUnavailable, match=r"holds runner 0.*uhlp sandbox build-image"):
                    await store.ensure("own/runner")
            else:
                assert (await store.ensure("own/runner")).is_stale
                assert (await store.ensure("own/runner")).is_stale
                assert [log["event"] for log in logs] == ["runner_image_stale"]


async def test_a_private_registry_refuses_who_has_no_login_and_the_error_says_where_it_goes(
    engine: Engine, docker_engine: str, registry: ImageRegistry, small_image: str
) -> None:
    image = registry.take_over(docker_engine, small_image, "team/closed:1")
    async with store_of(engine, image_allow=(f"{registry.host}/team/*",)) as store:
        with pytest.raises(ImageUnavailable, match=r"no basic auth.*sandbox\.docker\.registries") as refused:
            await store.ensure(image)
        assert registry.host in refused.value.message
        assert refused.value.retry_after_s == BACKOFF_S
        (line,) = store.status()
        assert (line["state"], line["failures"], line["retryAfterS"]) == ("failed", 1, BACKOFF_S)


async def test_a_login_by_secret_reference_pulls_once_for_all_who_wait(
    engine: Engine, docker_engine: str, registry: ImageRegistry, small_image: str
) -> None:
    image = registry.take_over(docker_engine, small_image, "team/app:2")
    async with store_of(engine, host=registry.host, password="secret:WHARF_KEY") as store:
        with capture_logs() as logs:
            facts = await asyncio.gather(*(store.ensure(image) for _ in range(5)))
        assert len(set(facts)) == 1
        assert (facts[0].digest or "").startswith("sha256:")
        assert [log["event"] for log in logs] == ["image_pull_started", "image_pulled"]
        (line,) = store.status()
        assert line["state"] == "present"
        assert PASSWORD not in json.dumps([logs, line])
    forget(docker_engine, image)


@pytest.mark.parametrize(
    ("password", "message"),
    [
        ("wrong-4711", rf"unauthorized.*Check the login of {USERNAME} at"),
        ("secret:NO_SUCH", r"secret that is not there"),
    ],
)
async def test_a_login_that_does_not_work_is_said_without_its_password(
    engine: Engine, docker_engine: str, registry: ImageRegistry, small_image: str, password: str, message: str
) -> None:
    image = registry.take_over(docker_engine, small_image, "team/app:3")
    async with store_of(engine, host=registry.host, password=password) as store:
        with capture_logs() as logs, pytest.raises(ImageUnavailable, match=message) as refused:
            await store.ensure(image)
        assert "wrong-4711" not in json.dumps([logs, store.status(), refused.value.envelope()])


async def test_a_name_that_the_registry_does_not_know_is_said(engine: Engine, registry: ImageRegistry) -> None:
    async with store_of(engine, host=registry.host, password=PASSWORD) as store:
        with pytest.raises(ImageUnavailable, match=r"team/none:9.*Check its name and tag"):
            await store.ensure(f"{registry.host}/team/none:9")


async def test_a_registry_that_is_down_is_asked_again_after_a_growing_pause_and_not_before(
    engine: Engine, docker_engine: str, registry: ImageRegistry, small_image: str
) -> None:
    image, clock = registry.take_over(docker_engine, small_image, "team/app:4"), FakeClock()
    registry.stop()
    async with store_of(engine, host=registry.host, password=PASSWORD, clock=clock) as store:
        try:
            for pause_s in (BACKOFF_S, 2 * BACKOFF_S):
                with pytest.raises(ImageUnavailable, match=r"connection refused.*is asked again") as refused:
                    await store.ensure(image)
                assert refused.value.retry_after_s == pause_s
                clock.advance(pause_s)
        finally:
            registry.start()
        clock.advance(-1)
        with pytest.raises(ImageUnavailable) as refused:
            await store.ensure(image)
        assert refused.value.retry_after_s == 1
        clock.advance(1)
        assert (await store.ensure(image)).image_id
        assert store.status()[0]["state"] == "present"
    forget(docker_engine, image)


class ScriptedEngine:
    """Answers as an engine does, but pulls as the test says: each line put into `progress`; None ends the pull."""

    engine: Engine

    def __init__(self) -> None:
        self.progress: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self.is_present = False
        self.labels: dict[str, str] = {}
        self.tags: list[str] | None = None
        """What its image is known by; None for every name that it is asked for."""
        self.volumes: dict[str, dict[str, Any]] = {}
        self.pulls = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/version"):
            return web.json_response({"Version": "0", "ApiVersion": "1.41", "MinAPIVersion": "1.12"})
        if request.path.endswith("/info"):
            return web.json_response({})
        if request.path.endswith("/images/create"):
            return await self._pull(request)
        if not self.is_present:
            return web.json_response({"message": "no such image"}, status=404)
        asked = request.path.partition("/images/")[2].removesuffix("/json").removeprefix("docker.io/library/")
        asked += "" if ":" in asked.rpartition("/")[2] else ":latest"
        config = {"Labels": self.labels, "Volumes": self.volumes}
        return web.json_response({"Id": "sha256:1", "RepoTags": self.tags or [asked], "Config": config})

    async def _pull(self, request: web.Request) -> web.StreamResponse:
        self.pulls += 1
        answer = web.StreamResponse()
        await answer.prepare(request)
        while line := await self.progress.get():
            await answer.write(json.dumps(line).encode() + b"\n")
        return answer


@asynccontextmanager
async def scripted_engine(folder: Path) -> AsyncIterator[ScriptedEngine]:
    script, application = ScriptedEngine(), web.Application()
    application.router.add_route("*", "/{path:.*}", script.answer)
    runner = web.AppRunner(application, shutdown_timeout=0)
    await runner.setup()
    await web.UnixSite(runner, str(folder / "engine")).start()
    script.engine = Engine(url=f"unix://{folder}/engine")
    await script.engine.connect()
    yield script
    await script.engine.close()
    script.progress.put_nowait(None)  # a pull that nobody reads any more
    await runner.cleanup()


async def state(store: ImageStore, **wanted: Any) -> dict[str, Any]:
    """The status of the only image, when it shows what is wanted."""
    async with asyncio.timeout(30):
        while True:
            for line in store.status():
                if wanted.items() <= line.items():
                    return line
            await asyncio.sleep(0)


def downloading(layer: str, current: int, total: int) -> dict[str, Any]:
    return {"status": "Downloading", "id": layer, "progressDetail": {"current": current, "total": total}}


async def test_progress_is_seen_and_a_caller_that_gives_up_does_not_end_the_pull(tmp_path: Path) -> None:
    clock = FakeClock()
    async with scripted_engine(tmp_path) as script, store_of(script.engine, clock=clock) as store:
        with capture_logs() as logs:
            caller = asyncio.create_task(store.ensure("example/app:1"))
            script.progress.put_nowait(downloading("a", 100, 400))
            await state(store, state="pulling", bytes=100, progressPercent=25)
            caller.cancel()
            await asyncio.wait([caller])
            clock.advance(10)
            script.progress.put_nowait({"status": "Download complete", "id": "a", "progressDetail": {}})
            script.progress.put_nowait(downloading("b", 0, 100))
            await state(store, state="pulling", bytes=400, progressPercent=80)
            script.is_present = True
            script.progress.put_nowait(None)
            await state(store, state="present")
        assert await store.ensure("example/app:1")
        assert script.pulls == 1
        assert [log["event"] for log in logs] == ["image_pull_started", "image_pulling", "image_pulled"]


async def test_a_pull_that_ends_without_the_image_has_failed(tmp_path: Path) -> None:
    async with scripted_engine(tmp_path) as script, store_of(script.engine) as store:
        script.progress.put_nowait(None)
        with pytest.raises(ImageUnavailable, match="without the image"):
            await store.ensure("example/app:1")


async def test_a_pull_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    async with scripted_engine(tmp_path) as script, store_of(script.engine, pull_timeout_s=0.05) as store:
        with pytest.raises(ImageUnavailable, match=r"not pulled within 0\.05 s"):
            await store.ensure("example/app:1")


async def test_closing_ends_a_pull_and_whoever_waits_for_it_hears_why(tmp_path: Path) -> None:
    async with scripted_engine(tmp_path) as script, store_of(script.engine) as store:
        caller = asyncio.create_task(store.ensure("example/app:1"))
        await state(store, state="pulling")
        await store.close()
        with pytest.raises(ShuttingDown):
            await caller

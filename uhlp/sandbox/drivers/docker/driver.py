"""The Docker driver: sandboxes as containers of one engine, on this machine or another.

What holds is found out by starting a container and having its supervisor look; one that misses a wall is refused, in
development too. While the engine is down, sandboxes that run go on serving; new ones fail until it answers again.
"""

import asyncio
import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog

from uhlp.clock import Clock
from uhlp.errors import EngineUnavailable, ImageUnavailable, IsolationRefused, UhlpError
from uhlp.models.definition import PoolDefinition
from uhlp.sandbox.command import CommandProcess, CommandSpec
from uhlp.sandbox.config import SandboxSettings
from uhlp.sandbox.driver import Capabilities, Sandbox, SandboxSpec
from uhlp.sandbox.drivers.docker import container
from uhlp.sandbox.drivers.docker.commands import DockerCommands
from uhlp.sandbox.drivers.docker.engine import Engine
from uhlp.sandbox.drivers.docker.http_sandbox import HttpSandbox, check_reach
from uhlp.sandbox.drivers.docker.image_facts import ImageFacts
from uhlp.sandbox.drivers.docker.images import ImageStore
from uhlp.sandbox.drivers.docker.launcher import Launcher
from uhlp.sandbox.drivers.docker.orphans import Orphans, living
from uhlp.sandbox.drivers.docker.ping import ping_us
from uhlp.sandbox.drivers.docker.sandbox import DockerSandbox
from uhlp.sandbox.drivers.docker.spares import Spares
from uhlp.sandbox.drivers.docker.tasks import OwnedTasks
from uhlp.secret_references import SecretReader

_log = structlog.get_logger(__name__)
_PROBE = SandboxSpec(app_id="uhlp-probe", pool=PoolDefinition(pool_name="probe"), group="trial")


class DockerDriver:
    """`environment` gives DOCKER_HOST where the settings name no engine."""

    def __init__(
        self,
        *,
        data_dir: Path,
        config: SandboxSettings,
        clock: Clock,
        read_secret: SecretReader,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._clock = clock
        self._data_dir = data_dir.resolve()
        self._instance = hashlib.sha256(str(self._data_dir).encode()).hexdigest()[:12]
        self._engine = Engine(url=config.docker.url or environment.get("DOCKER_HOST"))
        self._images = ImageStore(engine=self._engine, config=config, clock=clock, read_secret=read_secret)
        self._tasks = OwnedTasks()
        self._orphans = Orphans(
            engine=self._engine, instance=self._instance, grace_s=config.docker.orphan_grace_s, clock=clock
        )
        self._launcher = Launcher(
            engine=self._engine,
            settings=config.docker,
            instance=self._instance,
            data_dir=self._data_dir,
            volume_allow=config.volume_allow,
            start_limit_s=config.start_timeout_s,
            clock=clock,
            remove=self._orphans.remove,
            spawn=self._tasks.spawn,
            on_end=self._ended,
        )
        self._commands = DockerCommands(engine=self._engine, launcher=self._launcher, orphans=self._orphans)
        self._spares = Spares(number=config.docker.spare_sandboxes, launch=self._launcher.launch)
        self._sandboxes: dict[str, DockerSandbox | HttpSandbox] = {}
        self._known_images: dict[str, ImageFacts] = {}
        self._starts = {"cold": 0, "claimed": 0}
        self._capabilities: Capabilities | None = None
        self._opening = asyncio.Lock()
        self._is_connected = False
        self._probed_kind = ""
        self._problem = ""

    @property
    def capabilities(self) -> Capabilities:
        """What was found out; before that, what is kept: a container that misses a wall is refused."""
        waiting = ("not looked at yet: the engine or the image was not there",)
        return self._capabilities or Capabilities("docker", "container", facts=waiting)

    async def open(self) -> Capabilities:
        """Remove what a dead server left behind and start a container to see which walls hold.

        Where the engine or the runner's image is missing, this is tried again with the first start and in each cycle.
        """
        try:
            await self._connect()
            await self._look_at_walls()
        except UhlpError as error:
            self._problem = error.message
            _log.error("docker_driver_not_ready", reason=error.message)
        return self.capabilities

    async def start(self, spec: SandboxSpec) -> Sandbox:
        """A sandbox: a spare of its kind where there is one, else a new container."""
        began_s = time.perf_counter()
        await self._connect()
        image = await self._image(spec.pool.docker_image)
        if not image.is_runner:
            return await self._start_http(spec, image)
        await self._look_at_walls()
        kind = container.kind(spec.pool, image.image_id)
        sandbox = self._spares.take(kind, spec)
        way = "cold" if sandbox is None else "claimed"
        if sandbox is None:
            sandbox = await self._launcher.launch(spec, image)
        self._starts[way] += 1
        self._sandboxes[sandbox.sandbox_id] = sandbox
        self._spares.refill(kind, spec, image)
        took_ms = round((time.perf_counter() - began_s) * 1e3, 1)
        _log.info("sandbox_started", sandbox=sandbox.sandbox_id, app_id=spec.app_id, group=spec.group, ms=took_ms,
                  start=way, transport=sandbox.transport)  # fmt: skip
        return sandbox

    async def open_command(self, spec: CommandSpec) -> CommandProcess:
        """A container of its own, behind every wall of a sandbox."""
        await self._connect()
        image = await self._image(spec.image)
        await self._check_walls()
        return await self._commands.open(spec, image)

    async def has_runner(self, image: str) -> bool:
        """As the image says of itself."""
        await self._connect()
        return (await self._image(image)).is_runner

    async def list_owned(self) -> list[str]:
        """Ids of living sandboxes, as the engine knows them; spares and what is being started belong to nobody yet."""
        if self._engine.is_connected:
            return sorted(await living(self._engine, self._instance) - self._spares.names() - self._launcher.names)
        async with Engine(url=self._engine.url) as engine:  # before `open` and after `close` it can be asked as well
            return sorted(await living(engine, self._instance))

    async def run_cycle(self) -> None:
        """Look after the engine: what is nobody's is removed, what could not be opened is opened. Never raises."""
        try:
            await self._connect()
            await self._engine.ping()
            await self._orphans.sweep(self._known())
            await self._look_at_walls()
            await self._spares.tend(self._kinds())
            self._problem = ""
        except UhlpError as error:
            self._problem = error.message
            _log.warning("docker_upkeep_failed", reason=error.message)

    def status(self) -> dict[str, Any]:
        """`problem` says why no sandbox can be started now; it is empty when nothing stands in the way."""
        facts, lacking = self._engine.facts, "; ".join(self.capabilities.missing)
        return {
            "problem": self._problem or (lacking and f"The Docker engine does not build every wall: {lacking}."),
            "engine": {"url": self._engine.url, "version": facts.version if facts else None},
            "transport": self._launcher.transport,
            "isolation": {"missing": list(self.capabilities.missing), "facts": list(self.capabilities.facts)},
            "starts": dict(self._starts),
            "spares": self._spares.status(),
            "images": self._images.status(),
        }

    async def close(self) -> None:
        """Stop every sandbox and remove every container; what an engine that is down keeps goes at the next start."""
        await self._spares.close()
        await self._commands.close()
        async with asyncio.TaskGroup() as stops:
            for sandbox in list(self._sandboxes.values()):
                stops.create_task(sandbox.stop("the server ends"))
        await self._images.close()
        await self._tasks.finish()
        try:
            await self._launcher.bridge.close()
        except UhlpError as error:
            _log.warning("docker_network_left", reason=error.message)
        await asyncio.to_thread(shutil.rmtree, self._data_dir / "dial", True)
        await self._engine.close()

    async def _connect(self) -> None:
        """Once, when it succeeds: reach the engine, and clear away what was left there. Raises EngineUnavailable …"""
        async with self._opening:
            if not self._is_connected:
                await self._engine.connect()
                await asyncio.to_thread(shutil.rmtree, self._data_dir / "dial", True)
                await self._orphans.remove_all()
                self._is_connected = True

    async def _look_at_walls(self) -> None:
        """Once, when it succeeds or a wall is missing: a sandbox says what it sees. Raises ImageUnavailable,
        SandboxDied, EngineUnavailable …"""
        async with self._opening:
            if self._capabilities is not None:
                return
            image = await self._image(_PROBE.pool.docker_image)
            version = f"Docker {self._engine.facts.version}" if self._engine.facts else "Docker"
            try:
                seen = await self._self_test(image)
            except IsolationRefused as refusal:
                missing = tuple(refusal.details.get("missing", ())) or (refusal.message,)
                self._capabilities = Capabilities("docker", "none", missing, (version,))
            else:
                self._capabilities = Capabilities("docker", "container", (), (version, *seen))
            self._problem = ""
            _log.info("docker_driver_opened", engine=self._engine.url, isolation=self._capabilities.isolation,
                      facts=self._capabilities.facts, missing=self._capabilities.missing)  # fmt: skip

    async def _self_test(self, image: ImageFacts) -> list[str]:
        """Start a sandbox and a worker; what they report, and how fast they are reached. It may be the first spare."""
        sandbox = await self._launcher.launch(_PROBE, image)
        try:
            worker = await sandbox.start_worker()
            took_us = await ping_us(worker)
            await worker.kill()
            worker.endpoint.close()
        except BaseException:
            self._tasks.spawn(sandbox.stop("the probe failed"))
            raise
        self._probed_kind = sandbox.kind
        if not self._spares.add(sandbox):
            await sandbox.stop("the probe is over")
        own_files = "files of each worker its own"
        if not sandbox.walls["own_files"]:
            own_files = "workers of a sandbox reach each other's temporary files: the kernel has no Landlock"
        return [
            f"user {sandbox.walls['uid']}",
            f"Python {worker.hello['python']}",
            f"calls over {sandbox.transport} ({took_us} µs)",
            "filters of system calls: the container's own, in supervisor and workers besides",
            own_files,
            "no network, no capabilities, read-only root; memory, processor and processes bounded for each sandbox",
        ]

    async def _image(self, name: str) -> ImageFacts:
        """The image; as it was last seen while the engine is down, because spares of it may be left."""
        try:
            image = self._known_images[name] = await self._images.ensure(name)
        except EngineUnavailable as error:
            self._problem = error.message
            if name not in self._known_images:
                raise
            return self._known_images[name]
        return image

    async def _check_walls(self) -> None:
        """For what cannot look at its walls itself: what the engine built for our runner says what it builds here.

        Where our runner's image is not there nobody can look, and the engine is taken at its word.
        """
        with contextlib.suppress(ImageUnavailable):
            await self._look_at_walls()
        if missing := self._capabilities and self._capabilities.missing:
            raise IsolationRefused(
                f"The Docker engine does not build every wall: {'; '.join(missing)}. It is looked at when the server "
                "starts.",
                details={"missing": list(missing)},
            )

    async def _start_http(self, spec: SandboxSpec, image: ImageFacts) -> HttpSandbox:
        """Containers that speak HTTP."""
        check_reach(spec, self._engine.url)
        await self._check_walls()
        name = self._launcher.new_name()
        config = await self._launcher.walled(name, spec, image)
        sandbox = HttpSandbox(
            sandbox_id=name,
            spec=spec,
            engine=self._engine,
            config=config,
            port=image.http_port,
            clock=self._clock,
            remove=self._orphans.remove,
            on_end=self._forget,
        )
        self._sandboxes[name] = sandbox
        return sandbox

    def _known(self) -> set[str]:
        """Sandboxes that are ours and meant to live, by the label of their containers."""
        return {*self._sandboxes, *self._spares.names(), *self._launcher.names, *self._commands.names}

    def _kinds(self) -> set[str]:
        """Of the sandboxes in use, and the one that a pool has whose definition says nothing: it is asked for first."""
        return {each.kind for each in self._sandboxes.values() if isinstance(each, DockerSandbox)} | {self._probed_kind}

    def _ended(self, sandbox: DockerSandbox) -> None:
        """Its zygote has gone, and so has what ran in its container."""
        self._spares.forget(sandbox)
        self._sandboxes.pop(sandbox.sandbox_id, None)
        self._tasks.spawn(self._orphans.remove(sandbox.sandbox_id))

    def _forget(self, sandbox: HttpSandbox) -> None:
        """It was stopped: a container that is left of it is nobody's."""
        self._sandboxes.pop(sandbox.sandbox_id, None)

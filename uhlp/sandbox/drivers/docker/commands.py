"""Starts commands as containers, each with every wall of a sandbox; what has started is known until it is removed."""

import asyncio
import math
from typing import Any

from uhlp.errors import CommandRefused, EngineRefused, ShuttingDown
from uhlp.models.definition import PoolDefinition, ResourceLimits
from uhlp.sandbox.command import CommandSpec
from uhlp.sandbox.driver import SandboxSpec
from uhlp.sandbox.drivers.command_view import check_program_path
from uhlp.sandbox.drivers.docker.attached import ATTACHED
from uhlp.sandbox.drivers.docker.command import DockerCommand
from uhlp.sandbox.drivers.docker.container import TMP
from uhlp.sandbox.drivers.docker.engine import Engine
from uhlp.sandbox.drivers.docker.image_facts import ImageFacts
from uhlp.sandbox.drivers.docker.launcher import Launcher
from uhlp.sandbox.drivers.docker.orphans import Orphans

_MIB = 1024 * 1024
_NOT_STARTED = (400, 404)  # the engine's word for a program that is not there or cannot be executed
_ENVIRONMENT = {"HOME": TMP, "TMPDIR": TMP, "LANG": "C.UTF-8"}


class DockerCommands:
    """`names` are the containers that are ours and meant to live."""

    def __init__(self, *, engine: Engine, launcher: Launcher, orphans: Orphans) -> None:
        self._engine = engine
        self._launcher = launcher
        self._orphans = orphans
        self._commands: dict[str, DockerCommand | None] = {}
        self._is_closed = False

    @property
    def names(self) -> set[str]:
        return set(self._commands)

    async def open(self, spec: CommandSpec, image: ImageFacts) -> DockerCommand:
        """A command that runs. Raises CommandRefused, IsolationRefused, EngineUnavailable, EngineRefused."""
        check_program_path(spec.argv[0])
        name = self._launcher.new_name()
        self._commands[name] = None  # the sweep leaves it alone
        try:
            return await self._start(name, spec, image)
        except BaseException:
            await asyncio.shield(self._clear_away(name))
            raise

    async def close(self) -> None:
        """End every command, those that are being started too."""
        self._is_closed = True
        await asyncio.gather(*(self._clear_away(name) for name in list(self._commands)))

    async def _start(self, name: str, spec: CommandSpec, image: ImageFacts) -> DockerCommand:
        config = await self._configuration(name, spec, image)
        if self._is_closed:
            raise ShuttingDown()
        await self._launcher.create(name, config)
        async with self._engine.asking(f"to attach to {name}") as docker:
            stream = docker.containers.container(name).attach(stdin=True, stdout=True, stderr=True)
            await stream.__aenter__()
        command = DockerCommand(command_id=name, engine=self._engine, stream=stream, remove=self._remove)
        self._commands[name] = command
        try:
            await self._engine.start(name)
        except EngineRefused as refusal:
            if refusal.engine_status in _NOT_STARTED:
                raise CommandRefused(f"The image {spec.image} cannot start {spec.argv[0]}: is it there?") from refusal
            raise
        command.started()
        return command

    async def _clear_away(self, name: str) -> None:
        await self._launcher.settled(name)
        command = self._commands.get(name)
        await (self._remove(name) if command is None else command.kill())

    async def _remove(self, name: str) -> None:
        await self._orphans.remove(name)
        self._commands.pop(name, None)

    async def _configuration(self, name: str, spec: CommandSpec, image: ImageFacts) -> dict[str, Any]:
        limits = spec.limits
        pool = PoolDefinition(
            pool_name="commands",
            resource_limits=ResourceLimits(memory_limit=f"{limits.memory_bytes // _MIB}M"),
            network="bridge" if spec.has_network else "none",
        )
        config = await self._launcher.walled(name, SandboxSpec(spec.owner, pool, "serving"), image, spec.folders)
        host = config["HostConfig"]
        bounds = {"nofile": limits.open_files, "fsize": limits.file_bytes, "core": 0, "msgqueue": 0}
        if limits.cpu_s is not None:
            bounds["cpu"] = math.ceil(limits.cpu_s)
        ulimits = [{"Name": key, "Soft": number, "Hard": number} for key, number in bounds.items()]
        return {
            **config,
            **ATTACHED,
            "Entrypoint": [spec.argv[0]],
            "Cmd": list(spec.argv[1:]),
            "Env": [f"{key}={value}" for key, value in {**_ENVIRONMENT, **spec.environment}.items()],
            "WorkingDir": TMP,
            "HostConfig": {**host, "PidsLimit": limits.processes, "Ulimits": ulimits},
        }

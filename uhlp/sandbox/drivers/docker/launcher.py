"""Launcher: makes a container of our runner's image, and a sandbox of it when its zygote has answered.

The zygote answers over a unix socket that it dials, where engine and server share a machine, else over the container's
attached standard input and output. Which of them works is found out once.
"""

import asyncio
import contextlib
import functools
import itertools
import secrets
import socket
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import structlog

from uhlp.clock import Clock
from uhlp.errors import EngineUnavailable, IsolationRefused, SandboxDied, UhlpError
from uhlp.sandbox.config import DockerSettings
from uhlp.sandbox.driver import SandboxSpec, Transport
from uhlp.sandbox.drivers.command_view import open_folders
from uhlp.sandbox.drivers.docker import container
from uhlp.sandbox.drivers.docker.attached import ATTACHED, AttachedPipe
from uhlp.sandbox.drivers.docker.bridge_network import BridgeNetwork
from uhlp.sandbox.drivers.docker.dial import DialHome
from uhlp.sandbox.drivers.docker.engine import Engine
from uhlp.sandbox.drivers.docker.image_facts import ImageFacts
from uhlp.sandbox.drivers.docker.last_words import LastWords, first_of
from uhlp.sandbox.drivers.docker.sandbox import LIFETIME_S, DockerSandbox
from uhlp.sandbox.drivers.relay_link import RelayLink
from uhlp.sandbox.drivers.volumes import SharedSources, open_volumes
from uhlp.sandbox.drivers.zygote_link import Connect, ZygoteLink

_log = structlog.get_logger(__name__)
_TRANSPORTS: dict[str, tuple[Transport, ...]] = {
    "auto": ("unix socket", "attached stdio"),
    "unix": ("unix socket",),
    "stdio": ("attached stdio",),
}
_LAST_WORDS_S = 1.0


class Launcher:
    """`names` are the containers that are being started now. `remove` ends one by its name; `spawn` runs what nobody
    waits for."""

    def __init__(
        self,
        *,
        engine: Engine,
        settings: DockerSettings,
        instance: str,
        data_dir: Path,
        volume_allow: tuple[str, ...],
        start_limit_s: float,
        clock: Clock,
        remove: Callable[[str], Awaitable[None]],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        on_end: Callable[[DockerSandbox], None],
    ) -> None:
        self.names: set[str] = set()
        self.bridge = BridgeNetwork(engine=engine, instance=instance)
        self._engine = engine
        self._settings = settings
        self._instance = instance
        self._data_dir = data_dir
        self._volume_allow = volume_allow
        self._start_limit_s = start_limit_s
        self._clock = clock
        self._remove = remove
        self._spawn = spawn
        self._on_end = on_end
        self._transports = _TRANSPORTS[settings.transport]
        self._numbers = itertools.count(1)
        self._shared = SharedSources()
        self._creating: dict[str, asyncio.Future[str]] = {}

    @property
    def transport(self) -> Transport | None:
        """The one that works; None before that is known."""
        return self._transports[0] if len(self._transports) == 1 else None

    def new_name(self) -> str:
        """A container's name: ours, known before the engine is asked, never used twice."""
        return f"uhlp-{self._instance}-{next(self._numbers)}-{secrets.token_hex(3)}"

    async def walled(
        self, name: str, spec: SandboxSpec, image: ImageFacts, folders: Sequence[Path] = ()
    ) -> dict[str, Any]:
        """A create configuration with every wall and label, for any image. Raises IsolationRefused for its volumes.

        `folders` are the operator's own: seen read-only at their own paths, whatever the allow list says.
        """
        socket_of_engine = Path(self._engine.url.removeprefix("unix://"))
        hidden = [self._data_dir, *([socket_of_engine] if self._engine.url.startswith("unix://") else [])]
        with (
            open_volumes(spec.pool.volume_mounts, self._volume_allow, hidden=hidden) as volumes,
            open_folders(folders, hidden=hidden) as shown,
        ):
            volumes = [*volumes, *shown]
            self._shared.check(volumes)  # the engine opens them by name
        network = await self.bridge.ensure() if spec.pool.network == "bridge" else "none"
        labels = {
            container.INSTANCE_LABEL: self._instance,
            container.POOL_LABEL: container.kind(spec.pool, image.image_id),
            container.SANDBOX_LABEL: name,
            container.EXPIRES_LABEL: str(int(self._clock.now() + LIFETIME_S)),
        }
        return container.walled(
            image_id=image.image_id,
            scratch=image.volumes,
            pool=spec.pool,
            settings=self._settings,
            network=network,
            volumes=volumes,
            labels=labels,
        )

    async def launch(self, spec: SandboxSpec, image: ImageFacts) -> DockerSandbox:
        """A sandbox that is ready for its first worker, with every wall seen from inside.

        Raises IsolationRefused (a wall is missing, a volume is not allowed), SandboxDied (it never answered),
        EngineUnavailable, EngineRefused.
        """
        problem: UhlpError | None = None
        for transport in self._transports:
            try:
                sandbox = await self._launch(spec, image, transport)
            except (IsolationRefused, EngineUnavailable):
                raise
            except UhlpError as error:
                _log.warning("container_did_not_answer", transport=transport, reason=error.message)
                problem = problem or error
            else:
                self._transports = (transport,)
                return sandbox
        assert problem is not None  # noqa: S101 - there is at least one transport
        raise problem

    async def _launch(self, spec: SandboxSpec, image: ImageFacts, transport: Transport) -> DockerSandbox:
        name = self.new_name()
        self.names.add(name)
        try:
            async with contextlib.AsyncExitStack() as stack:
                over = self._over_unix_socket if transport == "unix socket" else self._over_standard_streams
                sandbox = await over(name, spec, image, stack)
            if sandbox.walls["missing"]:
                raise IsolationRefused(
                    f"The Docker engine did not build every wall: {'; '.join(sandbox.walls['missing'])}.",
                    details={"missing": sandbox.walls["missing"]},
                )
        except BaseException:
            self._spawn(self._clear_away(name))
            raise
        finally:
            self.names.discard(name)
        return sandbox

    async def create(self, name: str, config: dict[str, Any]) -> None:
        """A request that is given up half-way may still make a container: it is let run to its end. When this raises,
        `settled` is waited for before the container is removed."""
        self._creating[name] = asyncio.ensure_future(self._engine.create(name, config))
        await asyncio.shield(self._creating[name])
        del self._creating[name]

    async def settled(self, name: str) -> None:
        """Returns when no request to make this container is under way."""
        creating = self._creating.pop(name, None)
        if creating is not None:
            await asyncio.wait((creating,))
            creating.exception()  # it has been raised where it was waited for, if anywhere

    async def _clear_away(self, name: str) -> None:
        await self.settled(name)
        await self._remove(name)

    async def _over_unix_socket(
        self, name: str, spec: SandboxSpec, image: ImageFacts, stack: contextlib.AsyncExitStack
    ) -> DockerSandbox:
        try:
            dial = DialHome(self._data_dir / "dial", name)
        except OSError as error:
            raise SandboxDied(f"No unix socket can be made below {self._data_dir}: {error}") from error
        stack.callback(dial.close)
        config = await self.walled(name, spec, image)
        await self.create(name, container.running_our_runner(config, pool=spec.pool, dial=dial.folder))
        words = LastWords(self._engine, name)
        stack.push_async_callback(words.close)
        await words.open()
        await self._engine.start(name)
        control = await self._accept(name, dial, words)
        sandbox = self._sandbox(name, spec, image, "unix socket", functools.partial(ZygoteLink, control))
        try:
            await sandbox.until_ready(self._start_limit_s)
        except (SandboxDied, TimeoutError) as error:
            raise SandboxDied(f"The sandbox did not start: {await _end_of(words) or error}") from error
        return sandbox

    async def _accept(self, name: str, dial: DialHome, words: LastWords) -> socket.socket:
        """The control socket of this container and of no other process."""
        accepting = asyncio.ensure_future(dial.accept())
        try:
            if not await first_of(words, accepting, self._start_limit_s):
                raise SandboxDied(f"The sandbox did not start: {words.text.strip() or 'its container ended at once'}")
        except TimeoutError as error:
            raise SandboxDied(
                f"The sandbox did not start: its container runs, and dialed nobody within {self._start_limit_s:g} s"
            ) from error
        finally:
            accepting.cancel()
        control, pid = accepting.result()
        state = (await self._engine.inspect(name) or {}).get("State", {})
        if state.get("Pid") != pid:
            control.close()
            raise SandboxDied(f"Process {pid} dialed in place of the container's ({state.get('Pid')}).")
        return control

    async def _over_standard_streams(
        self, name: str, spec: SandboxSpec, image: ImageFacts, stack: contextlib.AsyncExitStack
    ) -> DockerSandbox:
        config = await self.walled(name, spec, image)
        await self.create(name, {**container.running_our_runner(config, pool=spec.pool, dial=None), **ATTACHED})
        pipe = await AttachedPipe.open(self._engine, name)
        try:
            await self._engine.start(name)
        except BaseException:
            await pipe.close()
            raise
        sandbox = self._sandbox(name, spec, image, "attached stdio", functools.partial(RelayLink, pipe))
        try:
            await sandbox.until_ready(self._start_limit_s)
        except (SandboxDied, TimeoutError) as error:
            sandbox.link.close()
            raise SandboxDied(f"The sandbox did not start: {pipe.last_words.strip() or error}") from error
        return sandbox

    def _sandbox(
        self, name: str, spec: SandboxSpec, image: ImageFacts, transport: Transport, connect: Connect
    ) -> DockerSandbox:
        return DockerSandbox(
            sandbox_id=name,
            spec=spec,
            kind=container.kind(spec.pool, image.image_id),
            transport=transport,
            connect=connect,
            clock=self._clock,
            remove=self._remove,
            on_end=self._on_end,
        )


async def _end_of(words: LastWords) -> str:
    try:
        async with asyncio.timeout(_LAST_WORDS_S):
            return await words.until_end()
    except TimeoutError:
        return words.text.strip()

"""HttpSandbox: an image that users made, which answers `POST /execute` (contracts §6); every worker is a container.

How a worker is reached, and what its code reaches:

* `network: none`, the default: the container has a loopback interface and nothing else. Calls go to its 127.0.0.1, over
  sockets made inside its network namespace; the bearer token is a second lock. This needs an engine on this machine and
  the right to enter namespaces (root or CAP_SYS_ADMIN); otherwise such a pool is refused.
* `network: bridge`: the container is on a bridge, and its port is published on 127.0.0.1 of this machine, where the
  token is what keeps strangers out. Its code reaches the network, and whatever listens on an address of this machine
  for all comers: that is what the pool has asked for.

An internal Docker network (`--internal`) would need no rights, and is no wall: measured on Docker 20.10, a container on
one has a default route to the bridge and reaches whatever listens on any address of the host, whether containers may
talk to each other or not; where the bridge has no address (`inhibit_ipv4`), the host does not reach the container.

Containers are named `<sandbox id>-<number>`, so that one whose creation got no answer can be removed all the same.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from itertools import count
from typing import Any

import structlog

from uhlp.clock import Clock
from uhlp.errors import IsolationRefused, SandboxDied, UhlpError
from uhlp.sandbox.driver import ExitReason, HttpAddress, SandboxSpec, Transport, Usage, Worker
from uhlp.sandbox.drivers.docker.engine import Engine
from uhlp.sandbox.drivers.docker.network_namespace import NetworkNamespace
from uhlp.sandbox.drivers.docker.sandbox import WORKING_LIFE_S
from uhlp.sandbox.http_session import is_healthy, new_session

log = structlog.get_logger(__name__)

_FIRST_LOOK_S, _LONGEST_LOOK_S = 0.01, 0.2
_ANSWER_S = 2.0
_LOOKS_PER_INSPECTION = 4
_KILL_S = 5.0


def check_reach(spec: SandboxSpec, engine_url: str) -> None:
    """Raises IsolationRefused when workers of this pool could not be reached, or only through a hole in their walls."""
    pool = f"Pool {spec.pool.pool_name}: {spec.pool.docker_image} speaks HTTP"
    if not engine_url.startswith("unix://"):
        raise IsolationRefused(
            f"{pool}, and containers of the engine at {engine_url} cannot be reached from here. Use the Docker engine "
            "of this machine, or an image made with `uhlp sandbox build-image`."
        )
    if spec.pool.network == "none" and not NetworkNamespace.may_enter():
        raise IsolationRefused(
            f"{pool}, and this server may not enter the network of a container that has none (it is not root and lacks "
            "CAP_SYS_ADMIN). Give it that right, or the pool `network: bridge`, which opens the network to its code."
        )


class HttpSandbox:
    """The containers of one pool. `config` is a create configuration with every wall and label in it; `remove` ends a
    container by its name, now or when the engine answers again."""

    transport: Transport = "http"

    def __init__(
        self,
        *,
        sandbox_id: str,
        spec: SandboxSpec,
        engine: Engine,
        config: Mapping[str, Any],
        port: int,
        clock: Clock,
        remove: Callable[[str], Awaitable[None]],
        on_end: Callable[["HttpSandbox"], None],
    ) -> None:
        self.sandbox_id = sandbox_id
        self.spec = spec
        self._engine = engine
        self._config = config
        self._port = port
        self._clock = clock
        self._retires_at_s = clock.monotonic() + WORKING_LIFE_S
        self._remove_container = remove
        self._on_end = on_end
        self._numbers = count(1)
        self._workers: dict[str, HttpWorker] = {}
        self._ended = False

    async def start_worker(self) -> Worker:
        """A new container, unless the sandbox has grown old: what its containers are made of says when they expire."""
        if self._ended or self._clock.monotonic() >= self._retires_at_s:
            raise SandboxDied(f"The sandbox {'has ended' if self._ended else 'is too old'}.")
        worker_id = str(next(self._numbers))
        name = f"{self.sandbox_id}-{worker_id}"
        worker = HttpWorker(worker_id=worker_id, name=name, engine=self._engine, remove=self._remove_container)
        self._workers[worker_id] = worker
        try:
            await worker.start(self._config, self._port)
        except BaseException:
            await asyncio.shield(self._remove(worker))
            raise
        if self._ended:
            await self._remove(worker)
            raise SandboxDied("The sandbox has ended.")
        return worker

    async def usage(self) -> Usage:
        taken = await asyncio.gather(*(worker.usage() for worker in self._workers.values()))
        return Usage(sum(each.memory_bytes for each in taken), sum(each.cpu_s for each in taken))

    async def stop(self, reason: str) -> None:
        self._ended = True
        await asyncio.gather(*(self._remove(worker) for worker in list(self._workers.values())))
        self._on_end(self)

    async def _remove(self, worker: "HttpWorker") -> None:
        await worker.kill()
        self._workers.pop(worker.worker_id, None)


class HttpWorker:
    """One container."""

    def __init__(self, *, worker_id: str, name: str, engine: Engine, remove: Callable[[str], Awaitable[None]]) -> None:
        self.worker_id = worker_id
        self.name = name
        self._engine = engine
        self._remove = remove
        self._token = secrets.token_urlsafe(32)
        self._address: HttpAddress | None = None
        self._namespace: NetworkNamespace | None = None
        self._exit: ExitReason | None = None

    @property
    def endpoint(self) -> HttpAddress:
        if self._address is None:
            raise SandboxDied("The container is not started.")
        return self._address

    async def start(self, config: Mapping[str, Any], port: int) -> None:
        """Create, start, and wait until `GET /healthz` answers 200. The caller sets the limit of time.

        Raises SandboxDied when the container ends before that, EngineUnavailable, EngineRefused.
        """
        has_network = config["HostConfig"]["NetworkMode"] != "none"
        host = {
            **config["HostConfig"],
            "Init": True,  # a server that is process 1 gets no signal it does not ask for, and reaps nothing
            "AutoRemove": False,  # how it ended is asked for first
            "PortBindings": {f"{port}/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]} if has_network else {},
        }
        given = [*(config.get("Env") or ()), f"PORT={port}", f"UHLP_TOKEN={self._token}"]
        exposed: dict[str, Any] = {f"{port}/tcp": {}}
        await self._engine.create(self.name, {**config, "Env": given, "ExposedPorts": exposed, "HostConfig": host})
        await self._engine.start(self.name)
        facts = await self._running()
        if has_network:
            port = int(facts["NetworkSettings"]["Ports"][f"{port}/tcp"][0]["HostPort"])
        else:
            self._namespace = self._enter(facts["NetworkSettings"]["SandboxKey"])
        new_socket = None if self._namespace is None else self._namespace.new_socket
        self._address = HttpAddress(f"http://127.0.0.1:{port}", self._token, new_socket)
        await self._wait_until_healthy(self._address)

    async def kill(self) -> ExitReason:
        """Kill and remove the container; while the engine does not answer it lives on, and nothing calls it."""
        if self._exit is None:
            try:
                reason = await self._end()
            except UhlpError:
                reason = "killed"
            await self._remove(self.name)
            self._exit = reason
            if self._namespace is not None:
                self._namespace.close()
        return self._exit

    async def _end(self) -> ExitReason:
        facts = await self._engine.inspect(self.name)
        if facts is None:
            return "exited"
        if was_running := facts["State"]["Running"]:  # as far as the engine knew: the kernel may have been first
            await self._engine.kill(self.name)
            with suppress(TimeoutError):
                async with asyncio.timeout(_KILL_S):
                    await self._engine.wait(self.name)
            facts = await self._engine.inspect(self.name) or facts
        if facts["State"]["OOMKilled"]:
            return "oom"
        return "killed" if was_running else "exited"

    async def memory_bytes(self) -> int:
        return (await self.usage()).memory_bytes

    async def usage(self) -> Usage:
        """What the container takes; zero when it has ended or the engine cannot be asked."""
        if self._exit is not None:
            return Usage(0, 0.0)
        try:
            return await _usage(self._engine, self.name)
        except UhlpError:
            return Usage(0, 0.0)

    def _enter(self, path: str) -> NetworkNamespace:
        try:
            return NetworkNamespace.open(path)
        except OSError as error:
            raise SandboxDied(f"The network namespace of container {self.name} cannot be entered: {error}.") from error

    async def _running(self) -> dict[str, Any]:
        facts = await self._engine.inspect(self.name)
        if facts is None or not facts["State"]["Running"]:
            status = "removed" if facts is None else f"exit status {facts['State']['ExitCode']}"
            raise SandboxDied(f"The container ended before it answered GET /healthz ({status}).")
        return facts

    async def _wait_until_healthy(self, address: HttpAddress) -> None:
        wait_s = _FIRST_LOOK_S
        async with new_session(address) as session:
            for look in count(1):
                if await is_healthy(session, address.url, _ANSWER_S):
                    return
                if look % _LOOKS_PER_INSPECTION == 0:
                    await self._running()
                await asyncio.sleep(wait_s)  # an image says nothing of its own accord: it can only be asked
                wait_s = min(wait_s * 1.5, _LONGEST_LOOK_S)


async def _usage(engine: Engine, name: str) -> Usage:
    async with engine.asking(f"what {name} takes") as docker:
        query = {"stream": "false", "one-shot": "true"}
        stats = await docker._query_json(f"containers/{name}/stats", params=query)
        memory = stats["memory_stats"]
        files = memory.get("stats", {})
        cached = files.get("total_inactive_file", files.get("inactive_file", 0))  # cgroup v1, v2
        cpu_s = stats["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9
    return Usage(max(0, memory.get("usage", 0) - cached), cpu_s)

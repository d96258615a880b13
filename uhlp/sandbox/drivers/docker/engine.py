"""Engine: one Docker engine over its HTTP API; the home of aiodocker and of its errors.

aiodocker takes most of a second to import, so that happens in a thread, when an engine is connected.
"""

import asyncio
import contextlib
import importlib
import json
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from uhlp.errors import EngineRefused, EngineUnavailable

if TYPE_CHECKING:
    import aiodocker

DEFAULT_URL = "unix:///var/run/docker.sock"
REQUEST_LIMIT_S = 20.0
_OLDEST_API, _NEWEST_API = (1, 40), (1, 51)
_NO_CONNECTION = 900  # aiodocker's own number
_GONE, _CONFLICT = 404, 409


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What an engine says of itself."""

    version: str
    api_version: str
    cgroup_version: str
    runtimes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ContainerFacts:
    """A container as the engine lists it; `created_s` is the engine's clock, seconds since the epoch."""

    container_id: str
    name: str
    labels: Mapping[str, str]
    created_s: float
    is_running: bool


def engine_url(url: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """The engine that is meant when the settings name `url`."""
    return url or environment.get("DOCKER_HOST") or DEFAULT_URL


class Engine:
    """Connect once, close once. Every method raises EngineUnavailable (nobody answers at `url`) or EngineRefused.

    Connections are made as needed: an engine that was restarted is simply spoken to again.
    """

    def __init__(self, *, url: str | None = None) -> None:
        self.url = engine_url(url)
        self.facts: EngineFacts | None = None
        self._docker: aiodocker.Docker | None = None

    @property
    def docker(self) -> "aiodocker.Docker":
        """The client itself, for what this class does not offer; its errors are the caller's (see `asking`)."""
        if self._docker is None:
            raise EngineUnavailable(f"The Docker engine at {self.url} has not been connected.")
        return self._docker

    @property
    def is_connected(self) -> bool:
        """Whether `connect` has been called and `close` has not; an engine that is down keeps nobody from it."""
        return self._docker is not None

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def connect(self) -> EngineFacts:
        """Ask who is there and agree on a version of the API. May be repeated until it succeeds."""
        if self._docker is None:
            library = await asyncio.to_thread(importlib.import_module, "aiodocker")
            try:
                self._docker = library.Docker(url=self.url)
            except (ValueError, OSError) as error:
                raise EngineUnavailable(f"{self.url} is no address of a Docker engine: {error}") from error
            # attachments hold their connections: the library's limit of 100 would leave none for requests
            self._docker.connector._limit = 0
        async with self.asking("its version") as docker:
            version = await docker._query_json("version", versioned_api=False)
            docker.api_version = "v" + _agreed(version, self.url)
            info = await docker.system.info()
            self.facts = EngineFacts(
                version=version["Version"],
                api_version=docker.api_version,
                cgroup_version=info.get("CgroupVersion", "1"),
                runtimes=tuple(sorted(info.get("Runtimes") or ())),
            )
        return self.facts

    async def ping(self, limit_s: float = 2.0) -> None:
        """Returns when the engine answers."""
        async with self.asking("whether it is there", limit_s) as docker, docker._query("_ping", versioned_api=False):
            pass

    async def create(self, name: str, config: Mapping[str, Any]) -> str:
        """Make a container of that name; its id. After EngineUnavailable it may exist or come to exist."""
        async with self.asking(f"to create {name}") as docker:
            return (await docker.containers.create(dict(config), name=name)).id

    async def start(self, container: str) -> None:
        """Run a created container."""
        async with self.asking(f"to start {container}") as docker:
            await docker.containers.container(container).start()

    async def inspect(self, container: str) -> dict[str, Any] | None:
        """What the engine knows of a container, by id or name; None when there is none."""
        try:
            async with self.asking(f"to inspect {container}") as docker:
                return await docker.containers.container(container).show()
        except EngineRefused as refusal:
            if refusal.engine_status == _GONE:
                return None
            raise

    async def kill(self, container: str) -> None:
        """End a container's processes at once; one that does not run is left as it is."""
        try:
            async with self.asking(f"to kill {container}") as docker:
                await docker.containers.container(container).kill()
        except EngineRefused as refusal:
            if refusal.engine_status not in (_GONE, _CONFLICT):
                raise

    async def remove(self, container: str) -> None:
        """Kill and remove a container, by id or name; returns when it is gone. Safe to repeat."""
        try:
            async with self.asking(f"to remove {container}") as docker:
                await docker.containers.container(container).delete(force=True, v=True)
        except EngineRefused as refusal:
            if refusal.engine_status == _CONFLICT:  # it is being removed, by itself or by another request
                await self._wait_until_removed(container)
            elif refusal.engine_status != _GONE:
                raise

    async def wait(self, container: str) -> int:
        """The exit status of a container, when it has ended. Waits as long as that takes."""
        async with self.asking(f"to wait for {container}", None) as docker:
            status: int = (await docker.containers.container(container).wait())["StatusCode"]
            return status

    async def list_labelled(self, *labels: str) -> list[ContainerFacts]:
        """Containers with all these labels (`name` or `name=value`), whatever their state."""
        async with self.asking("for its containers") as docker:
            # the library's own method asks for no more, but drops the labels' type
            filters = json.dumps({"label": list(labels)})
            found = await docker._query_json("containers/json", params={"all": "true", "filters": filters})
        return [
            ContainerFacts(
                container_id=each["Id"],
                name=each["Names"][0].lstrip("/") if each["Names"] else each["Id"],
                labels=each["Labels"] or {},
                created_s=float(each["Created"]),
                is_running=each["State"] == "running",
            )
            for each in found
        ]

    async def close(self) -> None:
        """Let go of all connections."""
        if self._docker is not None:
            await self._docker.close()
            self._docker = None

    @contextlib.asynccontextmanager
    async def asking(self, what: str, limit_s: float | None = REQUEST_LIMIT_S) -> AsyncIterator["aiodocker.Docker"]:
        """The client, with its errors translated and a limit of time; `what` was asked, for the message."""
        docker = self.docker
        import aiodocker
        import aiohttp

        try:
            async with asyncio.timeout(limit_s):
                yield docker
        except aiodocker.DockerError as error:
            if error.status == _NO_CONNECTION:
                raise EngineUnavailable(self._unreachable(str(error.__context__ or error.message))) from error
            raise EngineRefused(
                f"The Docker engine was asked {what} and refused: {error.message}",
                details={"engineStatus": error.status},
            ) from error
        except TimeoutError as error:
            raise EngineUnavailable(self._unreachable(f"asked {what}, no answer in time")) from error
        except (aiohttp.ClientError, OSError) as error:
            raise EngineUnavailable(self._unreachable(str(error) or type(error).__name__)) from error
        except (ValueError, TypeError, KeyError) as error:
            raise EngineRefused(f"The Docker engine at {self.url} was asked {what}; its answer is none.") from error

    async def _wait_until_removed(self, container: str) -> None:
        with contextlib.suppress(EngineRefused):  # gone already
            async with self.asking(f"to remove {container}") as docker:
                await docker.containers.container(container).wait(condition="removed")

    def _unreachable(self, why: str) -> str:
        return (
            f"The Docker engine at {self.url} does not answer ({why}). Start it, or name another one with "
            "sandbox.docker.url or DOCKER_HOST."
        )


def _agreed(version: Mapping[str, Any], url: str) -> str:
    """The newest version of the API that both sides speak."""
    theirs, their_oldest = _numbers(version["ApiVersion"]), _numbers(version.get("MinAPIVersion") or "1.12")
    if theirs < _OLDEST_API or their_oldest > _NEWEST_API:
        raise EngineUnavailable(
            f"The Docker engine at {url} speaks API {version.get('MinAPIVersion')} to {version['ApiVersion']}; "
            f"UHLP speaks {'.'.join(map(str, _OLDEST_API))} to {'.'.join(map(str, _NEWEST_API))}."
        )
    return ".".join(map(str, min(theirs, _NEWEST_API)))


def _numbers(version: str) -> tuple[int, int]:
    major, minor = version.split(".")[:2]
    return int(major), int(minor)

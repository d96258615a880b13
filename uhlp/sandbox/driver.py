"""The driver port: what creates sandboxes. One contract suite holds for every implementation.

A sandbox belongs to one application, one pool and one group, and holds workers. A worker of our own runner is a process
with a stream of its own that carries JSON-RPC frames (4-byte big-endian length, UTF-8 JSON); one of an image that users
made is a container that answers `POST /execute`.
"""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from uhlp.models.definition import PoolDefinition
from uhlp.sandbox.command import CommandProcess, CommandSpec

Group = Literal["serving", "trial"]
"""Code in service never shares a sandbox with generated tests or code that has not been promoted."""

ExitReason = Literal["exited", "killed", "oom", "limit"]


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """Everything about a sandbox that cannot change after its start."""

    app_id: str
    pool: PoolDefinition
    group: Group


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the driver can promise on this machine, as probed once at `open`.

    `isolation` is "none" when generated code would run without walls; `missing` then says what was refused. With walls
    it says what cannot be had behind them.
    """

    driver: str
    isolation: Literal["none", "namespaces", "container"]
    missing: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()


Transport = Literal["socketpair", "unix socket", "attached stdio", "http", "none"]
"""How calls reach a sandbox's workers, for people: found out once, shown in /readyz and /admin/v1/sandboxes."""


@dataclass(frozen=True, slots=True)
class HttpAddress:
    """Where a worker answers `POST /execute`; `token` goes along as `Authorization: Bearer`.

    `new_socket` makes the TCP sockets that connect to it, where it lies in a network namespace of its own.
    """

    url: str
    token: str
    new_socket: Callable[[], socket.socket] | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What a sandbox takes: resident memory now, processor time since its start."""

    memory_bytes: int
    cpu_s: float


class Worker(Protocol):
    """One runner process, or one container that speaks HTTP.

    `endpoint` is ready for calls: a stream whose `hello` has been read, or an address that answered `GET /healthz`.
    """

    worker_id: str

    @property
    def endpoint(self) -> socket.socket | HttpAddress:
        """What carries its calls."""
        ...

    async def kill(self) -> ExitReason:
        """End the worker and everything it started; returns when nothing is left. Safe to repeat."""
        ...

    async def memory_bytes(self) -> int:
        """Resident memory of the worker now; 0 when it has ended."""
        ...


class Sandbox(Protocol):
    """A running sandbox, able to fork workers."""

    sandbox_id: str
    spec: SandboxSpec

    @property
    def transport(self) -> Transport:
        """How calls reach its workers."""
        ...

    async def start_worker(self) -> Worker:
        """A new worker, ready for its first call. Raises SandboxDied when the sandbox has ended or cannot start one;
        workers that it has already are not harmed by that."""
        ...

    async def usage(self) -> Usage:
        """What the whole sandbox takes now; zero when it has ended or cannot be asked."""
        ...

    async def stop(self, reason: str) -> None:
        """End the sandbox and all its workers. Safe to repeat."""
        ...


class Driver(Protocol):
    """Creates sandboxes; open once, close once."""

    async def open(self) -> Capabilities:
        """Probe the machine, remove what a dead server left behind, prepare the runner."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What holds now: a driver that found its engine late promises more than at `open`."""
        ...

    async def start(self, spec: SandboxSpec) -> Sandbox:
        """Start one sandbox; raises IsolationRefused, SandboxDied (it never said hello) with the reason."""
        ...

    async def open_command(self, spec: CommandSpec) -> CommandProcess:
        """Start a command in a throw-away sandbox. Raises CommandRefused (it cannot be run, with the reason),
        IsolationRefused (a wall is missing, whatever the settings allow to handlers), what `start` raises."""
        ...

    async def has_runner(self, image: str) -> bool:
        """Whether sandboxes of pools with this image run our runner, and so Python handlers and their tests.

        An image that is not here is got first. Raises what `start` raises where that cannot be.
        """
        ...

    async def list_owned(self) -> list[str]:
        """Ids of the sandboxes that live now, as the machine knows them, not as remembered."""
        ...

    async def run_cycle(self) -> None:
        """Upkeep, every `cycle_s`: remove what is ours by label and known to nobody, refill spares. Never raises."""
        ...

    def status(self) -> dict[str, Any]:
        """For people, beside the capabilities: images and their pulls, spares; empty when there is nothing to say."""
        ...

    async def close(self) -> None:
        """Stop every sandbox; nothing is left running."""
        ...

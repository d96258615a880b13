"""The driver port: what creates sandboxes. One contract suite holds for every implementation.

A sandbox belongs to one application, one pool and one group, and holds workers: separate processes,
each with a stream of its own that carries JSON-RPC frames (4-byte big-endian length, UTF-8 JSON).
"""

import socket
from dataclasses import dataclass
from typing import Literal, Protocol

from uhlp.models.definition import PoolDefinition

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

    `isolation` is "none" when generated code would run without walls; `missing` then says what was refused.
    """

    driver: str
    isolation: Literal["none", "namespaces", "container"]
    missing: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()


class Worker(Protocol):
    """One runner process; `stream` is ready for frames (its `hello` has been read)."""

    worker_id: str
    stream: socket.socket

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

    async def start_worker(self) -> Worker:
        """A new worker, ready for its first call. Raises SandboxDied when the sandbox has ended or cannot start one;
        workers that it has already are not harmed by that."""
        ...

    async def stop(self, reason: str) -> None:
        """End the sandbox and all its workers. Safe to repeat."""
        ...


class Driver(Protocol):
    """Creates sandboxes; open once, close once."""

    async def open(self) -> Capabilities:
        """Probe the machine, remove what a dead server left behind, prepare the runner."""
        ...

    async def start(self, spec: SandboxSpec) -> Sandbox:
        """Start one sandbox; raises IsolationRefused, SandboxDied (it never said hello) with the reason."""
        ...

    async def list_owned(self) -> list[str]:
        """Ids of the sandboxes that live now, as the machine knows them, not as remembered."""
        ...

    async def close(self) -> None:
        """Stop every sandbox; nothing is left running."""
        ...

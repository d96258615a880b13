"""FakeDriver: the driver port in this process, for tests. Its workers (`fake_worker`) speak real frames on socketpairs.

The drivers below misbehave in one way each, named after it.
"""

import asyncio
import socket
from itertools import count
from typing import Any

from uhlp.errors import SandboxDied
from uhlp.sandbox.command import CommandProcess, CommandSpec
from uhlp.sandbox.driver import Capabilities, HttpAddress, Sandbox, SandboxSpec, Transport, Usage, Worker
from uhlp.sandbox.drivers import fake_command
from uhlp.sandbox.drivers.fake_command import FakeCommand
from uhlp.sandbox.drivers.fake_worker import (
    Behaviour,
    FakeWorker,
    answer_another_request,
    die,
    echo,
    hang,
    run_out_of_memory,
    send_garbage,
)


class FakeSandbox:
    transport: Transport = "socketpair"

    def __init__(self, sandbox_id: str, spec: SandboxSpec, behaviour: Behaviour) -> None:
        self.sandbox_id = sandbox_id
        self.spec = spec
        self.workers: list[FakeWorker] = []
        self.ended = asyncio.Event()
        self._behaviour = behaviour
        self._numbers = count(1)

    async def start_worker(self) -> Worker:
        if self.ended.is_set():
            raise SandboxDied("The sandbox has ended.")
        worker = FakeWorker(f"w{next(self._numbers)}", self._behaviour)
        await worker.start()
        self.workers.append(worker)
        return worker

    async def usage(self) -> Usage:
        return Usage(sum([await worker.memory_bytes() for worker in self.workers]), 0.0)

    async def stop(self, reason: str) -> None:
        self.ended.set()
        for worker in self.workers:
            await worker.kill()


class FakeDriver:
    """Starts sandboxes that behave; keeps them all in `sandboxes` for a test to look at."""

    behaviour: Behaviour = staticmethod(echo)

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        self._behaviour = behaviour or type(self).behaviour
        self.sandboxes: list[FakeSandbox] = []
        self.commands: list[FakeCommand] = []
        self.foreign_images: set[str] = set()
        """Images without our runner."""

    async def open(self) -> Capabilities:
        return self.capabilities

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(driver="fake", isolation="none", missing=("everything: it runs in the server",))

    async def start(self, spec: SandboxSpec) -> Sandbox:
        sandbox = FakeSandbox(f"fake-{len(self.sandboxes) + 1}", spec, self._behaviour)
        self.sandboxes.append(sandbox)
        return sandbox

    async def open_command(self, spec: CommandSpec) -> CommandProcess:
        command = fake_command.start(spec, len(self.commands) + 1)
        self.commands.append(command)
        return command

    async def has_runner(self, image: str) -> bool:
        return image not in self.foreign_images

    async def list_owned(self) -> list[str]:
        commands = [command.command_id for command in self.commands if not command.has_ended]
        return [*(sandbox.sandbox_id for sandbox in self.sandboxes if not sandbox.ended.is_set()), *commands]

    async def run_cycle(self) -> None:
        """Nothing to do."""

    def status(self) -> dict[str, Any]:
        return {}

    async def close(self) -> None:
        for sandbox in self.sandboxes:
            await sandbox.stop("closed")
        for command in self.commands:
            await command.kill()

    @property
    def workers(self) -> list[FakeWorker]:
        """Every worker ever started, oldest first."""
        return [worker for sandbox in self.sandboxes for worker in sandbox.workers]


class HangingDriver(FakeDriver):
    behaviour = staticmethod(hang)


class DyingDriver(FakeDriver):
    behaviour = staticmethod(die)


class OutOfMemoryDriver(FakeDriver):
    behaviour = staticmethod(run_out_of_memory)


class GarbageDriver(FakeDriver):
    behaviour = staticmethod(send_garbage)


class WrongRequestDriver(FakeDriver):
    behaviour = staticmethod(answer_another_request)


class UnreachableDriver(FakeDriver):
    """Its first `number` workers speak HTTP, but take no connection."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    async def start(self, spec: SandboxSpec) -> Sandbox:
        sandbox = _UnreachableSandbox(f"fake-{len(self.sandboxes) + 1}", spec, self._behaviour)
        sandbox.number = self._number
        self.sandboxes.append(sandbox)
        return sandbox


class _UnreachableSandbox(FakeSandbox):
    number = 0

    async def start_worker(self) -> Worker:
        worker = await super().start_worker()
        if len(self.workers) <= self.number and isinstance(worker, FakeWorker):
            if isinstance(worker.endpoint, socket.socket):
                worker.endpoint.close()
            worker.endpoint = HttpAddress("http://127.0.0.1:1", "token")
        return worker


class SlowDriver(FakeDriver):
    """A sandbox starts when `may_start` is set."""

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        super().__init__(behaviour)
        self.may_start = asyncio.Event()
        self.attempts = 0

    async def start(self, spec: SandboxSpec) -> Sandbox:
        self.attempts += 1
        await self.may_start.wait()
        return await super().start(spec)


class NeverStartsDriver(FakeDriver):
    """No sandbox ever says hello."""

    def __init__(self) -> None:
        super().__init__()
        self.attempts = 0

    async def start(self, spec: SandboxSpec) -> Sandbox:
        self.attempts += 1
        raise SandboxDied("it never said hello.")

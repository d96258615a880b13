"""A sandbox whose supervisor is our zygote: its workers, its control link, what it says of itself.

How the zygote was started, and how it ends, is the driver's: a process of this machine or a container.
"""

import asyncio
import contextlib
import itertools
import socket
import struct
from typing import Any

from uhlp.errors import SandboxDied
from uhlp.sandbox.driver import ExitReason, SandboxSpec, Transport, Usage
from uhlp.sandbox.drivers.zygote_events import Event, read_hello
from uhlp.sandbox.drivers.zygote_link import Connect

READY_LIMIT_S = 10.0
KILL_LIMIT_S = 2.0
HELLO_LIMIT_BYTES = 64 * 1024
EVENTS_PER_COMMAND = 2
"""A fork is answered, and its worker ends; every other command has one answer at most."""


class ZygoteWorker:
    """A fork of the zygote. Whoever took `endpoint` closes it; `hello` is what the runner said of itself."""

    def __init__(self, sandbox: "ZygoteSandbox", worker_id: str, endpoint: socket.socket) -> None:
        self.worker_id = worker_id
        self.endpoint = endpoint
        self.hello: dict[str, Any] = {}
        self.ended: asyncio.Future[ExitReason] = asyncio.get_running_loop().create_future()
        self.refusal = ""
        self._sandbox = sandbox
        self._memory: asyncio.Future[int] | None = None

    async def kill(self) -> ExitReason:
        """End the worker and everything it started; a zygote that does not obey is ended with all its workers."""
        if not self.ended.done():
            with contextlib.suppress(SandboxDied):
                self._sandbox.command("kill", self.worker_id)
            try:
                async with asyncio.timeout(KILL_LIMIT_S):
                    await asyncio.shield(self.ended)
            except TimeoutError:
                await self._sandbox.stop("a worker could not be killed")
        return self.ended.result()

    async def memory_bytes(self) -> int:
        """Resident memory, pages shared with the zygote included; 0 when it has ended."""
        if self.ended.done():
            return 0
        if self._memory is None:
            self._sandbox.command("memory", self.worker_id)  # refused, it leaves nothing to wait for
            self._memory = asyncio.get_running_loop().create_future()
        return await asyncio.shield(self._memory)

    def take(self, event: Event) -> None:
        """An event of the zygote about this worker."""
        if event["event"] == "exited":
            self.end(event["reason"])
        elif event["event"] == "refused":
            self.refusal = event["message"]
            self.end("limit")
        elif event["event"] == "memory":
            self._answer_memory(event["bytes"])

    def end(self, reason: ExitReason) -> None:
        """The worker has gone."""
        if not self.ended.done():
            self.ended.set_result(reason)
        self._answer_memory(0)

    def _answer_memory(self, number: int) -> None:
        if self._memory is not None and not self._memory.done():
            self._memory.set_result(number)
        self._memory = None


class ZygoteSandbox:
    """`walls` is the zygote's report of what holds. A driver adds `stop`, which ends what the zygote runs in."""

    transport: Transport

    def __init__(self, *, sandbox_id: str, spec: SandboxSpec, connect: Connect) -> None:
        self.sandbox_id = sandbox_id
        self.spec = spec
        self.walls: dict[str, Any] = {}
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._workers: dict[str, ZygoteWorker] = {}
        self._numbers = itertools.count(1)
        self._usage: asyncio.Future[Usage] | None = None
        self._stop_reason = ""
        self._events_due = 1
        self.link = connect(on_event=self._take, on_close=self._closed)

    async def start_worker(self) -> ZygoteWorker:
        """Fork a worker and read its hello."""
        host_end, worker_end = socket.socketpair()
        host_end.setblocking(False)
        worker = ZygoteWorker(self, f"w{next(self._numbers)}", host_end)
        try:
            with worker_end:
                self.command("fork", worker.worker_id, worker_end.fileno())
            self._workers[worker.worker_id] = worker
            async with asyncio.timeout(READY_LIMIT_S):
                worker.hello = await _read_hello(host_end)
        except asyncio.CancelledError:
            host_end.close()  # the worker ends when it sees this
            raise
        except (SandboxDied, TimeoutError, OSError, ValueError) as error:
            if worker.worker_id in self._workers:
                await worker.kill()
            host_end.close()
            why = worker.refusal or self._stop_reason or str(error)
            raise SandboxDied(f"The sandbox could not start a worker: {why}") from error
        return worker

    async def usage(self) -> Usage:
        """Memory and processor time of the zygote and its workers, as the zygote counts them."""
        if self._usage is None and self.link.is_open:
            self.command("usage", "")
            self._usage = asyncio.get_running_loop().create_future()
        return await asyncio.shield(self._usage) if self._usage is not None else Usage(0, 0.0)

    async def stop(self, reason: str) -> None:
        """End the zygote and everything inside. Safe to repeat."""
        raise NotImplementedError

    def command(self, name: str, worker_id: str, descriptor: int | None = None) -> None:
        """Have the zygote do something; raises SandboxDied when it takes no commands."""
        self._events_due += EVENTS_PER_COMMAND
        self.link.send(name, worker_id, descriptor)

    def _take(self, event: Event) -> None:
        """Raises ValueError for an event that no zygote of ours sends now."""
        self._events_due -= 1
        if self._events_due < 0:
            raise ValueError("more events than commands account for")
        if event["event"] == "ready":
            if self._ready.done():
                raise ValueError("a second report of walls")
            self.walls = event["walls"]
            self._zygote_is_ready()
            self._ready.set_result(None)
            return
        if event["event"] == "usage":
            self._answer_usage(Usage(event["bytes"], event["cpu_s"]))
            return
        worker = self._workers.get(event["worker"])
        if worker is not None:
            worker.take(event)
            if worker.ended.done():
                del self._workers[worker.worker_id]

    def _zygote_is_ready(self) -> None:
        """For a driver that has something to do at this moment."""

    def _closed(self) -> None:
        """The control link has gone: no worker can be reached any more."""
        if not self._ready.done():
            self._ready.set_exception(SandboxDied(self._stop_reason or "it ended at once"))
            self._ready.exception()  # whoever gave its start up asks no more; the loop need not complain of that
        for worker in self._workers.values():
            worker.end("killed" if self._stop_reason else "exited")
        self._workers.clear()
        self._answer_usage(Usage(0, 0.0))

    def _answer_usage(self, usage: Usage) -> None:
        if self._usage is not None and not self._usage.done():
            self._usage.set_result(usage)
        self._usage = None


async def _read_hello(stream: socket.socket) -> dict[str, Any]:
    """The runner's first frame, and not a byte more. Raises ValueError for anything else."""
    (length,) = struct.unpack(">I", await _read_exactly(stream, 4))
    if length > HELLO_LIMIT_BYTES:
        raise ValueError("the first frame is no hello")
    return read_hello(await _read_exactly(stream, length))


async def _read_exactly(stream: socket.socket, number: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < number:
        chunk = await loop.sock_recv(stream, number - len(data))
        if not chunk:
            raise ValueError("it ended before its hello")
        data += chunk
    return data

"""A sandbox of the process driver: one zygote, its control link and its workers."""

import asyncio
import contextlib
import itertools
import json
import os
import signal
import socket
import struct
import subprocess
from collections.abc import Callable
from typing import Any

from uhlp.errors import SandboxDied
from uhlp.sandbox.driver import ExitReason, SandboxSpec, Transport, Usage
from uhlp.sandbox.drivers.zygote_link import Event, ZygoteLink

READY_LIMIT_S = 10.0
KILL_LIMIT_S = 2.0
HELLO_LIMIT_BYTES = 64 * 1024


class ProcessWorker:
    """A fork of the zygote. Whoever took `endpoint` closes it; `hello` is what the runner said of itself."""

    def __init__(self, sandbox: "ProcessSandbox", worker_id: str, endpoint: socket.socket) -> None:
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
                self._sandbox.link.send("kill", self.worker_id)
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
            self._memory = asyncio.get_running_loop().create_future()
            self._sandbox.link.send("memory", self.worker_id)
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


class ProcessSandbox:
    """`walls` is the zygote's report of what holds; `ended` is done when the process has gone."""

    transport: Transport = "socketpair"

    def __init__(
        self,
        *,
        sandbox_id: str,
        spec: SandboxSpec,
        process: "subprocess.Popen[bytes]",
        control: socket.socket,
        info_fd: int | None,
        on_end: Callable[["ProcessSandbox"], None],
    ) -> None:
        self.sandbox_id = sandbox_id
        self.spec = spec
        self.walls: dict[str, Any] = {}
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = loop.create_future()
        self.link = ZygoteLink(control, on_event=self._take, on_close=self._closed)
        self._process = process
        self._process_fd = os.pidfd_open(process.pid)
        loop.add_reader(self._process_fd, self._process_ended)
        self._zygote_fd: int | None = None
        self._info_fd = info_fd
        self._ready: asyncio.Future[None] = loop.create_future()
        self._workers: dict[str, ProcessWorker] = {}
        self._numbers = itertools.count(1)
        self._usage: asyncio.Future[Usage] | None = None
        self._stop_reason = ""
        self._on_end = on_end

    async def wait_until_ready(self) -> None:
        """Returns when the zygote has built its walls and loaded the runner; raises SandboxDied with what it said."""
        try:
            async with asyncio.timeout(READY_LIMIT_S):
                await asyncio.shield(self._ready)
        except asyncio.CancelledError:
            self._kill("its start was given up")
            raise
        except (TimeoutError, SandboxDied) as error:
            await self.stop("it did not start")
            said = await asyncio.to_thread(self._last_words)
            raise SandboxDied(f"The sandbox did not start: {said or error or 'no word from it'}") from error

    async def start_worker(self) -> ProcessWorker:
        """Fork a worker and read its hello."""
        host_end, worker_end = socket.socketpair()
        host_end.setblocking(False)
        worker = ProcessWorker(self, f"w{next(self._numbers)}", host_end)
        try:
            with worker_end:
                self.link.send("fork", worker.worker_id, worker_end.fileno())
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
            self._usage = asyncio.get_running_loop().create_future()
            self.link.send("usage", "")
        return await asyncio.shield(self._usage) if self._usage is not None else Usage(0, 0.0)

    async def stop(self, reason: str) -> None:
        """Kill the zygote; in its own process namespace everything inside dies with it."""
        self._kill(reason)
        try:
            async with asyncio.timeout(KILL_LIMIT_S):
                await asyncio.shield(self.ended)
        except TimeoutError:
            self._process.kill()
            await asyncio.shield(self.ended)

    def _kill(self, reason: str) -> None:
        self._stop_reason = self._stop_reason or reason
        if self._zygote_fd is not None and not self.ended.done():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._zygote_fd, signal.SIGKILL)
        elif not self.ended.done() and self._info_fd is not None:
            self._process.kill()  # bubblewrap before its child was known; --die-with-parent does the rest
        self.link.close()  # a zygote without a namespace of its own kills its workers at this

    def _take(self, event: Event) -> None:
        if event["event"] == "ready":
            self.walls = event["walls"]
            self._find_zygote()
            if not self._ready.done():
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

    def _find_zygote(self) -> None:
        """Bubblewrap has written its child's process id by now."""
        if self._info_fd is not None:
            pid = json.loads(os.read(self._info_fd, 4096))["child-pid"]
            with contextlib.suppress(ProcessLookupError):
                self._zygote_fd = os.pidfd_open(pid)

    def _closed(self) -> None:
        """The control link has gone: no worker can be reached any more."""
        if not self._ready.done():
            self._ready.set_exception(SandboxDied(self._stop_reason or "it ended at once"))
        for worker in self._workers.values():
            worker.end("killed" if self._stop_reason else "exited")
        self._workers.clear()
        self._answer_usage(Usage(0, 0.0))

    def _answer_usage(self, usage: Usage) -> None:
        if self._usage is not None and not self._usage.done():
            self._usage.set_result(usage)
        self._usage = None

    def _process_ended(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._process_fd)
        self._process.wait()
        self.link.close()
        for descriptor in (self._process_fd, self._zygote_fd, self._info_fd):
            if descriptor is not None:
                os.close(descriptor)
        self._zygote_fd = self._info_fd = None
        self.ended.set_result(None)
        self._on_end(self)

    def _last_words(self) -> str:
        """What bubblewrap or Python wrote before it gave up."""
        if self._process.stderr is None:
            return ""
        return self._process.stderr.read(2_000).decode(errors="replace").strip()


async def _read_hello(stream: socket.socket) -> dict[str, Any]:
    """The runner's first frame, and not a byte more. Raises ValueError for anything else."""
    (length,) = struct.unpack(">I", await _read_exactly(stream, 4))
    if length > HELLO_LIMIT_BYTES:
        raise ValueError("the first frame is no hello")
    message = json.loads(await _read_exactly(stream, length))
    if message.get("method") != "hello":
        raise ValueError("the first frame is no hello")
    hello: dict[str, Any] = message["params"]
    return hello


async def _read_exactly(stream: socket.socket, number: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < number:
        chunk = await loop.sock_recv(stream, number - len(data))
        if not chunk:
            raise ValueError("it ended before its hello")
        data += chunk
    return data

"""A command as a process of this machine, in a bubblewrap of its own that is gone with it."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable
from typing import IO

import structlog

from uhlp.errors import CommandRefused, IsolationRefused, SandboxDied
from uhlp.sandbox.drivers import bubblewrap
from uhlp.sandbox.drivers.process_memory import holds_more

PIECE_BYTES = 64 * 1024
_READY = b"ready"
_STATUS_BYTES = 16 * 1024
_TOLD_LIMIT_S = 10.0
_KILL_LIMIT_S = 2.0
_LOOK_EVERY_S = 0.1
_log = structlog.get_logger(__name__)


class ProcessCommand:
    """A `CommandProcess`. `status_fd` carries the first program's word, `info_fd` bubblewrap's.

    Process 1 of its name space is bubblewrap's own: when that ends, the kernel has ended everything inside.
    """

    def __init__(
        self,
        *,
        command_id: str,
        process: "subprocess.Popen[bytes]",
        status_fd: int,
        info_fd: int,
        memory_bytes: int,
        on_end: Callable[[], None],
    ) -> None:
        self.command_id = command_id
        self._memory_bytes = memory_bytes
        self._process = process
        self._status_fd = status_fd
        self._info_fd = info_fd
        self._on_end = on_end
        loop = asyncio.get_running_loop()
        self._exited: asyncio.Future[int] = loop.create_future()
        self._first_fd: int | None = None
        self._watching: asyncio.Task[None] | None = None
        self._stdin: asyncio.StreamWriter | None = None
        self._stdout = self._stderr = asyncio.StreamReader()
        self._transports: list[asyncio.BaseTransport] = []
        self._ending: asyncio.Task[None] | None = None
        os.set_blocking(info_fd, False)
        self._process_fd = os.pidfd_open(process.pid)
        loop.add_reader(self._process_fd, self._process_ended)

    async def open(self, limit_s: float) -> None:
        """Returns when the command runs. Raises IsolationRefused, CommandRefused, SandboxDied; then nothing is left."""
        try:
            async with asyncio.timeout(limit_s):
                status = await self._reader(os.fdopen(self._status_fd, "rb", 0))
                self._stdout = await self._reader(self._process.stdout)
                self._stderr = await self._reader(self._process.stderr)
                await self._open_stdin()
                said = await status.read(_STATUS_BYTES)
                while more := await status.read(_STATUS_BYTES):
                    said += more
                pid = self._know_first_process()
                if said == _READY:
                    self._watching = asyncio.create_task(self._watch_memory(pid))
                    return
                words = "" if said else (await self._stderr.read(_STATUS_BYTES)).decode(errors="replace").strip()
        except BaseException as error:
            await self.kill()
            if isinstance(error, TimeoutError):
                raise SandboxDied(f"The command's sandbox was not ready within {limit_s:g} s.") from error
            raise
        await self.kill()
        if not said:
            raise SandboxDied(f"The command's sandbox did not start: {words or 'it ended at once'}")
        problem = json.loads(said.removeprefix(_READY))
        if "missing" in problem:
            raise IsolationRefused(details={"missing": problem["missing"]})
        raise CommandRefused(f"The program cannot be started: {problem['error']}.")

    async def write(self, data: bytes) -> None:
        if self._stdin is None or self._stdin.is_closing():
            raise ConnectionError("The command's input is closed.")
        self._stdin.write(data)
        await self._stdin.drain()

    async def close_stdin(self) -> None:
        if self._stdin is not None:
            self._stdin.close()  # what was written before still goes out

    async def read_stdout(self) -> bytes:
        return await self._stdout.read(PIECE_BYTES)

    async def read_stderr(self) -> bytes:
        return await self._stderr.read(PIECE_BYTES)

    async def wait(self) -> int:
        return await asyncio.shield(self._exited)

    async def kill(self) -> None:
        if self._ending is None:
            self._ending = asyncio.ensure_future(self._end())
        await asyncio.shield(self._ending)

    async def _end(self) -> None:
        try:
            async with asyncio.timeout(_TOLD_LIMIT_S):  # a busy machine takes its time to start bubblewrap
                await self._first_process_told()
            async with asyncio.timeout(_KILL_LIMIT_S):
                self._send_kill()
                await asyncio.shield(self._exited)
        except TimeoutError:  # bubblewrap hangs: process 1 goes with it
            self._process.kill()
            await asyncio.shield(self._exited)
        await self._first_process_ended()
        if self._watching is not None:
            self._watching.cancel()
        for transport in self._transports:
            if not transport.is_closing():
                transport.close()
        os.close(self._info_fd)
        self._on_end()

    def _send_kill(self) -> None:
        if self._exited.done():
            return
        if self._first_fd is None:
            self._process.kill()
        else:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._first_fd, signal.SIGKILL)

    async def _first_process_told(self) -> None:
        """Bubblewrap killed while it prepares its child leaves it behind, waiting for ever."""
        if self._first_fd is not None or self._exited.done():
            return
        told, loop = asyncio.Event(), asyncio.get_running_loop()
        loop.add_reader(self._info_fd, told.set)  # closed without a word, too
        try:
            await told.wait()
        finally:
            loop.remove_reader(self._info_fd)
        self._know_first_process()

    async def _first_process_ended(self) -> None:
        """Bubblewrap leaves at the end of its child; process 1 stays while other processes do."""
        if self._first_fd is None:
            return
        descriptor, loop = self._first_fd, asyncio.get_running_loop()
        self._first_fd = None
        gone = asyncio.Event()
        try:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            loop.add_reader(descriptor, gone.set)
            await gone.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)

    def _know_first_process(self) -> int:
        """Bubblewrap tells its child's process id, once, before the child runs. Asked before it can be another's."""
        pid = 0
        with contextlib.suppress(ProcessLookupError, BlockingIOError):
            if told := bubblewrap.told_child(self._info_fd):
                pid = told
                self._first_fd = os.pidfd_open(pid)
        return pid

    async def _watch_memory(self, pid: int) -> None:
        """Each process has its own bound from the kernel, and many together have this one."""
        while not self._exited.done():
            if await asyncio.to_thread(holds_more, pid, self._memory_bytes):
                _log.warning("command_out_of_memory", command=self.command_id, bound_bytes=self._memory_bytes)
                self._send_kill()
                return
            await asyncio.sleep(_LOOK_EVERY_S)  # memory that fills up calls nobody

    def _process_ended(self) -> None:
        asyncio.get_running_loop().remove_reader(self._process_fd)
        os.close(self._process_fd)
        status = self._process.wait()
        self._exited.set_result(status if status >= 0 else 128 - status)

    async def _reader(self, pipe: IO[bytes] | None) -> asyncio.StreamReader:
        reader = asyncio.StreamReader(limit=PIECE_BYTES)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        self._transports.append(transport)
        return reader

    async def _open_stdin(self) -> None:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.connect_write_pipe(
            lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), self._process.stdin
        )
        self._transports.append(transport)
        self._stdin = asyncio.StreamWriter(transport, protocol, None, loop)

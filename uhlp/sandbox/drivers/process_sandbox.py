"""A sandbox of the process driver: a zygote on this machine, watched and ended by process descriptors."""

import asyncio
import contextlib
import functools
import os
import signal
import socket
import subprocess
from collections.abc import Callable

from uhlp.errors import SandboxDied
from uhlp.sandbox.driver import SandboxSpec, Transport
from uhlp.sandbox.drivers import bubblewrap
from uhlp.sandbox.drivers.zygote_link import ZygoteLink
from uhlp.sandbox.drivers.zygote_sandbox import KILL_LIMIT_S, READY_LIMIT_S, ZygoteSandbox


class ProcessSandbox(ZygoteSandbox):
    """`ended` is done when the process has gone."""

    transport: Transport = "socketpair"

    def __init__(
        self,
        *,
        sandbox_id: str,
        spec: SandboxSpec,
        process: "subprocess.Popen[bytes]",
        process_fd: int,
        control: socket.socket,
        info_fd: int | None,
        on_end: Callable[["ProcessSandbox"], None],
    ) -> None:
        super().__init__(sandbox_id=sandbox_id, spec=spec, connect=functools.partial(ZygoteLink, control))
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = loop.create_future()
        self._process = process
        self._process_fd = process_fd
        self._said = ""
        loop.add_reader(self._process_fd, self._process_ended)
        self._zygote_fd: int | None = None
        self._info_fd = info_fd
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
            raise SandboxDied(f"The sandbox did not start: {self._said or error or 'no word from it'}") from error

    async def stop(self, reason: str) -> None:
        """Kill the zygote; in its own process namespace everything inside dies with it."""
        self._kill(reason)
        is_told = self._info_fd is None or self._zygote_fd is not None
        try:
            async with asyncio.timeout(KILL_LIMIT_S if is_told else READY_LIMIT_S):
                await asyncio.shield(self.ended)
        except TimeoutError:
            self._process.kill()
            await asyncio.shield(self.ended)

    def _kill(self, reason: str) -> None:
        self._stop_reason = self._stop_reason or reason
        if self._zygote_fd is not None:
            self._kill_zygote()
        elif self._info_fd is not None:  # bubblewrap killed while it prepares its child leaves it behind, waiting
            asyncio.get_running_loop().add_reader(self._info_fd, self._kill_zygote)
        self.link.close()  # a zygote without a namespace of its own kills its workers at this

    def _kill_zygote(self) -> None:
        self._know_zygote()
        if self._zygote_fd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._zygote_fd, signal.SIGKILL)

    def _zygote_is_ready(self) -> None:
        """Bubblewrap has written its child's process id by now."""
        self._know_zygote()

    def _know_zygote(self) -> None:
        """Bubblewrap tells it once, and nothing at all when it fails before."""
        if self._zygote_fd is None and self._info_fd is not None:
            asyncio.get_running_loop().remove_reader(self._info_fd)
            if pid := bubblewrap.told_child(self._info_fd):
                with contextlib.suppress(ProcessLookupError):
                    self._zygote_fd = os.pidfd_open(pid)

    def _process_ended(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._process_fd)
        if self._info_fd is not None:
            loop.remove_reader(self._info_fd)
        self._process.wait()
        self._said = self._last_words()
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
        with self._process.stderr as stream:
            os.set_blocking(stream.fileno(), False)  # something it started may hold the other end for a moment more
            try:
                return os.read(stream.fileno(), 2_000).decode(errors="replace").strip()
            except BlockingIOError:
                return ""

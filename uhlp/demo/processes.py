"""The demo's own processes, server and simulated model: on free ports, ended with everything they started."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

READY_WITHIN_S = 120.0
ENDED_WITHIN_S = 40.0


class DemoFailed(Exception):
    """The demo cannot go on; the text says why."""


def free_port(preferred: int = 0) -> int:
    """`preferred` when nobody listens there, else a free port of 127.0.0.1."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", preferred))
        except OSError:
            listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class DemoProcess:
    """One `uhlp` command in a process of its own; what it says goes into a log file."""

    def __init__(self, name: str, arguments: list[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self._arguments = arguments
        self._environment = environment
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, *, port: int) -> None:
        """Start, and wait until the port answers. Raises DemoFailed with the end of its log when it does not."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "uhlp", *self._arguments,
                stdout=log, stderr=log, stdin=asyncio.subprocess.DEVNULL,
                env={"UHLP_SANDBOX__DRIVER": "process", **os.environ, **self._environment},
            )  # fmt: skip
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                while not await _answers(port):
                    if self._process.returncode is not None:
                        raise DemoFailed(f"{self.name} ended at once:\n{self.last_words()}")
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise DemoFailed(f"{self.name} did not become ready:\n{self.last_words()}") from None

    async def stop(self) -> None:
        """Ask it to end, and wait until it has; insist when it does not."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), ENDED_WITHIN_S)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    def last_words(self, lines: int = 15) -> str:
        return "\n".join(self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


async def _answers(port: int) -> bool:
    try:
        _reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    try:
        answer = await asyncio.wait_for(_reader.read(64), 2.0)
    except (OSError, TimeoutError):
        return False
    finally:
        writer.close()
    return answer.startswith(b"HTTP/1.1 ")

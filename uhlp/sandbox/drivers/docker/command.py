"""A command as a container of its own: the program is process 1, so everything inside ends with it.

Its streams are the container's, attached before its start. Where the server dies, the container loses its input, and
the next server of this data directory removes it.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog

from uhlp.errors import EngineRefused, UhlpError
from uhlp.sandbox.drivers.bounded_pipe import BoundedPipe
from uhlp.sandbox.drivers.docker.engine import Engine

if TYPE_CHECKING:
    from aiodocker.stream import Stream

_log = structlog.get_logger(__name__)
_STDOUT = 1
_KILLED = 128 + 9


class DockerCommand:
    """A `CommandProcess`. `command_id` is the container's name; `remove` ends a container, now or when the engine
    answers again."""

    def __init__(
        self, *, command_id: str, engine: Engine, stream: "Stream", remove: Callable[[str], Awaitable[None]]
    ) -> None:
        self.command_id = command_id
        self._engine = engine
        self._stream = stream
        self._remove = remove
        self._stdout, self._stderr = BoundedPipe(), BoundedPipe()
        self._input_is_open = True
        self._listening = asyncio.ensure_future(self._listen())
        self._exited: asyncio.Future[int] | None = None
        self._ending: asyncio.Future[None] | None = None

    def started(self) -> None:
        """The container runs: from now on its end is waited for."""
        self._exited = asyncio.ensure_future(self._status())

    async def write(self, data: bytes) -> None:
        if not self._input_is_open:
            raise ConnectionError("The command's input is closed.")
        try:
            await self._stream.write_in(data)
        except Exception as error:  # aiodocker asserts that it is still connected; whatever it is, the pipe has ended
            raise ConnectionError(f"The command's input was lost: {error!r}") from error

    async def close_stdin(self) -> None:
        if not self._input_is_open:
            return
        self._input_is_open = False
        connection = self._stream._resp.connection if self._stream._resp is not None else None
        transport = connection.transport if connection is not None else None
        if transport is None:
            return  # it has ended
        if not transport.can_write_eof():
            raise EngineRefused(
                f"The engine at {self._engine.url} is reached over TLS, where a command's input cannot be ended."
            )
        transport.write_eof()

    async def read_stdout(self) -> bytes:
        return await self._stdout.take()

    async def read_stderr(self) -> bytes:
        return await self._stderr.take()

    async def wait(self) -> int:
        assert self._exited is not None  # noqa: S101 - nobody has it before it is started
        return await asyncio.shield(self._exited)

    async def kill(self) -> None:
        if self._ending is None:
            self._ending = asyncio.ensure_future(self._end())
        await asyncio.shield(self._ending)

    async def _end(self) -> None:
        self._input_is_open = False
        self._listening.cancel()
        await asyncio.wait([self._listening])
        with contextlib.suppress(AssertionError):  # the engine was first
            await self._stream.close()  # before the rest: an engine whose output nobody takes removes nothing
        await self._remove(self.command_id)
        if self._exited is not None:
            await asyncio.wait([self._exited])

    async def _status(self) -> int:
        """A container that was removed before its status was known has been killed."""
        try:
            return await self._engine.wait(self.command_id)
        except UhlpError:
            return _KILLED

    async def _listen(self) -> None:
        """A stream that nobody reads holds the other up: the engine sends both over one connection."""
        try:
            while message := await self._stream.read_out():
                await (self._stdout if message.stream == _STDOUT else self._stderr).give(message.data)
        except Exception as error:  # whatever the libraries call it, there is no more output
            _log.debug("command_output_ended", command=self.command_id, reason=repr(error))
        finally:
            await self._stdout.end()
            await self._stderr.end()

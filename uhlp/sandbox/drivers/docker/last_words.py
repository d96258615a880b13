"""What a container says before it is ready, and that it has ended: heard over the engine, until nobody needs it."""

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from uhlp.errors import UhlpError
from uhlp.sandbox.drivers.docker.engine import Engine

if TYPE_CHECKING:
    from aiodocker.stream import Stream

_LIMIT_BYTES = 2_000
_STANDARD_ERROR = 2


class LastWords:
    """Listens to a container's standard error. Open it after the create and before the start: nothing is logged."""

    def __init__(self, engine: Engine, container: str) -> None:
        self.text = ""
        self._engine = engine
        self._container = container
        self._stream: Stream | None = None

    async def open(self) -> None:
        """Raises EngineUnavailable, EngineRefused."""
        async with self._engine.asking(f"to attach to {self._container}") as docker:
            self._stream = docker.containers.container(self._container).attach(stderr=True, logs=False)
            await self._stream.__aenter__()

    async def until_end(self) -> str:
        """Returns when the container has ended (or its engine has), with the end of what it said."""
        if self._stream is not None:
            with contextlib.suppress(UhlpError):
                async with self._engine.asking(f"to listen to {self._container}", None):
                    while message := await self._stream.read_out():
                        if message.stream == _STANDARD_ERROR:
                            self.text = (self.text + message.data.decode(errors="replace"))[-_LIMIT_BYTES:]
        return self.text.strip()

    async def close(self) -> None:
        """Safe to repeat."""
        stream, self._stream = self._stream, None
        if stream is not None:
            with contextlib.suppress(UhlpError, AssertionError):  # the library asserts that its connection stands
                async with self._engine.asking(f"to leave {self._container}"):
                    await stream.close()


async def first_of(words: LastWords, wanted: "asyncio.Future[Any]", limit_s: float) -> bool:
    """Wait for `wanted` as long as the container runs; False when it ended first. Raises TimeoutError."""
    listening = asyncio.ensure_future(words.until_end())
    try:
        done, _ = await asyncio.wait((wanted, listening), timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not listening.done():
            listening.cancel()
    if not done:
        raise TimeoutError
    return wanted in done

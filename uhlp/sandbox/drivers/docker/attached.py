"""A container's attached standard input and output, as one pipe of bytes.

For engines that can share no socket with this machine. The container is made with `ATTACHED` and attached to before its
start, so that nothing it says is lost. When the network or the engine goes, the pipe ends, and so has the sandbox: the
engine closes the container's input with the attachment, and the relay inside ends at that.
"""

from typing import TYPE_CHECKING, Any

from uhlp.sandbox.drivers.docker.engine import Engine

if TYPE_CHECKING:
    from aiodocker.stream import Stream

ATTACHED: dict[str, Any] = {
    "AttachStdin": True,
    "AttachStdout": True,
    "AttachStderr": True,
    "OpenStdin": True,
    "StdinOnce": True,  # the input closes with this attachment, whoever ends it
    "Tty": False,
}
"""What such a container needs of its create configuration."""

_STDOUT, _STDERR = 1, 2
_LAST_WORDS = 2_000


class AttachedPipe:
    """A `BytePipe`; `last_words` is the end of what the container wrote to standard error."""

    def __init__(self, stream: "Stream") -> None:
        self.last_words = ""
        self._stream = stream

    @classmethod
    async def open(cls, engine: Engine, container: str) -> "AttachedPipe":
        """Attach to a created container, before its start. Raises EngineUnavailable, EngineRefused."""
        async with engine.asking(f"to attach to {container}") as docker:
            stream = docker.containers.container(container).attach(stdin=True, stdout=True, stderr=True)
            return cls(await stream.__aenter__())

    async def read(self) -> bytes:
        try:
            while message := await self._stream.read_out():
                if message.stream == _STDOUT and message.data:
                    return message.data
                if message.stream == _STDERR:
                    words = self.last_words + message.data.decode(errors="replace")
                    self.last_words = words[-_LAST_WORDS:]
        except Exception as error:  # whatever the libraries call it, the pipe has ended
            raise ConnectionError(f"The container's output was lost: {error!r}") from error
        return b""

    async def write(self, data: bytes) -> None:
        try:
            await self._stream.write_in(data)
        except Exception as error:  # the same; aiodocker asserts that it is still connected
            raise ConnectionError(f"The container's input was lost: {error!r}") from error

    async def close(self) -> None:
        try:
            await self._stream.close()
        except AssertionError:
            return  # the engine was first

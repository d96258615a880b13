"""Standard input and output of an MCP server that UHLP starts, in a throw-away sandbox of its own."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import structlog
from anyio.lowlevel import checkpoint
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client._transport import TransportStreams
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

from uhlp.errors import UhlpError
from uhlp.sandbox.command import CommandProcess, CommandSpec
from uhlp.tools.gateway.faults import ServerFault
from uhlp.tools.gateway.message_bounds import beyond_bounds

OpenCommand = Callable[[CommandSpec], Awaitable[CommandProcess]]
_LOGGED_LINES = 200
_LOGGED_CHARACTERS = 500
_ENDS_WITHIN_S = 1.0

log = structlog.get_logger(__name__)


@asynccontextmanager
async def stdio_streams(
    open_command: OpenCommand, spec: CommandSpec, *, most_bytes: int, server: str, hidden: tuple[str, ...] = ()
) -> AsyncIterator[TransportStreams]:
    """The streams of a program that is started here and killed at the end: one JSON-RPC message a line.

    Lines that are none are passed over; what it writes to its errors is logged, the first lines of it, `hidden` masked.
    Raises ServerFault when it cannot be started, ends by itself, or writes a line of more than `most_bytes`.
    """
    try:
        command = await open_command(spec)
    except UhlpError as error:
        raise ServerFault(f"its program was not started: {error.message.rstrip('.')}") from None
    to_session, from_server = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    to_server, from_session = anyio.create_memory_object_stream[SessionMessage](0)
    async with to_session, from_server, to_server, from_session, anyio.create_task_group() as group:
        group.start_soon(_read, command, to_session, most_bytes)
        group.start_soon(_write, command, from_session)
        group.start_soon(_log_errors, command, spec.owner, server, hidden)
        try:
            yield from_server, to_server
        finally:
            group.cancel_scope.cancel()  # before the end, which would be told as the program's own
            with anyio.CancelScope(shield=True):
                await command.kill()


async def _read(
    command: CommandProcess, to_session: MemoryObjectSendStream[SessionMessage | Exception], most_bytes: int
) -> None:
    rest = bytearray()
    fault = "its program ended"
    while piece := await command.read_stdout():
        rest += piece
        if b"\n" not in piece:
            if len(rest) > most_bytes:
                fault = f"its answer is larger than {most_bytes} bytes (mcp.max_message_bytes)"
                break
            continue
        *lines, rest = rest.split(b"\n")
        if refused := await _deliver(lines, to_session, most_bytes):
            fault = refused
            break
    else:
        with anyio.move_on_after(_ENDS_WITHIN_S):
            fault = f"its program ended with exit status {await command.wait()}"
    to_session.close()  # no pause from here on: the session ends for the reason that is raised
    raise ServerFault(fault)


async def _deliver(
    lines: Sequence[bytearray], to_session: MemoryObjectSendStream[SessionMessage | Exception], most_bytes: int
) -> str | None:
    """Hand over the messages among whole lines; why the session has to end, when one may not be read."""
    for line in lines:
        if not line.lstrip().startswith(b"{") or len(line) > most_bytes:
            continue
        if refused := beyond_bounds(line):
            return refused
        if (message := _message(line)) is not None:
            await to_session.send(message)
        else:
            await checkpoint()  # a flood of what is no message leaves time for everybody else
    return None


def _message(line: bytes | bytearray) -> SessionMessage | None:
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(bytes(line), by_name=False))
    except ValueError:
        return None


async def _write(command: CommandProcess, from_session: MemoryObjectReceiveStream[SessionMessage]) -> None:
    async for sent in from_session:
        line = sent.message.model_dump_json(by_alias=True, exclude_unset=True)
        try:
            await command.write(line.encode() + b"\n")
        except ConnectionError:
            return  # it ends: whoever reads its output says how


async def _log_errors(command: CommandProcess, app_id: str, server: str, hidden: tuple[str, ...]) -> None:
    rest, logged = b"", 0
    facts: dict[str, Any] = {"app_id": app_id, "server": server}
    while piece := await command.read_stderr():
        *lines, rest = (rest + piece).split(b"\n")
        rest = rest[: 4 * _LOGGED_CHARACTERS]
        for line in lines[: max(0, _LOGGED_LINES - logged)]:
            text = line.decode(errors="replace")
            for secret in hidden:
                text = text.replace(secret, "**********")
            log.info("mcp_server_said", line=text[:_LOGGED_CHARACTERS], **facts)
            logged += 1
        if logged == _LOGGED_LINES:
            log.info("mcp_server_said_more", dropped_after_lines=logged, **facts)
            logged += 1

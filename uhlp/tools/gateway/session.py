"""Session: one open MCP session, whatever carries it."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
import structlog
from mcp import Client
from mcp.client._transport import TransportStreams
from mcp.client.session import IncomingMessage
from mcp.client.subscriptions import ListenNotSupportedError
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    Implementation,
    Tool,
    ToolListChangedNotification,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from uhlp.tools.gateway.faults import ServerFault
from uhlp.tools.gateway.outgoing import OUTGOING, Outgoing

OpenStreams = Callable[[], AbstractAsyncContextManager[TransportStreams]]
_MOST_PAGES = 20
_CLOSE_WITHIN_S = 5.0

log = structlog.get_logger(__name__)


class Session:
    """Opened by `open`; ends by itself when what carries it does. Many calls may run in it at once.

    The SDK's client is entered and left by one task, which lives as long as the session.
    """

    def __init__(self, open_streams: OpenStreams, *, on_tools_changed: Callable[[], None]) -> None:
        self._on_tools_changed = on_tools_changed
        self._client = Client(
            open_streams(),
            client_info=Implementation(name="uhlp", version="1"),
            message_handler=self._hear,
            cache=None,
        )
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._closing = asyncio.Event()
        self._outgoing = Outgoing(ends_at=None)
        self._fault: str | None = None
        self.protocol = ""
        """The version that both agreed on."""

        self._owner: asyncio.Task[None] | None = None

    async def open(self, *, timeout_s: float) -> None:
        """Connect and agree on a version. Raises ServerFault; then nothing is left open."""
        self._owner = asyncio.create_task(self._own(timeout_s), name="mcp-session")
        try:
            await asyncio.shield(self._opened)
        except asyncio.CancelledError:
            await self.close()
            raise

    @property
    def has_ended(self) -> bool:
        return self._owner is None or self._owner.done() or self._closing.is_set()

    @property
    def is_stateful(self) -> bool:
        """Whether the server knows this session, and may have forgotten it."""
        return self.protocol not in MODERN_PROTOCOL_VERSIONS

    async def end(self) -> str:
        """End the session, and say why it had ended before, if it had."""
        await self.close()
        return self._fault or "the connection was closed"

    async def close(self) -> None:
        """End the session; returns when what it held is let go."""
        self._closing.set()
        if self._owner is None:
            return
        await asyncio.wait({self._owner}, timeout=_CLOSE_WITHIN_S)
        if not self._owner.done():
            self._owner.cancel()
            await asyncio.wait({self._owner}, timeout=_CLOSE_WITHIN_S)

    async def list_tools(self, *, most: int) -> list[Tool]:
        """At most `most` tools, page by page. Raises MCPError, ValueError for what is no list."""
        tools: list[Tool] = []
        cursor: str | None = None
        for _ in range(_MOST_PAGES):
            page = await self._client.list_tools(cursor=cursor)
            tools += page.tools
            cursor = page.next_cursor
            if cursor is None or len(tools) >= most:
                break
        return tools[:most]

    async def call_tool(self, name: str, arguments: dict[str, Any], *, meta: dict[str, Any]) -> CallToolResult:
        """The server's word, unchecked. Raises MCPError, ValueError for what is no result.

        Not the client's own call_tool: that one holds a result against the server's schema, and both are untrusted.
        """
        params = CallToolRequestParams(name=name, arguments=arguments, _meta=meta)
        return await self._client.session.send_request(CallToolRequest(params=params), CallToolResult)

    async def _own(self, timeout_s: float) -> None:
        OUTGOING.set(self._outgoing)
        try:
            with anyio.fail_after(timeout_s) as scope:
                async with self._client:
                    scope.deadline = float("inf")
                    self.protocol = self._client.protocol_version
                    self._opened.set_result(None)
                    await self._serve()
        except Exception as error:
            outgoing = self._outgoing
            self._fault = outgoing.fault or outgoing.unreadable or _reason(error, outgoing.status)
            self._fail(self._fault)
        finally:
            self._fail("the session ended")
            self._closing.set()

    async def _serve(self) -> None:
        """Until the session is closed; meanwhile hear of changed tools where that takes a request of its own."""
        listening = None
        if self.protocol in MODERN_PROTOCOL_VERSIONS:
            listening = asyncio.create_task(self._listen(), name="mcp-listen")
        try:
            await self._closing.wait()
        finally:
            if listening is not None:
                listening.cancel()
                await asyncio.wait({listening})

    async def _listen(self) -> None:
        tools = self._client.server_capabilities.tools
        if tools is None or not tools.list_changed:
            return
        try:
            async with self._client.listen(tools_list_changed=True) as subscription:
                async for _ in subscription:
                    self._on_tools_changed()
        except (ListenNotSupportedError, MCPError, TimeoutError, RuntimeError):
            return  # the list is asked for again when it is old

    async def _hear(self, message: IncomingMessage) -> None:
        if isinstance(message, ToolListChangedNotification):
            self._on_tools_changed()

    def _fail(self, reason: str) -> None:
        if not self._opened.done():
            self._opened.set_exception(ServerFault(reason))
            self._opened.exception()  # whoever waits hears of it; nobody may wait any more


def _reason(error: BaseException, status: int | None) -> str:
    """Why there is no session, in our words: a server's own could hold anything."""
    if isinstance(error, BaseExceptionGroup):
        known, _ = error.split(ServerFault)
        error = known or error
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, ServerFault):
        return str(error)
    if status in (401, 403):
        return f"it refuses the credentials (HTTP {status})"
    if status is not None and status >= 300:
        return f"it answers with HTTP {status}"
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if isinstance(error, MCPError):
        return f"it refuses the session (code {error.code})"
    return f"it does not speak MCP ({type(error).__name__})"

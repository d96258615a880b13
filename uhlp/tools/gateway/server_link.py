"""ServerLink: one application's way to one MCP server."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

import structlog
from mcp.client._transport import TransportStreams
from mcp.shared.exceptions import MCPError
from mcp_types import CONNECTION_CLOSED, CallToolResult

from uhlp.clock import Clock
from uhlp.errors import DeadlineExceeded, McpServerUnavailable, ToolFailed, ToolNotFound, ToolResultInvalid
from uhlp.tools.context import ToolContext
from uhlp.tools.gateway.call_faults import meaning_of
from uhlp.tools.gateway.circuit import Circuit
from uhlp.tools.gateway.config import McpSettings
from uhlp.tools.gateway.faults import ServerFault, SessionLost
from uhlp.tools.gateway.outgoing import OUTGOING, Outgoing
from uhlp.tools.gateway.results import ResultReader
from uhlp.tools.gateway.server_spec import Credentials, ServerSpec
from uhlp.tools.gateway.session import Session
from uhlp.tools.gateway.tool_list import ToolList
from uhlp.tools.tool import JsonObject

_TRY_WAITS_S = 2.0
"""How long a cycle waits for a try; it goes on beside the cycles that follow."""

log = structlog.get_logger(__name__)


class ServerLink:
    """Opens its session with the first call, and again when it was lost.

    `credentials` reads what the spec's references stand for, anew for each session; `open_streams` makes what carries
    it. A server that is away costs whoever asks first its time; until a try in the background finds it back, everybody
    else is told at once. A call that may have had its effect is never sent twice.
    """

    def __init__(
        self,
        *,
        app_id: str,
        spec: ServerSpec,
        credentials: Callable[[], Coroutine[Any, Any, Credentials]],
        open_streams: Callable[[Credentials], AbstractAsyncContextManager[TransportStreams]],
        settings: McpSettings,
        clock: Clock,
    ) -> None:
        self.app_id = app_id
        self.spec = spec
        self._credentials = credentials
        self._open_streams = open_streams
        self._settings = settings
        self._clock = clock
        self._circuit = Circuit(settings=settings, clock=clock)
        self._slots = asyncio.Semaphore(settings.concurrent_calls)
        self._reader = ResultReader(most_bytes=settings.max_result_bytes)
        self._session: Session | None = None
        self._opening: asyncio.Task[None] | None = None
        self._chores: set[asyncio.Task[None]] = set()
        self._tools = ToolList(prefix=spec.prefix, settings=settings, clock=clock)
        self._losses = 0
        self._is_suspect = False
        self._is_closed = False
        self._calls = 0
        self._last_asked_at = clock.monotonic()

    async def call(self, tool: str, arguments: JsonObject, context: ToolContext) -> JsonObject:
        """Call `tool` by its own name, within the context's deadline. Raises UhlpError."""
        left_s = min(self._settings.call_timeout_s, context.deadline - self._clock.monotonic())
        ends_at = asyncio.get_running_loop().time() + left_s
        self._last_asked_at = self._clock.monotonic()
        self._calls += 1
        try:
            session = await self._live(ends_at)
            await self._require(tool, session, ends_at)
            try:
                result = await self._send(session, tool, arguments, context, ends_at)
            except SessionLost as lost:
                self._lose(session, str(lost))
                if lost.may_have_run:
                    raise self._away(f"the session was lost during the call, which may have run: {lost}") from None
                session = await self._live(ends_at)
                try:
                    result = await self._send(session, tool, arguments, context, ends_at)
                except SessionLost as again:
                    self._lose(session, str(again))
                    raise self._away(str(again)) from None
        finally:
            self._calls -= 1
            self._last_asked_at = self._clock.monotonic()
        self._answered()
        return self._reader.result(self.spec.prefix + tool, result)

    async def tools(self, *, timeout_s: float) -> list[JsonObject]:
        """Its tools as MCP lists them, under their full names; from memory while the list is new. Raises UhlpError."""
        ends_at = asyncio.get_running_loop().time() + min(timeout_s, self._settings.list_timeout_s)
        self._last_asked_at = self._clock.monotonic()
        session = await self._live(ends_at)
        if self._tools.is_old:
            await self._relist(session, ends_at)
        return list(self._tools.tools.values())

    async def run_cycle(self) -> None:
        """Try a server again that was away, doubt one that let a call time out, and close what nobody uses."""
        session = self._session
        if session is not None and session.has_ended:
            self._lose(session, "the session ended")
        elif session is not None and self._is_idle:
            self._session = None
            await session.close()
        elif session is not None and self._is_suspect:
            await self._doubt(session)
        elif self._circuit.is_due and not self._is_idle:
            await asyncio.wait({self._opened()}, timeout=_TRY_WAITS_S)

    @property
    def is_unused(self) -> bool:
        """Nothing is open, and nobody has asked for long: what is known of the server may be forgotten."""
        return self._session is None and self._opening is None and self._is_idle

    def status(self) -> JsonObject:
        """{state: connected | unreachable | idle, protocol?, reason?, since? (seconds since the epoch), tools}."""
        told: JsonObject = {"state": "idle", "tools": sorted(self._tools.tools)}
        if self._session is not None and not self._session.has_ended:
            told |= {"state": "connected", "protocol": self._session.protocol}
        if self._circuit.is_open:
            told |= {"state": "unreachable", "reason": self._circuit.reason, "since": self._circuit.since}
        return told

    async def close(self) -> None:
        """Let everything go; a call in flight fails, and nothing is opened any more."""
        self._is_closed = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait({self._opening})
        session, self._session = self._session, None
        if session is not None:
            await session.close()
        if self._chores:
            await asyncio.wait(self._chores)

    @property
    def _is_idle(self) -> bool:
        is_quiet = self._clock.monotonic() - self._last_asked_at > self._settings.idle_timeout_s
        return is_quiet and self._calls == 0

    # The session

    async def _live(self, ends_at: float) -> Session:
        if self._is_closed:
            raise self._away("its definition has changed")
        if self._session is not None and self._session.has_ended:
            self._lose(self._session, "the session ended")
        if self._session is not None:
            return self._session
        if self._circuit.is_open:
            if self._circuit.is_due:
                self._opened()
            raise self._away(self._circuit.reason or "it is away")
        opening = self._opened()
        await asyncio.wait({opening}, timeout=max(0.0, ends_at - asyncio.get_running_loop().time()))
        if self._session is not None:
            return self._session
        if not opening.done():
            raise DeadlineExceeded(f"No time was left to reach the MCP server {self._name}.")
        raise self._away(self._circuit.reason or "it is away")

    def _opened(self) -> asyncio.Task[None]:
        """The one attempt to open a session that is under way."""
        if self._opening is None:
            self._opening = asyncio.create_task(self._open(), name=f"mcp-open-{self._name}")
            self._opening.add_done_callback(self._attempt_ended)
        return self._opening

    def _attempt_ended(self, opening: asyncio.Task[None]) -> None:
        self._opening = None

    async def _open(self) -> None:
        OUTGOING.set(None)  # a copy of the context of whoever asked first
        try:
            credentials = await self._credentials()
            reader = ResultReader(most_bytes=self._settings.max_result_bytes, hidden=credentials.hidden)
            self._tools.outdate()
            session = Session(lambda: self._open_streams(credentials), on_tools_changed=self._tools.outdate)
            settings = self._settings
            await session.open(
                timeout_s=settings.start_timeout_s if self.spec.program is not None else settings.connect_timeout_s
            )
            try:
                await self._tools.refresh(session, reader)
            except BaseException:
                await session.close()
                raise
        except Exception as error:
            if not isinstance(error, ServerFault):
                log.exception("mcp_session_failed", app_id=self.app_id, server=self._name)
            reason = str(error) if isinstance(error, ServerFault) else "no session could be opened"
            self._circuit.fail(reason)
            log.warning("mcp_server_away", app_id=self.app_id, server=self._name, reason=reason)
            return
        self._reader, self._session = reader, session
        self._is_suspect = False
        self._circuit.close()
        log.info("mcp_server_connected", app_id=self.app_id, server=self._name, tools=len(self._tools.tools))

    def _lose(self, session: Session, reason: str) -> None:
        """Forget a session. The first loss after a good call is made good at once; from the second on it takes time."""
        if self._session is not session:
            return
        self._session = None
        self._losses += 1
        if self._losses > 1:
            self._circuit.fail(reason)
        chore = asyncio.create_task(session.close(), name="mcp-close")
        self._chores.add(chore)
        chore.add_done_callback(self._chores.discard)
        log.info("mcp_session_lost", app_id=self.app_id, server=self._name, reason=reason)

    async def _doubt(self, session: Session) -> None:
        """A server that did not answer a call in time still has to answer for its tools."""
        try:
            await self._tools.refresh(session, self._reader)
            self._is_suspect = False
        except ServerFault as fault:
            self._lose(session, str(fault))
            if not self._circuit.is_open:
                self._circuit.fail(str(fault))

    # Its tools

    async def _require(self, tool: str, session: Session, ends_at: float) -> None:
        if self._tools.misses(tool):
            await self._relist(session, ends_at)
        if tool not in self._tools.tools:
            raise ToolNotFound(f"The MCP server {self._name} has no tool '{tool[:100]}'.")

    async def _relist(self, session: Session, ends_at: float) -> None:
        try:
            async with asyncio.timeout_at(ends_at):
                await self._tools.refresh(session, self._reader)
        except TimeoutError:
            raise DeadlineExceeded(f"The MCP server {self._name} did not list its tools in time.") from None
        except ServerFault as fault:
            self._lose(session, str(fault))
            raise self._away(str(fault)) from None

    # Calls

    async def _send(
        self, session: Session, tool: str, arguments: JsonObject, context: ToolContext, ends_at: float
    ) -> CallToolResult:
        full_name, trace = self.spec.prefix + tool, context.trace_headers()
        outgoing = Outgoing(ends_at=ends_at, headers=trace, was_sent=self.spec.url is None)
        token = OUTGOING.set(outgoing)
        try:
            async with asyncio.timeout_at(ends_at), self._slots:
                return await session.call_tool(tool, arguments, meta=context.call_meta(trace))
        except TimeoutError:
            self._is_suspect = True
            raise DeadlineExceeded(f"{full_name} did not answer in time.") from None
        except MCPError as error:
            if error.code == CONNECTION_CLOSED and outgoing.status is None:
                outgoing.fault = outgoing.fault or await session.end()
            meant = meaning_of(error, outgoing, tool=full_name, is_stateful=session.is_stateful, reader=self._reader)
            if isinstance(meant, ToolFailed):
                self._answered()
            if isinstance(meant, ServerFault) and not isinstance(meant, SessionLost):
                raise self._away(str(meant)) from None
            raise meant from None
        except (ValueError, RuntimeError):
            raise ToolResultInvalid(f"{full_name} answered with what is no result of a tool.") from None
        finally:
            OUTGOING.reset(token)

    def _answered(self) -> None:
        self._losses = 0
        self._circuit.succeed()

    @property
    def _name(self) -> str:
        return f"{self.spec.namespace}.{self.spec.name}"

    def _away(self, reason: str) -> McpServerUnavailable:
        retry_after_s = self._circuit.retry_after_s
        return McpServerUnavailable(
            f"The MCP server {self._name} cannot be used: {reason}.",
            details={"server": self._name, "retryAfterS": round(retry_after_s, 1)},
            retry_after_s=retry_after_s,
        )

"""ToolList: what a server says that it has, kept until it is old."""

import asyncio

from mcp.shared.exceptions import MCPError
from mcp_types import METHOD_NOT_FOUND

from uhlp.clock import Clock
from uhlp.tools.gateway.config import McpSettings
from uhlp.tools.gateway.faults import ServerFault
from uhlp.tools.gateway.outgoing import OUTGOING, Outgoing
from uhlp.tools.gateway.results import ResultReader
from uhlp.tools.gateway.session import Session
from uhlp.tools.tool import JsonObject

_MISSED_EVERY_S = 1.0
"""Calls for a tool that is not in the list may have it asked for this often."""


class ToolList:
    """The tools by their own names; each is described under its full name, which begins with `prefix`."""

    def __init__(self, *, prefix: str, settings: McpSettings, clock: Clock) -> None:
        self.tools: dict[str, JsonObject] = {}
        self._prefix = prefix
        self._settings = settings
        self._clock = clock
        self._is_old = True
        self._asked_at = 0.0
        self._asking = asyncio.Lock()

    def outdate(self) -> None:
        """The server has said that its tools are others now."""
        self._is_old = True

    @property
    def is_old(self) -> bool:
        return self._is_old or self._age_s > self._settings.list_ttl_s

    def misses(self, tool: str) -> bool:
        """Whether the tool is unknown, and may have come since the server was asked."""
        return tool not in self.tools and (self._is_old or self._age_s >= _MISSED_EVERY_S)

    async def refresh(self, session: Session, reader: ResultReader) -> None:
        """Ask for the list, unless somebody else has done so meanwhile. Raises ServerFault; then it stays as it is."""
        asked_at = self._asked_at
        async with self._asking:
            if self._asked_at != asked_at and not self._is_old:
                return
            self._is_old = False  # before asking: what changes meanwhile makes it old again
            try:
                self.tools = await self._read(session, reader)
            except BaseException:  # whoever asked had no more time, or the server did not answer
                self._is_old = True
                raise
            self._asked_at = self._clock.monotonic()

    @property
    def _age_s(self) -> float:
        return self._clock.monotonic() - self._asked_at

    async def _read(self, session: Session, reader: ResultReader) -> dict[str, JsonObject]:
        outgoing = Outgoing(ends_at=asyncio.get_running_loop().time() + self._settings.list_timeout_s)
        token = OUTGOING.set(outgoing)
        try:
            async with asyncio.timeout_at(outgoing.ends_at):
                listed = await session.list_tools(most=self._settings.max_tools)
        except MCPError as error:
            fault = outgoing.fault or outgoing.unreadable
            if error.code == METHOD_NOT_FOUND and fault is None:
                return {}
            raise ServerFault(fault or f"it does not list its tools (code {error.code})") from None
        except TimeoutError:
            raise ServerFault("it did not list its tools in time") from None
        except (ValueError, RuntimeError):
            raise ServerFault("it does not list its tools as MCP says") from None
        finally:
            OUTGOING.reset(token)
        return reader.tools(self._prefix, listed)

"""McpEndpoint: an MCP server over streamable HTTP, stateless, answers as JSON; the official SDK under ASGI.

It knows no tools itself: whoever lets a request in says whose tools it reaches, in `scope["mcp_caller"]`. Importing
this takes half a second, so edges import it when the first request comes.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, CallToolRequestParams, CallToolResult, ListToolsResult, PaginatedRequestParams
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from uhlp.errors import InternalError, ToolNotFound, UhlpError
from uhlp.tools.mcp_caller import CALLER, MESSAGE, McpCaller, structured
from uhlp.tools.mcp_exchange import Exchanges
from uhlp.version import own_version

_ANY_SIZE = 2**40
"""Whoever let the request in has bounded its body."""

log = structlog.get_logger(__name__)


class McpEndpoint:
    """ASGI application for POST requests whose scope holds an McpCaller and the body's value; whatever could not be let
    in or read was refused before."""

    def __init__(self, *, name: str, instructions: str) -> None:
        server = Server[Any](
            name,
            version=own_version(),
            instructions=instructions,
            on_list_tools=_list_tools,
            on_call_tool=_call_tool,
            get_tool_input_schema=lambda tool: None,  # no schema of ours asks for Mcp-Param headers
        )
        server.middleware.clear()  # spans are the router's; this one costs its time even where nobody collects them
        self._exchanges = Exchanges(server)
        self._manager = StreamableHTTPSessionManager(
            server, json_response=True, stateless=True, max_request_body_size=_ANY_SIZE
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        message = scope[MESSAGE]
        version = self._exchanges.version_of(message, request)
        if version is None:
            await self._manager.handle_request(scope, receive, send)
        else:
            await self._exchanges.serve(message, version, request, send)


@asynccontextmanager
async def open_endpoint(*, name: str, instructions: str) -> AsyncIterator[McpEndpoint]:
    """An endpoint, until the context is left: from any task, as lanes are built by their first request."""
    endpoint = McpEndpoint(name=name, instructions=instructions)
    is_open, is_over = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        try:
            async with endpoint._manager.run():  # its task group wants to be left by the task that entered it
                is_open.set()
                await is_over.wait()
        finally:
            is_open.set()

    holding = asyncio.create_task(hold())
    await is_open.wait()
    if holding.done():
        await holding
    try:
        yield endpoint
    finally:
        is_over.set()
        await holding


async def _list_tools(ctx: ServerRequestContext[Any, Any], params: PaginatedRequestParams | None) -> ListToolsResult:
    return ListToolsResult.model_validate({"tools": await _caller(ctx).list_tools()})


async def _call_tool(ctx: ServerRequestContext[Any, Any], params: CallToolRequestParams) -> CallToolResult:
    caller = _caller(ctx)
    try:
        return CallToolResult.model_validate(await caller.call_tool(params.name, params.arguments or {}))
    except ToolNotFound as error:
        raise MCPError(INVALID_PARAMS, error.message) from None
    except UhlpError as error:
        return _failed(error, caller)
    except Exception:
        log.exception("mcp_call_failed", tool=params.name[:100], trace_id=caller.trace_id)
        return _failed(InternalError(), caller)


def _failed(error: UhlpError, caller: McpCaller) -> CallToolResult:
    told = structured(error.envelope(caller.trace_id), error.message)
    return CallToolResult.model_validate({**told, "isError": True})


def _caller(ctx: ServerRequestContext[Any, Any]) -> McpCaller:
    caller: McpCaller = ctx.request.scope[CALLER]  # type: ignore[union-attr]  # over HTTP there always is a request
    return caller

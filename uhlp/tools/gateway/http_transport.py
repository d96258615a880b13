"""HTTP to MCP servers: addresses checked before they are dialled, answers bounded, nothing followed."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
from mcp.client._transport import TransportStreams
from mcp.client.streamable_http import streamable_http_client

from uhlp.access.address_guard import AddressGuard, AddressRefused
from uhlp.tools.gateway.bounded_stream import BoundedStream
from uhlp.tools.gateway.config import McpSettings
from uhlp.tools.gateway.faults import ServerFault
from uhlp.tools.gateway.message_bounds import beyond_bounds
from uhlp.tools.gateway.outgoing import OUTGOING, Outgoing

_CONTROL_S = 2.0
"""For what nobody waits for: notifications, answers to a server's own questions, the end of a session."""


class _Unreadable(ServerFault):
    """There is an answer, which is not read."""


class BoundedTransport(httpx2.AsyncBaseTransport):
    """Stands between the SDK and the network.

    A request that cannot be sent or read becomes an answer with status 502: an exception here would end the session
    of every other call. `Outgoing` says what it was.
    """

    def __init__(self, inner: httpx2.AsyncBaseTransport, *, guard: AddressGuard, is_shared: bool, most: int) -> None:
        self._inner = inner
        self._guard = guard
        self._is_shared = is_shared
        self._most_bytes = most

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        soon = asyncio.get_running_loop().time() + _CONTROL_S
        outgoing = OUTGOING.get() or Outgoing(ends_at=soon)
        ends_at = outgoing.ends_at if _is_waited_for(request) else soon
        request.headers.update(outgoing.headers)
        request.headers["accept-encoding"] = "identity"
        try:
            async with asyncio.timeout_at(ends_at):
                return await self._answer(request, outgoing, ends_at)
        except _Unreadable as fault:
            outgoing.unreadable = str(fault)
        except ServerFault as fault:
            outgoing.fault = str(fault)
        except TimeoutError:
            outgoing.fault = "it did not answer in time"
        except httpx2.TransportError as error:
            outgoing.fault = f"the connection failed ({type(error).__name__})"
        return httpx2.Response(502, request=request)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def _answer(self, request: httpx2.Request, outgoing: Outgoing, ends_at: float | None) -> httpx2.Response:
        response = await self._dialled(request, outgoing)
        outgoing.status = response.status_code
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            raise _Unreadable("it compresses its answer, which nobody asked for")
        if response.headers.get("content-type", "").lower().startswith("text/event-stream"):
            assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101  narrows the type
            bounded = BoundedStream(response.stream, outgoing, most_bytes=self._most_bytes, ends_at=ends_at)
            return httpx2.Response(
                response.status_code, headers=response.headers, stream=bounded, extensions=response.extensions
            )
        try:
            content = bytearray()
            async for chunk in response.aiter_raw():
                content += chunk
                if len(content) > self._most_bytes:
                    raise _Unreadable(f"its answer is larger than {self._most_bytes} bytes (mcp.max_message_bytes)")
        finally:
            await response.aclose()
        if fault := beyond_bounds(content):
            raise _Unreadable(fault)
        headers = [(name, value) for name, value in response.headers.raw if name.lower() not in (b"content-length",)]
        return httpx2.Response(response.status_code, headers=headers, content=bytes(content))

    async def _dialled(self, request: httpx2.Request, outgoing: Outgoing) -> httpx2.Response:
        """Send to the first address that takes the connection."""
        url, host = request.url, request.url.host
        port = url.port or (443 if url.scheme == "https" else 80)
        refused: httpx2.TransportError | None = None
        request.extensions = {**request.extensions, "sni_hostname": host}
        try:
            addresses = await self._guard.addresses(host, port, is_shared=self._is_shared)
        except AddressRefused as reason:
            raise ServerFault(str(reason)) from None
        for address in addresses:
            request.url = url.copy_with(host=address)
            had_been_sent, outgoing.was_sent = outgoing.was_sent, True
            try:
                return await self._inner.handle_async_request(request)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                outgoing.was_sent = had_been_sent
                refused = error
            finally:
                request.url = url
        raise refused or ServerFault(f"{host} cannot be reached")


def _is_waited_for(request: httpx2.Request) -> bool:
    """Whether it is a JSON-RPC request, or the stream that a server speaks on unasked."""
    if request.method == "GET":
        return True
    beginning = request.content[:300] if request.method == "POST" else b""
    return b'"id":' in beginning and b'"method":' in beginning


@asynccontextmanager
async def http_streams(
    url: str,
    headers: dict[str, str],
    *,
    guard: AddressGuard,
    is_shared: bool,
    tls: ssl.SSLContext,
    settings: McpSettings,
) -> AsyncIterator[TransportStreams]:
    """The streams of an MCP server at `url`. Nothing is sent before the first message."""
    most = settings.max_message_bytes
    inner = httpx2.AsyncHTTPTransport(
        verify=tls,
        trust_env=False,
        limits=httpx2.Limits(max_connections=settings.concurrent_calls + 8, keepalive_expiry=30.0),
    )
    transport = BoundedTransport(inner, guard=guard, is_shared=is_shared, most=most)
    timeout = httpx2.Timeout(None, connect=settings.connect_timeout_s)
    async with (
        httpx2.AsyncClient(
            transport=transport, headers=headers, timeout=timeout, trust_env=False, max_redirects=0
        ) as client,
        streamable_http_client(url, http_client=client, max_sse_event_size=most) as streams,
    ):
        yield streams

"""One request and its answer, straight through the SDK's kernel.

For clients of protocols before 2026-07-28 the SDK makes tasks and streams for every request, which take three quarters
of its time; without sessions nothing goes through them but one request and one answer. This serves what is beyond doubt
such a request, as the SDK itself serves those of the newer protocol; all else is left to the SDK's own transport.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
import structlog
from mcp.server.connection import Connection
from mcp.server.lowlevel import Server
from mcp.server.runner import serve_one
from mcp.server.streamable_http import check_accept_headers
from mcp.shared.dispatcher import CallOptions
from mcp.shared.exceptions import NoBackChannelError
from mcp.shared.jsonrpc_dispatcher import handler_exception_to_error_data
from mcp.shared.message import ServerMessageMetadata
from mcp.shared.transport_context import TransportContext
from mcp_types import DEFAULT_NEGOTIATED_VERSION, INTERNAL_ERROR, ErrorData
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.requests import Request
from starlette.types import Send

from uhlp import strict_json
from uhlp.tools.tool import JsonObject

_METHODS = frozenset({"tools/call", "tools/list", "ping"})

log = structlog.get_logger(__name__)


class Exchanges:
    """Answers the requests that it `serves`."""

    def __init__(self, server: Server[Any]) -> None:
        self._server = server

    def version_of(self, message: Any, request: Request) -> str | None:
        """The protocol of a message that can be served here; None for every other."""
        headers = request.headers
        version = headers.get("mcp-protocol-version", DEFAULT_NEGOTIATED_VERSION)
        is_plain = (
            isinstance(message, dict)
            and message.get("jsonrpc") == "2.0"
            and type(message.get("id")) in (str, int)
            and message.get("method") in _METHODS
            and isinstance(message.get("params", {}), dict)
            and message.keys() <= {"jsonrpc", "id", "method", "params"}
            and version in HANDSHAKE_PROTOCOL_VERSIONS
            and headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"
            and check_accept_headers(request)[0]
        )
        return version if is_plain else None

    async def serve(self, message: JsonObject, version: str, request: Request, send: Send) -> None:
        """Send the answer to one request."""
        body = strict_json.dumps(
            {"jsonrpc": "2.0", "id": message["id"], **await self._outcome(message, version, request)}
        )
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _outcome(self, message: JsonObject, version: str, request: Request) -> JsonObject:
        exchange = _Exchange(
            transport=TransportContext(kind="streamable-http", can_send_request=False, headers=request.headers),
            request_id=message["id"],
            message_metadata=ServerMessageMetadata(request_context=request),
        )
        try:
            result = await serve_one(
                self._server,
                exchange,
                message["method"],
                message.get("params"),
                connection=Connection.from_envelope(version, None, None),
                lifespan_state={},
            )
        except Exception as error:
            told = handler_exception_to_error_data(error)
            if told is None:
                log.exception("mcp_exchange_failed", method=message["method"])
                told = ErrorData(code=INTERNAL_ERROR, message="Internal error")
            return {"error": told.model_dump(mode="json", exclude_none=True)}
        return {"result": result}


@dataclass(slots=True)
class _Exchange:
    """The SDK's view of one request: there is no way back to the client but its answer."""

    transport: TransportContext
    request_id: str | int
    message_metadata: ServerMessageMetadata
    cancel_requested: anyio.Event = field(default_factory=anyio.Event)
    can_send_request: bool = False

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> dict[str, Any]:
        raise NoBackChannelError(method)

    async def notify(self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None) -> None:
        """Nobody can be told before the answer."""

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """Nobody can be told before the answer."""

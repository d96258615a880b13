"""The documentation's lane: GET /docs/uhlp and its pages, for anyone. They hold nothing of this server's own."""

import asyncio
from base64 import b64encode
from hashlib import sha256
from importlib import import_module

from starlette.types import Receive, Scope, Send

from uhlp.errors import MethodNotAllowed, NotFound, UhlpError
from uhlp.tracing.trace_context import trace_id_of
from uhlp.web.answers import Headers, error_response

DOCUMENTATION = "/docs/uhlp"


def is_documentation(path: str) -> bool:
    return path == DOCUMENTATION or path.startswith(DOCUMENTATION + "/")


class DocumentationLane:
    """ASGI application. Pages are made once, by the first request that wants one."""

    def __init__(self) -> None:
        self._making = asyncio.Lock()
        self._pages: dict[str, bytes] = {}
        self._headers: Headers = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            status, headers, body = 200, self._headers, await self._page(scope["method"], scope["path"])
            headers = [*self._headers, (b"content-length", b"%d" % len(body))]
        except UhlpError as error:
            trace_id = trace_id_of(dict(scope["headers"]).get(b"traceparent"))
            status, headers, body = error_response(error, trace_id)
            headers = [*headers, *_walls(b"default-src 'none'; frame-ancestors 'none'")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _page(self, method: str, path: str) -> bytes:
        """Raises MethodNotAllowed, NotFound."""
        if method not in ("GET", "HEAD"):
            raise MethodNotAllowed(details={"allow": ["GET", "HEAD"]})
        async with self._making:
            if not self._pages:
                await self._make()
        name = path.removeprefix(DOCUMENTATION).strip("/") or "index"
        page = self._pages.get(name)
        if page is None:
            raise NotFound(f"The documentation has no page of this name; {DOCUMENTATION} lists them.")
        return page

    async def _make(self) -> None:
        pages = await asyncio.to_thread(import_module, "uhlp.web.documentation.pages")
        style = b64encode(sha256(pages.STYLE.encode()).digest())
        self._headers = [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"cache-control", b"no-cache"),
            *_walls(b"default-src 'none'; style-src 'sha256-%s'; frame-ancestors 'none'" % style),
        ]
        self._pages = await asyncio.to_thread(pages.html_pages)


def _walls(policy: bytes) -> Headers:
    return [
        (b"content-security-policy", policy),
        (b"x-content-type-options", b"nosniff"),
        (b"x-frame-options", b"DENY"),
        (b"referrer-policy", b"no-referrer"),
    ]

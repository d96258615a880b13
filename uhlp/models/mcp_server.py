"""McpServerDefinition: an MCP server that an application uses (contracts §2, `mcpServers`)."""

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from uhlp.models.wire import WireModel

ServerName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,62}$")]
"""No dots: in `app.<server>.<tool>` they end the server's name."""

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]{0,4096}")
_NOT_THE_OWNERS = re.compile(
    r"host|connection|content-.*|transfer-encoding|te|trailer|upgrade|expect|keep-alive|proxy-.*|accept|"
    r"accept-encoding|mcp-.*|last-event-id|traceparent|tracestate",
    re.IGNORECASE,
)
_HOLDS_A_SECRET = re.compile(r"authorization|token|key|secret|cookie", re.IGNORECASE)


def _address(url: str) -> str:
    try:
        parts = urlsplit(url)
        has_place = bool(parts.hostname) and parts.port != 0
    except ValueError:
        has_place = False
    if not has_place or parts.scheme not in ("http", "https") or not url.isascii() or not url.isprintable():
        raise ValueError("url is the address of an MCP server, https://host/path or http://host/path")
    if parts.username is not None or parts.password is not None:
        raise ValueError("url holds credentials: write them as a header, secret:NAME")
    if parts.fragment or " " in url:
        raise ValueError("url has a fragment or a space")
    return url


def _sendable(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"{name[:40]!r} is not the name of a header")
        if _NOT_THE_OWNERS.fullmatch(name):
            raise ValueError(f"the header {name} is set by UHLP")
        if not _HEADER_VALUE.fullmatch(value):
            raise ValueError(f"the value of {name} is not printable ASCII of at most 4096 characters")
        if _HOLDS_A_SECRET.search(name) and "secret:" not in value:
            raise ValueError(f"{name} must be a reference, secret:NAME")
    return headers


ServerUrl = Annotated[str, Field(max_length=2048), AfterValidator(_address)]
Headers = Annotated[dict[str, str], Field(max_length=32), AfterValidator(_sendable)]
"""Values may hold `secret:NAME` anywhere: `Bearer secret:CRM_TOKEN`."""


class McpServerDefinition(WireModel):
    """`url` and `headers`: a server of the application's own, its tools are `app.<name>.*`. `ref`: one that the
    operator named in the settings (`mcp.servers.<ref>`), its tools are `community.<name>.*`."""

    url: ServerUrl | None = None
    headers: Headers = {}
    ref: ServerName | None = None

    @model_validator(mode="after")
    def _is_one_of_both(self) -> "McpServerDefinition":
        if (self.url is None) == (self.ref is None):
            raise ValueError("an MCP server has a url, or the ref of one in the settings (mcp.servers)")
        if self.ref is not None and self.headers:
            raise ValueError("headers belong to a url; those of a ref stand in the settings")
        return self

    @property
    def namespace(self) -> str:
        """The first part of its tools' names."""
        return "app" if self.ref is None else "community"

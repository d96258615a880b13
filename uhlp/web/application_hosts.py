"""ApplicationHosts: `http://{appId}.<base domain>/{path}` is `/apps/{appId}/{path}` (contracts §7).

An application's host reaches that application and nothing else: no panel, administration or metrics, whatever path or
header is sent. So a page of an application shares no origin with them, and may do on its own what it may not on theirs.
"""

import re
from typing import Any

from starlette.types import Scope

from uhlp.errors import AppNotFound, BadInput

OWN_HOST = "uhlp.own_host"
"""Set in the scope of a request that came by its application's own host."""

_PORT = re.compile(r":[0-9]{0,5}\Z")
_NAME = re.compile(r"[a-z0-9._-]+\Z")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")


class ApplicationHosts:
    """Reads the Host header alone: what a proxy forwards beside it (`X-Forwarded-Host`), anybody can send."""

    def __init__(self, base_domain: str) -> None:
        self._domain = base_domain
        self._suffix = "." + base_domain

    def routed(self, scope: Scope) -> Scope:
        """The scope as it came, or as the same request to `/apps/{appId}/…` where its Host is an application's.

        Raises AppNotFound for what no application can be called, such as `a.b.<base domain>`, and BadInput for a Host
        that is none.
        """
        host = next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1").lower()
        if self._domain not in host:
            return scope
        name = _PORT.sub("", host).removesuffix(".")
        if name == self._domain:
            return scope
        if not name.endswith(self._suffix):
            is_of_domain = name.partition(":")[0].rstrip(".").endswith(self._suffix)
            if is_of_domain or not _NAME.match(
                name
            ):  # `shop.example.com:x`, `shop.example.com..`, `shop.example.com, x`
                raise BadInput("The Host header is not a host and a port.")
            return scope
        label = name.removesuffix(self._suffix)
        if not _LABEL.match(label):
            raise AppNotFound
        return {**scope, **_below(label, scope), OWN_HOST: True}


def _below(app_id: str, scope: Scope) -> dict[str, Any]:
    path, raw_path = scope["path"], scope.get("raw_path") or scope["path"].encode("latin-1", "replace")
    slash = "" if path.startswith("/") else "/"
    return {"path": f"/apps/{app_id}{slash}{path}", "raw_path": f"/apps/{app_id}{slash}".encode() + raw_path}

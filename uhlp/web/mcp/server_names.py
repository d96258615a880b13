"""ServerNames: the names under which this server may be spoken to over MCP, and the pages that may do so.

A page in a browser can make its own host's name lead to this machine (DNS rebinding), and so reach what listens here.
It cannot make up a Host that is an address, and it cannot leave out its Origin.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from uhlp.errors import PermissionDenied

if TYPE_CHECKING:
    from uhlp.web.services import Services


class ServerNames:
    """Good are addresses, `localhost`, `hosts` and names below them that begin with a dot; pages of the server itself
    and of `origins`."""

    def __init__(self, *, hosts: Iterable[str], origins: Iterable[str]) -> None:
        names = [name.lower() for name in hosts]
        self._names = frozenset({"localhost", *(name for name in names if not name.startswith("."))})
        self._below = tuple(name for name in names if name.startswith("."))
        self._origins = frozenset(origin.lower() for origin in origins)
        self._is_own = lru_cache(maxsize=64)(self._is_own_uncached)

    @classmethod
    def of(cls, services: "Services") -> Self:
        """The names in the settings, and those that a base domain gives."""
        domain = services.base_domain
        own = () if domain is None else (domain, f".{domain}")
        return cls(hosts=(*services.settings.mcp_hosts, *own), origins=services.settings.mcp_origins)

    def check(self, headers: Mapping[bytes, bytes]) -> None:
        """Returns for a request that may be answered; PermissionDenied says what to set."""
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if not self._is_own(host):
            raise PermissionDenied(f"{host[:200]!r} is no name of this server; limits.mcp_hosts holds its names.")
        origin = headers.get(b"origin")
        if origin is None:
            return
        page = origin.decode("latin-1").lower()
        if urlsplit(page).netloc != host and page not in self._origins:
            raise PermissionDenied(
                f"Pages of {page[:200]!r} may not call here: limits.mcp_origins holds those that may"
            )

    def _is_own_uncached(self, host: str) -> bool:
        name = _hostname(f"//{host}")
        return name in self._names or name.endswith(self._below) or _is_address(name)


def _hostname(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True

"""AddressGuard: which addresses an application's definition may make this server speak to.

Definitions are written by an application's owner, who is not the operator of the machine: a name in one must not reach
what listens here, or in the network behind, unless a setting says so.
"""

import asyncio
import socket
from collections.abc import Sequence
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from uhlp.clock import Clock
from uhlp.tools.gateway.config import McpSettings
from uhlp.tools.gateway.faults import ServerFault

Address = IPv4Address | IPv6Address

_NEVER = tuple(
    map(ip_network, ("169.254.0.0/16", "fe80::/10", "0.0.0.0/8", "::/128", "fd00:ec2::/32", "100.100.100.200/32"))
)
"""Link-local, "any", and where clouds keep metadata and credentials of the machine. Nobody may name them."""

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_KNOWN_FOR_S = 30.0


class AddressGuard:
    """Resolves hosts and refuses what may not be reached. The address that was checked is the one that is dialled."""

    def __init__(self, *, settings: McpSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._known: dict[tuple[str, int, bool], tuple[float, tuple[str, ...]]] = {}

    async def addresses(self, host: str, port: int, *, is_shared: bool) -> tuple[str, ...]:
        """The addresses of `host` that may be dialled, at least one. `is_shared`: the operator chose the host.

        Raises ServerFault when the host is refused, or has no address.
        """
        key, now = (host, port, is_shared), self._clock.monotonic()
        known = self._known.get(key)
        if known is not None and now < known[0]:
            return known[1]
        if not is_shared and _is_listed(self._settings.deny_hosts, host, port, None):
            raise ServerFault(f"the host {host} is refused by this server (mcp.deny_hosts)")
        found = await _resolved(host, port)
        good = tuple(str(one) for one in found if self._refusal(host, port, one, is_shared) is None)
        if not good:
            raise ServerFault(self._refusal(host, port, found[0], is_shared) or f"{host} cannot be reached")
        self._known = {one: kept for one, kept in self._known.items() if now < kept[0]}
        self._known[key] = (now + _KNOWN_FOR_S, good)
        return good

    def _refusal(self, host: str, port: int, address: Address, is_shared: bool) -> str | None:
        address = _unwrapped(address)
        if any(address in network for network in _NEVER) or address.is_multicast:
            return f"{host} has a link-local, multicast or reserved address, which nobody may name"
        if is_shared:
            return None
        if _is_listed(self._settings.deny_hosts, host, port, address):
            return f"the host {host} is refused by this server (mcp.deny_hosts)"
        if _is_listed(self._settings.allow_hosts, host, port, address):
            return None
        if not self._settings.public_hosts:
            return f"the host {host} is none of those that this server allows (mcp.allow_hosts)"
        if not _is_public(address):
            return f"{host} is no public address: the operator can allow it (mcp.allow_hosts)"
        return None


async def _resolved(host: str, port: int) -> list[Address]:
    try:
        return [ip_address(host)]
    except ValueError:
        pass
    try:
        answers = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise ServerFault(f"the host {host} has no address") from None
    found = list(dict.fromkeys(ip_address(str(answer[4][0]).partition("%")[0]) for answer in answers))
    if not found:
        raise ServerFault(f"the host {host} has no address")
    return found


def _is_listed(entries: Sequence[str], host: str, port: int, address: Address | None) -> bool:
    name = host.lower().rstrip(".")
    spellings = (name, f"{name}:{port}")
    for entry in map(str.lower, entries):
        if any(fnmatchcase(one, entry) for one in spellings):
            return True
        if address is not None:
            try:
                if address in ip_network(entry):
                    return True
            except (ValueError, TypeError):
                continue
    return False


def _is_public(address: Address) -> bool:
    """By the registries, and of IPv6 only what is given out for unicast: the library calls site-local addresses, and
    the NAT64 of one's own network, global."""
    return address.is_global and (isinstance(address, IPv4Address) or address in _GLOBAL_UNICAST)


def _unwrapped(address: Address) -> Address:
    """The IPv4 address inside an IPv6 one that only carries it."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None) or address

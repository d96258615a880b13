"""AddressGuard: which addresses an application's definition may make this server speak to.

Definitions are written by an application's owner, who is not the operator of the machine: a name in one must not reach
what listens here, or in the network behind, unless a setting says so.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from pydantic import BaseModel

from uhlp.clock import Clock

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host; OSError or UnicodeError when it has none."""

_NEVER = tuple(
    map(ip_network, ("169.254.0.0/16", "fe80::/10", "0.0.0.0/8", "::/128", "fd00:ec2::/32", "100.100.100.200/32"))
)
"""Link-local, "any", and where clouds keep metadata and credentials of the machine. Nobody may name them."""

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_KNOWN_FOR_S = 30.0


class AddressRules(BaseModel):
    """Which hosts definitions may name."""

    allow_hosts: tuple[str, ...] = ()
    """Hosts that definitions may name although their address is not public: names (`*` matches within them), with a
    port (`127.0.0.1:8900`) or without, and networks (`10.1.0.0/16`). Addresses of this machine, of private networks and
    of neither are refused otherwise; link-local ones (a cloud's metadata service) always are."""

    deny_hosts: tuple[str, ...] = ()
    """Hosts and networks that no definition may name; it wins over `allow_hosts`."""

    public_hosts: bool = True
    """False: definitions may name the hosts of `allow_hosts` alone."""


class AddressRefused(Exception):
    """A host that may not be reached, or has no address; the text says why."""


async def ask_system(host: str, port: int) -> list[str]:
    """What the machine's own resolver says."""
    answers = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(answer[4][0]).partition("%")[0] for answer in answers]


class AddressGuard:
    """Resolves hosts and refuses what may not be reached. Whoever asks dials an address that it answered, and no other.

    `prefix` is where the settings have the rules.
    """

    def __init__(self, *, rules: AddressRules, prefix: str, clock: Clock, resolve: Resolve = ask_system) -> None:
        self._rules = rules
        self._prefix = prefix
        self._clock = clock
        self._resolve = resolve
        self._known: dict[tuple[str, int, bool], tuple[float, tuple[str, ...]]] = {}

    async def addresses(self, host: str, port: int, *, is_shared: bool) -> tuple[str, ...]:
        """The addresses of `host` that may be dialled, at least one. `is_shared`: the operator chose the host.

        Raises AddressRefused when the host is refused, or has no address.
        """
        key, now = (host, port, is_shared), self._clock.monotonic()
        known = self._known.get(key)
        if known is not None and now < known[0]:
            return known[1]
        if not is_shared and (reason := self.refusal_by_name(host, port)):
            raise AddressRefused(reason)
        found = await self._resolved(host, port)
        good = tuple(str(one) for one in found if self._refusal(host, port, one, is_shared) is None)
        if not good:
            raise AddressRefused(self._refusal(host, port, found[0], is_shared) or f"{host} cannot be reached")
        self._known = {one: kept for one, kept in self._known.items() if now < kept[0]}
        self._known[key] = (now + _KNOWN_FOR_S, good)
        return good

    def refusal_by_name(self, host: str, port: int) -> str | None:
        """Why a definition may not name `host`, as far as its name says it, without asking for its address."""
        if _is_listed(self._rules.deny_hosts, host, port, None):
            return self._denied(host)
        name = host.lower().rstrip(".")
        if name == "localhost" or name.endswith(".localhost"):
            return self._refusal(host, port, IPv4Address("127.0.0.1"), is_shared=False)
        try:
            address = ip_address(host)
        except ValueError:
            is_allowed = self._rules.public_hosts or _is_listed(self._rules.allow_hosts, host, port, None)
            return None if is_allowed or _has_addresses(self._rules.allow_hosts) else self._not_allowed(host)
        return self._refusal(host, port, address, is_shared=False)

    def _denied(self, host: str) -> str:
        return f"the host {host} is refused by this server ({self._prefix}.deny_hosts)"

    def _not_allowed(self, host: str) -> str:
        return f"the host {host} is none of those that this server allows ({self._prefix}.allow_hosts)"

    async def _resolved(self, host: str, port: int) -> list[Address]:
        try:
            return [ip_address(host)]
        except ValueError:
            pass
        try:
            found = [ip_address(one) for one in dict.fromkeys(await self._resolve(host, port))]
        except (OSError, UnicodeError):
            found = []
        if not found:
            raise AddressRefused(f"the host {host} has no address")
        return found

    def _refusal(self, host: str, port: int, address: Address, is_shared: bool) -> str | None:
        address = _unwrapped(address)
        if any(address in network for network in _NEVER) or address.is_multicast:
            return f"{host} has a link-local, multicast or reserved address, which nobody may name"
        if is_shared:
            return None
        if _is_listed(self._rules.deny_hosts, host, port, address):
            return self._denied(host)
        if _is_listed(self._rules.allow_hosts, host, port, address):
            return None
        if not self._rules.public_hosts:
            return self._not_allowed(host)
        if not _is_public(address):
            return f"{host} is no public address: the operator can allow it ({self._prefix}.allow_hosts)"
        return None


def _has_addresses(entries: Sequence[str]) -> bool:
    """Whether an entry may hold what a name turns out to mean."""
    for entry in entries:
        with suppress(ValueError):
            ip_network(entry)
            return True
    return False


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

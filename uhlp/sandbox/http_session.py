"""Connections to one worker that speaks HTTP, and how much of its talk they bear."""

import asyncio
import socket
from functools import partial
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

from uhlp.sandbox.driver import HttpAddress

KEEP_ALIVE_S = 1.0
"""Shorter than any usual server keeps an idle connection: a call must not be sent into one that is being closed."""

CONNECT_TIMEOUT_S = 5.0
RECEIVED_BYTES = 8 * 1024
"""What the kernel keeps unread of one connection (it doubles this), and so what one turn of the loop may have to parse:
a burst of interim answers or of one-byte chunks takes the parser a thousand times what a large chunk does."""

MAX_INTERIM_ANSWERS = 1_000
"""Of status 1xx before one answer: whoever sends more will send them for ever."""


def new_session(address: HttpAddress) -> aiohttp.ClientSession:
    """Connections with no limit of time but for connecting."""
    new_socket = address.new_socket

    def small_socket(found: tuple[Any, ...]) -> socket.socket:
        made = socket.socket(*found[:3]) if new_socket is None else new_socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVED_BYTES)
        return made

    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S, socket_factory=small_socket)
    made = partial(_Connection, loop=asyncio.get_running_loop())
    connector._factory = made  # type: ignore[assignment]  # the one place to say so; partial is invariant
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
        headers={"Authorization": f"Bearer {address.token}", "Accept-Encoding": "identity"},
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        read_bufsize=RECEIVED_BYTES,
    )


async def is_healthy(session: aiohttp.ClientSession, url: str, timeout_s: float) -> bool:
    """True when `GET <url>/healthz` answers 200 in time; the body is not read."""
    try:
        async with asyncio.timeout(timeout_s), session.get(f"{url}/healthz", allow_redirects=False) as response:
            return response.status == 200
    except (aiohttp.ClientError, OSError):
        return False


class EndlessInterimAnswers(aiohttp.ClientError):
    """More answers of status 1xx than any server has a use for; the connection is closed."""


class _Connection(ResponseHandler):
    """aiohttp passes over interim answers without end; this one breaks at `MAX_INTERIM_ANSWERS`."""

    _interim_answers = 0

    def feed_data(self, data: Any, size: int = 0) -> None:
        """An answer's head, as the parser found it: (message, payload)."""
        self._interim_answers = self._interim_answers + 1 if data[0].code < 200 else 0
        if self._interim_answers <= MAX_INTERIM_ANSWERS:
            super().feed_data(data, size)
        elif self.exception() is None:
            self.set_exception(EndlessInterimAnswers())
            if self.transport is not None:
                self.transport.close()  # its own `close` would take the exception back

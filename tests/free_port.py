"""A port for a server that is told which one to take."""

import secrets
import socket

_FIRST, _BEHIND = 10_000, 32_768


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, and that nobody gets who asks the kernel for any.

    Other tests ask it all the time, and seconds may pass before the server listens.
    """
    while True:
        port = _FIRST + secrets.randbelow(_BEHIND - _FIRST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port

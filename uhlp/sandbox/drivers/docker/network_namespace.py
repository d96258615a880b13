"""NetworkNamespace: a way into a container that has no network, for single sockets.

A socket belongs to the network namespace of the thread that makes it, for life. So a short-lived thread enters the
container's namespace, makes one TCP socket and ends; this process then connects with it to the container's 127.0.0.1.
Nothing inside gets a way out: there is no interface, no route, no address of this machine.
"""

import ctypes
import os
import socket
import threading
from typing import Self

_CLONE_NEWNET = 0x40000000
_OWN = "/proc/thread-self/ns/net"


class NetworkNamespace:
    """Opened once for each container and closed with it; sockets made before stay as they are."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def open(cls, path: str) -> Self:
        """By the file that stands for it (the engine's SandboxKey). Raises OSError; PermissionError without rights."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        namespace = cls(descriptor)
        try:
            namespace.new_socket().close()
        except OSError:
            namespace.close()
            raise
        return namespace

    @classmethod
    def may_enter(cls) -> bool:
        """True when this process may enter the namespaces of this machine's containers (root, or CAP_SYS_ADMIN)."""
        try:
            cls.open(_OWN).close()
        except OSError:
            return False
        return True

    def new_socket(self) -> socket.socket:
        """A TCP socket inside. Takes about 0.1 ms, on a thread of its own, so that nothing else here moves with it."""
        made: list[socket.socket | OSError] = []
        thread = threading.Thread(target=self._make, args=(made,), name="uhlp-netns")
        thread.start()
        thread.join()
        if isinstance(made[0], OSError):
            raise made[0]
        return made[0]

    def close(self) -> None:
        """Safe to repeat."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _make(self, made: list[socket.socket | OSError]) -> None:
        libc = ctypes.CDLL(None, use_errno=True)  # os.setns came with Python 3.12
        try:
            if libc.setns(self._descriptor, _CLONE_NEWNET) != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
            made.append(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        except OSError as error:
            made.append(error)

"""DialHome: the socket that one container dials, made before it starts and gone once it has.

Its folder is bind-mounted into the container and lies in a folder that only this server's user can enter. It is bound
through the folder's descriptor, so the length of the data directory's path does not matter.
"""

import asyncio
import contextlib
import os
import shutil
import socket
import struct
from pathlib import Path

from uhlp.sandbox.drivers.docker.container import DIAL_NAME

_CREDENTIALS = struct.Struct("3i")


class DialHome:
    """Accepts once; close it whatever happened. Raises OSError where this file system holds no sockets."""

    def __init__(self, root: Path, name: str) -> None:
        root.mkdir(mode=0o700, exist_ok=True)
        self.folder = root / name
        self.folder.mkdir()
        self.folder.chmod(0o755)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._listener.setblocking(False)
            _bind(self._listener, self.folder)
            self._listener.listen(1)
        except OSError:
            self.close()
            raise

    async def accept(self) -> tuple[socket.socket, int]:
        """The control socket and the process id of whoever dialed, as this machine counts."""
        connection, _ = await asyncio.get_running_loop().sock_accept(self._listener)
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        return connection, _CREDENTIALS.unpack(credentials)[0]

    def close(self) -> None:
        """Nobody dials any more. Safe to repeat."""
        self._listener.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _bind(listener: socket.socket, folder: Path) -> None:
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, descriptor)
        path = f"/proc/self/fd/{descriptor}/{DIAL_NAME}"
        listener.bind(path)
        Path(path).chmod(0o666)  # the container's user is nobody here

"""A user id of its own for every sandbox, when the server is root.

Applications that share a user share its process limit, and a fork bomb of one would starve the other. The ids come
from a range that no distribution gives to anybody; a server picks a block in it by its data directory.
"""

import os
import zlib
from pathlib import Path

from uhlp.errors import SandboxDied

_BLOCK = 1000
# (first, number of blocks): 1879048192 to 2147483647 is unused by convention; the second serves inside containers
# whose user namespace maps 65,536 ids (systemd's range for dynamic users).
_RANGES = ((1_879_100_000, 1000), (61_184, 4))


class Identities:
    """The free user ids; `take` gives None where processes cannot change their user."""

    def __init__(self, seed: str) -> None:
        self._first = _first_uid(seed) if os.geteuid() == 0 else None
        self._taken: set[int] = set()

    @property
    def is_available(self) -> bool:
        return self._first is not None

    def take(self) -> int | None:
        """The lowest free id of our block; raises SandboxDied when all are taken: nothing ever runs as root instead."""
        if self._first is None:
            return None
        for uid in range(self._first, self._first + _BLOCK):
            if uid not in self._taken:
                self._taken.add(uid)
                return uid
        raise SandboxDied(f"No sandbox can start: all {_BLOCK} user ids for sandboxes are in use.")

    def give_back(self, uid: int | None) -> None:
        if uid is not None:
            self._taken.discard(uid)


def _first_uid(seed: str) -> int | None:
    mapped = [tuple(map(int, line.split())) for line in Path("/proc/self/uid_map").read_text().splitlines()]
    for first, blocks in _RANGES:
        if any(inside <= first and first + blocks * _BLOCK <= inside + count for inside, _, count in mapped):
            return first + zlib.crc32(seed.encode()) % blocks * _BLOCK
    return None

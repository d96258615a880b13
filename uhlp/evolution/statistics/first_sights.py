"""First sights: which units (sessions, users, inputs) have been seen, in fixed memory."""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Self
from zlib import compress, decompress

_SALT = b"uhlp-first-sight"  # another hash than the one that assigns arms: who is left out must not depend on the arm
_BITS = 1 << 17


class FirstSights:
    """A table of bits, one a unit: 16 KiB, O(1).

    Routing gives a unit the same arm every time, so its second request is no second draw: one slow document read 50
    times is one slow document, not 50 bad events in one arm. Two units with the same bit count as one, whatever their
    arms, so collisions cost data and never bias: one unit in ten after 13,000 units, half after 90,000.
    """

    def __init__(self) -> None:
        self._bits = bytearray(_BITS // 8)

    def is_first(self, unit: str) -> bool:
        """Whether this unit is seen for the first time; from now on it is not."""
        place = int.from_bytes(blake2b(unit.encode(), digest_size=8, person=_SALT).digest()) % _BITS
        byte, bit = place >> 3, 1 << (place & 7)
        if self._bits[byte] & bit:
            return False
        self._bits[byte] |= bit
        return True

    def to_dict(self) -> dict[str, Any]:
        """The table, packed: some bytes when few were seen, 22 kB at most."""
        return {"bits": b64encode(compress(bytes(self._bits), 1)).decode()}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """The table that `to_dict` described."""
        sights = cls()
        sights._bits = bytearray(decompress(b64decode(state["bits"])))
        return sights

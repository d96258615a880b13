"""TRAIN and HELD-OUT: a fixed hash of the input decides, so that an input is always on the same side.

The coder may see TRAIN; HELD-OUT it never may. Canary shares hash with other salts.
"""

import hashlib
from typing import Any, Literal

from uhlp import strict_json

Split = Literal["train", "held_out"]

SALT = "uhlp-train-split-v1"


def input_hash(value: Any, *, salt: str = SALT) -> str:
    """Hex SHA-256 of the canonical input: 1.0 and 1, and keys in any order, are the same input."""
    return hashlib.sha256(salt.encode() + b"\0" + strict_json.canonical(value)).hexdigest()


def split_of(hashed: str) -> Split:
    """The half that an input with this `input_hash` belongs to."""
    return "train" if int(hashed[:8], 16) < 2**31 else "held_out"

"""Hashes of API keys, hidden in a definition's text from those who may not write it."""

import re

HIDDEN_HASH = "$argon2id$hidden"
"""Stands where a hash stood. It is none, so a definition that holds it is refused and destroys no key."""

_HASH = re.compile(r"\$argon2(?:id|i|d)\$[\w+/=,.$-]+")


def without_hashes(text: str) -> str:
    """`text` (a file of a definition, or a diff of some) with `HIDDEN_HASH` for every hash."""
    return _HASH.sub(HIDDEN_HASH, text)

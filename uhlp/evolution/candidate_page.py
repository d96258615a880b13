"""CandidatePage: some of the candidates, as people see them."""

from dataclasses import dataclass
from typing import Any

import orjson

MOST = 1_000
"""That can be asked for at a time."""
USUAL = 100


@dataclass(frozen=True, slots=True)
class CandidatePage:
    """Rows as JSON texts, newest first. `cursor` is what older ones are asked for `after`; None when these were the
    last.
    """

    texts: list[bytes]
    cursor: str | None = None

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Decoded anew at each call."""
        return [orjson.loads(one) for one in self.texts]

    def to_json(self) -> bytes:
        return orjson.dumps({"candidates": [orjson.Fragment(one) for one in self.texts], "cursor": self.cursor})

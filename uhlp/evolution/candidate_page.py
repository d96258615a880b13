"""CandidatePage: some of the candidates, as people see them."""

from dataclasses import dataclass
from typing import Any

MOST = 1_000
"""That can be asked for at a time."""
USUAL = 100


@dataclass(frozen=True, slots=True)
class CandidatePage:
    """Rows, newest first. `cursor` is what older ones are asked for `after`; None when these were the last."""

    rows: list[dict[str, Any]]
    cursor: str | None = None

"""How numbers are spelled: which separators are decimal marks and which only group digits, seen in samples."""

import re
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from uhlp.demo.simulated_model.coder.extraction.extractor import Field
from uhlp.demo.simulated_model.coder.extraction.reading import read_as_spelled

Spelling = tuple[str, int]
"""The separators of a number in order, each once, and the number of digits after the last."""

_MIN_SUPPORT = 2
_MIN_SHARE = 0.9


def learn_spellings(written: Iterable[tuple[str, Any, Field]]) -> dict[Spelling, str]:
    """The role of the last separator in each spelling: "decimal" or "group", by (number, output value, its field)."""
    votes: dict[Spelling, Counter[str]] = {}
    for number, value, field in written:
        separators = re.sub(r"[0-9]", "", number)
        if not separators:
            continue
        spelling = ("".join(dict.fromkeys(separators)), len(number.rpartition(separators[-1])[2]))
        wanted = Decimal(str(value)).scaleb(-field.scale)
        for role in ("decimal", "group"):
            if read_as_spelled(number, {spelling: role}) == wanted:
                votes.setdefault(spelling, Counter())[role] += 1
    learnt = {}
    for spelling, counts in sorted(votes.items()):
        role, count = counts.most_common(1)[0]
        if count >= _MIN_SUPPORT and count >= _MIN_SHARE * counts.total():
            learnt[spelling] = role
    return learnt

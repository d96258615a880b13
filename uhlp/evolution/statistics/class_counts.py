"""Class counts: for which answers a handler has earned trust, class by class."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

_MISSES_OF_THE_HOPELESS = 3


@dataclass(slots=True)
class ClassCount:
    """Comparisons in which the handler claimed one class; `in_a_row` of the agreeing came since the last miss."""

    agreeing: int = 0
    missed: int = 0
    in_a_row: int = 0

    @property
    def is_hopeless(self) -> bool:
        """Wrong again and again, more than once in ten: no row will be long, and looking on costs model calls."""
        return self.missed >= _MISSES_OF_THE_HOPELESS and 10 * self.missed > self.agreeing + self.missed


class ClassCounts:
    """Agreements and misses by class; a class = value of `decisionField` in the handler's own answer.

    A class is trusted with at least `min_agreeing` agreeing comparisons and no miss among them; any other is left to
    the model. A miss takes it out at once, and the next `min_agreeing` in a row take it in again: a rule that never
    forgot would in the end leave every class of a handler to the model that is wrong once in a thousand.
    What it means: where the handler is wrong with probability p, a class is trusted for about the share (1 - p)^30 of
    its comparisons: 99 % at p = .04 %, 86 % at .5 %, 21 % at 5 %, 4.2 % at 10 %, 0.1 % at 20 % (the rule of three: 0 of
    30 shows < 9.5 % at the 95 % level). The rate over all classes is the evidence account's business. The claimed class
    counts, not the right one: it is what a guard can see. O(1) per comparison; beyond `max_classes` new classes are not
    kept, and so not trusted.
    """

    def __init__(self, *, min_agreeing: int = 30, max_classes: int = 1000) -> None:
        if min_agreeing < 1 or max_classes < 1:
            raise ValueError(f"counts start at 1, not {min_agreeing!r}, {max_classes!r}")
        self.min_agreeing, self.max_classes = min_agreeing, max_classes
        self._counts: dict[str, ClassCount] = {}

    def observe(self, name: str, *, agrees: bool) -> None:
        """Count one comparison in the class that the handler claimed (canonical JSON of the decision field)."""
        count = self._counts.get(name)
        if count is None:
            if len(self._counts) >= self.max_classes:
                return
            count = self._counts[name] = ClassCount()
        if agrees:
            count.agreeing += 1
            count.in_a_row += 1
        else:
            count.missed += 1
            count.in_a_row = 0

    def count(self, name: str) -> ClassCount:
        """A copy of what is known of one class."""
        count = self._counts.get(name, ClassCount())
        return ClassCount(count.agreeing, count.missed, count.in_a_row)

    def is_trusted(self, name: str) -> bool:
        count = self._counts.get(name)
        return count is not None and count.in_a_row >= self.min_agreeing

    @property
    def trusted(self) -> tuple[str, ...]:
        """The classes that the handler may answer, in alphabetical order."""
        return tuple(sorted(name for name in self._counts if self.is_trusted(name)))

    @property
    def excluded(self) -> dict[str, str]:
        """The classes that are left to the model, each with the reason in words."""
        return {name: self._reason(self._counts[name]) for name in sorted(self._counts) if not self.is_trusted(name)}

    def _reason(self, count: ClassCount) -> str:
        if count.missed:
            again = f", {count.in_a_row} of {self.min_agreeing} in a row since" if count.in_a_row else ""
            return f"wrong {count.missed} of {count.agreeing + count.missed} times{again}"
        return f"only {count.agreeing} of {self.min_agreeing} agreeing comparisons"

    def summary(self) -> dict[str, Any]:
        """The figures for ledger, panel and REST."""
        return {
            name: {"agreeing": count.agreeing, "missed": count.missed, "trusted": self.is_trusted(name)}
            for name, count in sorted(self._counts.items())
        }

    def to_dict(self) -> dict[str, Any]:
        """The whole state, parameters included, as JSON values."""
        return {
            "min_agreeing": self.min_agreeing,
            "max_classes": self.max_classes,
            "counts": {name: [one.agreeing, one.missed, one.in_a_row] for name, one in self._counts.items()},
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """The counts that `to_dict` described."""
        counts = cls(min_agreeing=int(state["min_agreeing"]), max_classes=int(state["max_classes"]))
        counts._counts = {name: ClassCount(*map(int, one)) for name, one in state["counts"].items()}
        return counts

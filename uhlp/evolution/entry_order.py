"""EntryOrder: comparisons enter a candidate's evidence in the order in which they began, however long each takes.

An answer that agrees is compared at once, one that differs when the reference has been asked, one that times out at its
deadline. Entered as they end, agreement would come first, and a bad handler be accepted before its losses are in. So a
comparison takes its place before anything is known of it, and those behind it wait until it is settled; its alarms do
not wait. The same holds for the class of an answer (`decisionField`): what counts is its standing when its comparison
began, so of a class that is given up meanwhile the comparisons on their way still count, and of one that is trusted
meanwhile they do not. A restart forgets what was on its way, and what waited behind it.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from uhlp.evolution.class_standings import Standing
from uhlp.evolution.comparison import Comparison

_MOST_WAITING = 1000
"""While so many wait behind one that cannot be settled, what begins is compared, and is no evidence."""


@dataclass(slots=True, eq=False)
class Place:
    """One comparison's place. `standing` is that of its answer's class, `comparison` what came of it; None: nothing."""

    is_counted: bool
    standing: Standing = "trusted"
    comparison: Comparison | None = None
    is_settled: bool = False
    is_kept: bool = False
    """It could not be judged and is asked about again: its place is kept."""


class EntryOrder:
    """Of one candidate."""

    def __init__(self) -> None:
        self._line: deque[Place] = deque()

    def take(self) -> Place:
        """A place at the end, for a comparison that begins now. It must be settled, or all behind it wait."""
        place = Place(is_counted=len(self._line) < _MOST_WAITING)
        if place.is_counted:
            self._line.append(place)
        return place

    def settle(self, place: Place, comparison: Comparison | None) -> Iterator[tuple[Comparison, Standing]]:
        """What came of it, None if nothing; gives all whose turn has come, in their order. Twice is once."""
        if not place.is_settled:
            place.comparison, place.is_settled = comparison, True
        while self._line and self._line[0].is_settled:
            due = self._line.popleft()
            if due.comparison is not None:
                yield due.comparison, due.standing

    def __len__(self) -> int:
        return len(self._line)

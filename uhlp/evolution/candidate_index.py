"""CandidateIndex: the candidates in memory, found by id, component and state without looking at all of them."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from uhlp.errors import CandidateNotFound
from uhlp.evolution.candidate import OPEN, SERVING, Candidate, CandidateState

ACTIVE = OPEN | SERVING | {CandidateState.QUARANTINED}
"""What a cycle looks at: on the way to a decision, in service, or barred until something changes."""
Place = tuple[str, str]
"""Application and component."""


class CandidateIndex:
    """In the order in which they were created; none ever goes. `states` counts them by application and state."""

    def __init__(self, candidates: Iterable[Candidate] = ()) -> None:
        self._candidates: dict[str, Candidate] = {}
        self._places: dict[str, int] = {}
        self._order: list[str] = []
        self._of_component: dict[Place, list[str]] = {}
        self._active: dict[str, None] = {}
        self.states: Counter[tuple[str, CandidateState]] = Counter()
        for one in candidates:
            self.put(one)

    def __getitem__(self, candidate_id: str) -> Candidate:
        """Raises CandidateNotFound."""
        try:
            return self._candidates[candidate_id]
        except KeyError:
            raise CandidateNotFound(f"No candidate has the id {candidate_id!r}.") from None

    def put(self, candidate: Candidate) -> None:
        """Take in a candidate, or what has become of it."""
        before = self._candidates.get(candidate.id)
        if before is None:
            self._places[candidate.id] = len(self._order)
            self._order.append(candidate.id)
            self._of_component.setdefault((candidate.app_id, candidate.component_id), []).append(candidate.id)
        if before is None or before.state is not candidate.state:
            if before is not None:
                self.states[before.app_id, before.state] -= 1
            self.states[candidate.app_id, candidate.state] += 1
            if candidate.state in ACTIVE:
                self._active[candidate.id] = None
            else:
                self._active.pop(candidate.id, None)
        self._candidates[candidate.id] = candidate

    def newest_first(
        self,
        app_id: str | None = None,
        component_id: str | None = None,
        state: str | None = None,
        *,
        after: str | None = None,
    ) -> Iterator[Candidate]:
        """All that match, one by one; with `after` those that were created before this one. CandidateNotFound when
        there is none such. Nothing may be put in meanwhile.
        """
        place = self._place_of(after)
        if state is not None and state in ACTIVE:
            found = self._sorted(self._active, place)
        elif app_id is not None and component_id is not None:
            found = self._before(self._of_component.get((app_id, component_id), []), place)
        else:
            found = self._before(self._order, place)
        for one in found:
            if (
                (app_id is None or one.app_id == app_id)
                and (component_id is None or one.component_id == component_id)
                and (state is None or one.state == state)
            ):
                yield one

    def active(self) -> list[Candidate]:
        """Those in states of `ACTIVE`, newest first."""
        return list(self._sorted(self._active, len(self._order)))

    def first_active(self, app_id: str, component_id: str, holds: Callable[[Candidate], bool]) -> Candidate | None:
        """An active candidate of the component for which it holds."""
        for candidate_id in self._active:
            one = self._candidates[candidate_id]
            if one.component_id == component_id and one.app_id == app_id and holds(one):
                return one
        return None

    def _place_of(self, after: str | None) -> int:
        if after is None:
            return len(self._order)
        return self._places[self[after].id]

    def _sorted(self, ids: Iterable[str], place: int) -> Iterator[Candidate]:
        places = self._places
        for one in sorted((one for one in ids if places[one] < place), key=places.__getitem__, reverse=True):
            yield self._candidates[one]

    def _before(self, ids: list[str], place: int) -> Iterator[Candidate]:
        """The newest first of those before `place`, from a list in order of creation."""
        end = bisect_left(ids, place, key=self._places.__getitem__)
        for at in range(end - 1, -1, -1):
            yield self._candidates[ids[at]]

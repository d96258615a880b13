"""UsageBook: what models took and what was served, counted by day, application, component and kind.

One book counts both model calls (kind = what for: serve, coder, judge, reference, audit, shadow, replay) and answered
requests (kind = who answered, `SERVED_…`). Days are UTC and numbered from the epoch. The book lives in memory; a store
keeps it (`changed`, `restore`), so that a restart does not begin the day anew.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self

from uhlp.clock import Clock

DAY_S = 86_400

SERVE = "serve"
AUDIT = "audit"
CODER = "coder"
REFERENCE = "reference"
JUDGE = "judge"
EVAL = "eval"
COMPRESS = "compress"
AUTHOR = "author"
"""Drafts of applications, which nobody pays for but the server: they count under no application."""
EVOLUTION = frozenset({CODER, JUDGE, REFERENCE, AUDIT, EVAL, COMPRESS, "shadow", "replay"})
"""Purposes of model calls that evolution pays for; every other call is an application's own."""

SERVED_BY_MODEL = "served:model"
SERVED_BY_HANDLER = "served:handler"
SERVED_BY_PROMPT = "served:prompt"
"""The model answered, by a prompt that was shortened."""
DEOPTIMISED = "served:deoptimised"
"""A handler, or a shorter prompt, was asked, and the model answered as before it."""
SERVED_BY_WORKFLOW = "served:workflow"
"""What its steps took is counted under the components that they asked."""

SERVED = (SERVED_BY_MODEL, SERVED_BY_HANDLER, SERVED_BY_PROMPT, DEOPTIMISED, SERVED_BY_WORKFLOW)


class UseKey(NamedTuple):
    """What a use is counted under. `candidate_id` is that of the handler, or the shorter prompt, which took part in a
    served request, else empty.
    """

    day: int
    app_id: str
    component_id: str
    kind: str
    candidate_id: str = ""


@dataclass(slots=True)
class Use:
    """Sums. `refused` calls were not made, for want of budget; `failed` requests had no answer.

    `usd` sums the calls whose price is known; `unpriced` calls, of `unpriced_tokens`, had none. `seconds` are those
    that callers waited.
    """

    calls: int = 0
    failed: int = 0
    refused: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float = 0.0
    unpriced: int = 0
    unpriced_tokens: int = 0
    seconds: float = 0.0

    @property
    def tokens(self) -> int:
        return self.tokens_in + self.tokens_out

    def add(self, other: "Use") -> None:
        for name in USE_FIELDS:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def sum(cls, uses: Iterable["Use"]) -> Self:
        total = cls()
        for one in uses:
            total.add(one)
        return total


USE_FIELDS = tuple(one.name for one in fields(Use))


class UsageBook:
    """Counts; reads are dictionary look-ups. One instance a server."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._day = 0
        self._uses: dict[UseKey, Use] = {}
        self._changed: dict[UseKey, None] = {}
        self._applications: dict[tuple[str, bool], Use] = {}
        """Today's model calls by application, and whether they were evolution's."""
        self._evolution = Use()

    @property
    def day(self) -> int:
        """Today. It never goes back, whatever the clock does."""
        today = int(self._clock.now() // DAY_S)
        if today > self._day:
            self._day = today
            self._uses = {key: self._uses[key] for key in self._changed}  # yesterday's wait until they are kept
            self._applications, self._evolution = {}, Use()
        return self._day

    def called(
        self,
        app_id: str,
        component_id: str,
        purpose: str,
        *,
        tokens_in: int,
        tokens_out: int,
        usd: float | None,
        seconds: float,
    ) -> None:
        """Count one answered model call; `usd` is None when no price is known."""
        is_unpriced = usd is None
        use = Use(1, 0, 0, tokens_in, tokens_out, usd or 0.0, is_unpriced, 0, seconds)
        use.unpriced_tokens = use.tokens if is_unpriced else 0
        self._add(UseKey(self.day, app_id, component_id, purpose), use)

    def refused(self, app_id: str, component_id: str, purpose: str) -> None:
        """Count one model call that was not made, for want of budget."""
        self._add(UseKey(self.day, app_id, component_id, purpose), Use(refused=1))

    def served(
        self,
        app_id: str,
        component_id: str,
        kind: str,
        *,
        candidate_id: str = "",
        ok: bool,
        tokens_in: int,
        tokens_out: int,
        usd: float,
        seconds: float,
    ) -> None:
        """Count one answered request; `kind` is one of `SERVED`."""
        key = UseKey(self.day, app_id, component_id, kind, candidate_id)
        use = self._uses.get(key)
        if use is None:
            use = self._uses[key] = Use()
        use.calls += 1
        use.failed += not ok
        use.tokens_in += tokens_in
        use.tokens_out += tokens_out
        use.usd += usd
        use.seconds += seconds
        self._changed[key] = None

    def of_application(self, app_id: str, *, evolution: bool) -> Use:
        """Today's model calls of an application: evolution's, or its own."""
        _ = self.day
        return self._applications.get((app_id, evolution)) or Use()

    def of_evolution(self) -> Use:
        """Today's model calls of evolution, all applications together."""
        _ = self.day
        return self._evolution

    def of_component(self, app_id: str, component_id: str, kind: str) -> Use:
        """Today's uses of one component and kind, without those of candidates."""
        return self._uses.get(UseKey(self.day, app_id, component_id, kind)) or Use()

    # -- what a store keeps of it

    def changed(self) -> list[tuple[UseKey, Use]]:
        """Every count that has grown since the last call, whole: keeping it twice does no harm."""
        _ = self.day
        rows = [(key, replace(self._uses[key])) for key in self._changed]
        self._changed = {}
        for key, _use in rows:
            if key.day != self._day:
                del self._uses[key]
        return rows

    def give_back(self, rows: Iterable[tuple[UseKey, Use]]) -> None:
        """What `changed` gave could not be kept: it is given again."""
        for key, use in rows:
            self._uses.setdefault(key, use)
            self._changed[key] = None

    def restore(self, rows: Mapping[UseKey, Use]) -> None:
        """Take over what was kept of today; other days are over. Before anything is counted."""
        for key, use in rows.items():
            if key.day == self.day:
                self._uses[key] = replace(use)
                self._count(key, use)

    def _add(self, key: UseKey, use: Use) -> None:
        self._uses.setdefault(key, Use()).add(use)
        self._changed[key] = None
        self._count(key, use)

    def _count(self, key: UseKey, use: Use) -> None:
        if key.kind in SERVED:
            return
        is_evolution = key.kind in EVOLUTION
        self._applications.setdefault((key.app_id, is_evolution), Use()).add(use)
        if is_evolution:
            self._evolution.add(use)


def date_of(day: int) -> str:
    """A numbered day as a date: "2026-01-31"."""
    return datetime.fromtimestamp(day * DAY_S, UTC).date().isoformat()


def by_kind(rows: Iterable[tuple[UseKey, Use]]) -> Iterator[tuple[str, Use]]:
    """Sums by kind, in order of their names."""
    sums: dict[str, Use] = {}
    for key, use in rows:
        sums.setdefault(key.kind, Use()).add(use)
    yield from sorted(sums.items())

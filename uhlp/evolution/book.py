"""CandidateBook: the candidates in memory and their ledger on disk. Ledger first, then memory, then the switch.

Of those that have ended, outlines stay in memory (`outlines`), but for the last few of which something was decided.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from uhlp.catalogue import evolution
from uhlp.clock import Clock
from uhlp.evolution.candidate import PROGRESS, Candidate, CandidateState, Kind, new_candidate_id
from uhlp.evolution.candidate_index import ACTIVE, CandidateIndex
from uhlp.evolution.decisions import Decision, create, decide
from uhlp.evolution.ledger import Event
from uhlp.evolution.outlines import MEASURED, is_outline, outline_of, whole_of
from uhlp.evolution.records import Change, FoldProblem, RegressionCase
from uhlp.evolution.store import EvolutionStore
from uhlp.keyed_locks import KeyedLocks
from uhlp.metering import Meter

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ruling:
    """One decision on its way to the ledger; the fields are those of `decisions.decide`."""

    candidate_id: str
    to: CandidateState | None
    actor: str
    reason: str
    event: Event | None = None
    evidence: Mapping[str, Any] | None = None
    regressions: tuple[RegressionCase, ...] = ()
    changes: Mapping[str, Any] = field(default_factory=dict)

    def decided(self, before: Candidate, ts: float) -> Decision:
        """The candidate after it, and its entry. Raises StateConflict."""
        return decide(
            before, self.to, ts=ts, actor=self.actor, reason=self.reason, event=self.event, evidence=self.evidence,
            payloads=[one.payload for one in before.mismatches], **self.changes,
        )  # fmt: skip


class CandidateBook:
    """Reads are look-ups in memory; every change goes through the ledger.

    `new_id` names candidates: its id also salts a candidate's share of the traffic, so a bench that is to play the same
    run twice gives its own. `kept_whole` of the ended stay whole in memory: whoever is still at work with one that ends
    meanwhile goes on reading it.
    """

    def __init__(
        self,
        *,
        store: EvolutionStore,
        clock: Clock,
        meter: Meter,
        new_id: Callable[[], str] = new_candidate_id,
        kept_whole: int = 8,
    ) -> None:
        self._new_id = new_id
        self._store = store
        self._clock = clock
        self._index = CandidateIndex()
        self._kept_whole = kept_whole
        self._whole: dict[str, None] = {}
        """Those ended that are whole, the one put in last at the end."""
        self._locks = KeyedLocks[str]()
        self._unsaved: dict[str, dict[str, Any]] = {}
        self.problems: tuple[FoldProblem, ...] = ()
        self._moves = evolution.MOVES.on(meter)

    async def open(self) -> None:
        """Load every candidate. `problems` then says where the rows are not what the ledger says they should be."""
        self.problems = tuple(await self._store.check_fold())
        for problem in self.problems:
            log.error("ledger_mismatch", what=problem.what, why=problem.why)
        try:
            found = await self._store.candidates(each=_outline_if_over)
        except Exception:
            if not self.problems:
                raise
            log.exception("candidates_unreadable")  # `problems` says which; nothing of evolution serves then
            found = []
        self._index, self._whole = CandidateIndex(found), {}

    def candidate(self, candidate_id: str) -> Candidate:
        """As it is in memory: perhaps an outline, when it has ended. Raises CandidateNotFound."""
        return self._index[candidate_id]

    async def whole(self, candidate_id: str) -> Candidate:
        """With all that it measured. Raises CandidateNotFound."""
        if is_outline(self._index[candidate_id]):
            stored = await self._store.candidate(candidate_id)
            if is_outline(self._index[candidate_id]):  # nobody else has fetched it meanwhile
                candidate = whole_of(self._index[candidate_id], stored)
                self._put(candidate)
                return candidate
        return self._index[candidate_id]

    async def shown(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """The same with what lists show of their measurements (`EvolutionStore.shown`); a page of them at a time."""
        read = await self._store.shown([one.id for one in candidates if is_outline(one)])
        return [read.get(one.id, one) for one in candidates]

    def candidates(
        self, app_id: str | None = None, component_id: str | None = None, state: str | None = None
    ) -> list[Candidate]:
        """Newest first: in the order in which they were created."""
        return list(self._index.newest_first(app_id, component_id, state))

    def newest_first(
        self,
        app_id: str | None = None,
        component_id: str | None = None,
        state: str | None = None,
        *,
        after: str | None = None,
    ) -> Iterator[Candidate]:
        """The same one by one, for whoever needs few; with `after` those created before that one. Nothing may be
        awaited meanwhile.
        """
        return self._index.newest_first(app_id, component_id, state, after=after)

    def active(self) -> list[Candidate]:
        """Those on the way, in service or quarantined, newest first."""
        return self._index.active()

    def states(self) -> dict[tuple[str, CandidateState], int]:
        """How many there are by application and state."""
        return {key: number for key, number in self._index.states.items() if number}

    def now(self) -> float:
        """The time that decisions carry: epoch seconds."""
        return self._clock.now()

    def open_candidate(self, app_id: str, component_id: str) -> Candidate | None:
        """The component's candidate that is on its way to a decision; there is at most one."""
        return self._index.first_active(app_id, component_id, lambda one: one.is_open)

    def in_service(self, app_id: str, component_id: str, kind: Kind = "jit") -> Candidate | None:
        """The component's candidate of this kind in full service; there is at most one. None: the model, or the owner's
        own code; the prompt as its owner wrote it.
        """
        return self._index.first_active(
            app_id, component_id, lambda one: one.state is CandidateState.PROMOTED and one.kind == kind
        )

    def current(self, app_id: str, component_id: str) -> Candidate | None:
        """The component's open candidate, else the handler in service, else the prompt."""
        return (
            self.open_candidate(app_id, component_id)
            or self.in_service(app_id, component_id)
            or self.in_service(app_id, component_id, "prompt")
        )

    async def create(self, app_id: str, component_id: str, *, actor: str, reason: str, **fields: Any) -> Candidate:
        """A new candidate in state discovered; `fields` as `decisions.create` takes them."""
        candidate, entry = create(
            self._new_id(),
            app_id=app_id,
            component_id=component_id,
            ts=self._clock.now(),
            actor=actor,
            reason=reason,
            **fields,
        )
        await self._store.append(entry, candidate)
        self._put(candidate)
        self._entered(candidate)
        return candidate

    async def decide(
        self,
        candidate_id: str,
        to: CandidateState | None = None,
        *,
        actor: str,
        reason: str,
        event: Event | None = None,
        evidence: Mapping[str, Any] | None = None,
        regressions: Iterable[RegressionCase] = (),
        **changes: Any,
    ) -> Candidate:
        """Move the candidate, or note something about it. Raises StateConflict when the table has no such move."""
        ruling = Ruling(candidate_id, to, actor, reason, event, evidence, tuple(regressions), changes)
        return (await self.decide_all([ruling]))[0]

    async def decide_all(self, rulings: Sequence["Ruling"]) -> list[Candidate]:
        """Several decisions about different candidates, all of them written or none. Raises StateConflict."""
        async with AsyncExitStack() as stack:
            for one in sorted(ruling.candidate_id for ruling in rulings):
                await stack.enter_async_context(self._locks[one])
            decided = [ruling.decided(await self.whole(ruling.candidate_id), self._clock.now()) for ruling in rulings]
            unsaved = [
                self._unsaved.pop(ruling.candidate_id, {}) for ruling in rulings
            ]  # what grows from here on waits
            changes = [
                Change(entry, after, payloads, ruling.regressions)
                for ruling, (after, entry), payloads in zip(rulings, decided, unsaved, strict=True)
            ]
            try:
                await self._write(changes)
            except BaseException:
                for ruling, payloads in zip(rulings, unsaved, strict=True):
                    newer = self._unsaved.get(ruling.candidate_id, {})
                    self._unsaved[ruling.candidate_id] = {**payloads, **newer}
                raise
            return [self._take_over(ruling, after) for ruling, (after, _entry) in zip(rulings, decided, strict=True)]

    async def _write(self, changes: Sequence[Change]) -> None:
        if len(changes) > 1:
            await self._store.append_all(changes)
            return
        one = changes[0]
        await self._store.append(one.entry, one.candidate, payloads=one.payloads, regressions=one.regressions)

    def _take_over(self, ruling: "Ruling", after: Candidate) -> Candidate:
        """With the progress as it has grown while the ledger was being written."""
        grown = self._index[after.id]
        if not is_outline(grown):  # others that ended meanwhile may have taken its place among the whole ones
            after = replace(after, **{name: getattr(grown, name) for name in PROGRESS - ruling.changes.keys()})
        self._put(after)
        if ruling.to is not None:
            self._entered(after)
        return after

    def grow(self, candidate_id: str, *, payloads: Mapping[str, Any] | None = None, **progress: Any) -> Candidate:
        """Change progress fields in memory; `save` writes them. They are no decision and have no ledger entry.

        `payloads` by digest: inputs with their answers, kept beside the ledger where they stay deletable. Of one that
        has ended, whoever changes what it measured has just read the `whole`; what it has cost goes on growing while a
        model that was asked for it is still at work.
        """
        candidate = self.candidate(candidate_id)
        if is_outline(candidate) and not MEASURED.isdisjoint(progress):
            raise RuntimeError(f"{candidate_id} has ended, and what it measured is not in memory")
        candidate = replace(candidate, **progress)
        self._put(candidate)
        self._unsaved.setdefault(candidate_id, {}).update(payloads or {})
        return candidate

    async def save(self, candidate_id: str | None = None) -> None:
        """Hand the progress of this candidate, or of every one that has grown, to the store."""
        for one in (candidate_id,) if candidate_id is not None else tuple(self._unsaved):
            async with self._locks[one]:
                payloads = self._unsaved.pop(one, None)
                if payloads is None:
                    continue
                try:
                    await self._store.update_evidence(await self.whole(one), payloads=payloads)
                except BaseException:
                    self._unsaved[one] = {**payloads, **self._unsaved.get(one, {})}
                    raise

    async def forget(self, app_id: str) -> None:
        """Remove what is kept of the application's inputs and answers, and what waits to be."""
        for one in self._unsaved:
            if self._index[one].app_id == app_id:
                self._unsaved[one] = {}
        await self._store.delete_payloads(app_id)

    def _put(self, candidate: Candidate) -> None:
        """Into memory. Of those that have ended, the last few put in stay whole, and those not saved yet."""
        self._index.put(candidate)
        self._whole.pop(candidate.id, None)
        if candidate.state in ACTIVE:
            return
        self._whole[candidate.id] = None
        for one in list(self._whole)[: -self._kept_whole or None]:
            if one not in self._unsaved:
                del self._whole[one]
                self._index.put(outline_of(self._index[one]))

    def _entered(self, candidate: Candidate) -> None:
        self._moves.labels(candidate.app_id, candidate.state).inc()
        log.info(
            "candidate_moved", candidate=candidate.id, app_id=candidate.app_id, component_id=candidate.component_id,
            state=str(candidate.state), reason=candidate.reason,
        )  # fmt: skip


def _outline_if_over(candidate: Candidate) -> Candidate:
    return candidate if candidate.state in ACTIVE else outline_of(candidate)

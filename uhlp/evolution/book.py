"""CandidateBook: the candidates in memory and their ledger on disk. Ledger first, then memory, then the switch."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from uhlp.catalogue import evolution
from uhlp.clock import Clock
from uhlp.errors import CandidateNotFound
from uhlp.evolution.candidate import PROGRESS, Candidate, CandidateState, Kind, new_candidate_id
from uhlp.evolution.decisions import Decision, create, decide
from uhlp.evolution.ledger import Event
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
    """Reads are dictionary look-ups; every change goes through the ledger.

    `new_id` names candidates: its id also salts a candidate's share of the traffic, so a bench that is to play the same
    run twice gives its own.
    """

    def __init__(
        self, *, store: EvolutionStore, clock: Clock, meter: Meter, new_id: Callable[[], str] = new_candidate_id
    ) -> None:
        self._new_id = new_id
        self._store = store
        self._clock = clock
        self._candidates: dict[str, Candidate] = {}
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
            found = await self._store.candidates()
        except Exception:
            if not self.problems:
                raise
            log.exception("candidates_unreadable")  # `problems` says which; nothing of evolution serves then
            found = []
        self._candidates = {candidate.id: candidate for candidate in found}

    def candidate(self, candidate_id: str) -> Candidate:
        """Raises CandidateNotFound."""
        try:
            return self._candidates[candidate_id]
        except KeyError:
            raise CandidateNotFound(f"No candidate has the id {candidate_id!r}.") from None

    def candidates(
        self, app_id: str | None = None, component_id: str | None = None, state: str | None = None
    ) -> list[Candidate]:
        """Newest first."""
        found = [
            one
            for one in self._candidates.values()
            if (app_id is None or one.app_id == app_id)
            and (component_id is None or one.component_id == component_id)
            and (state is None or one.state == state)
        ]
        found.reverse()  # the newest of one instant first, too
        return sorted(found, key=lambda one: one.created_at, reverse=True)

    def all(self) -> Collection[Candidate]:
        """Every candidate, oldest first."""
        return self._candidates.values()

    def now(self) -> float:
        """The time that decisions carry: epoch seconds."""
        return self._clock.now()

    def open_candidate(self, app_id: str, component_id: str) -> Candidate | None:
        """The component's candidate that is on its way to a decision; there is at most one."""
        return next((one for one in self._of(app_id, component_id) if one.is_open), None)

    def in_service(self, app_id: str, component_id: str, kind: Kind = "jit") -> Candidate | None:
        """The component's candidate of this kind in full service; there is at most one. None: the model, or the owner's
        own code; the prompt as its owner wrote it.
        """
        promoted = (one for one in self._of(app_id, component_id) if one.state is CandidateState.PROMOTED)
        return next((one for one in promoted if one.kind == kind), None)

    def current(self, app_id: str, component_id: str) -> Candidate | None:
        """The component's open candidate, else the handler in service, else the prompt."""
        return (
            self.open_candidate(app_id, component_id)
            or self.in_service(app_id, component_id)
            or self.in_service(app_id, component_id, "prompt")
        )

    def _of(self, app_id: str, component_id: str) -> Iterator[Candidate]:
        return (one for one in self._candidates.values() if (one.app_id, one.component_id) == (app_id, component_id))

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
        self._candidates[candidate.id] = candidate
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
            decided = [ruling.decided(self.candidate(ruling.candidate_id), self._clock.now()) for ruling in rulings]
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
        grown = self._candidates[after.id]
        self._candidates[after.id] = replace(
            after, **{name: getattr(grown, name) for name in PROGRESS - ruling.changes.keys()}
        )
        if ruling.to is not None:
            self._entered(self._candidates[after.id])
        return self._candidates[after.id]

    def grow(self, candidate_id: str, *, payloads: Mapping[str, Any] | None = None, **progress: Any) -> Candidate:
        """Change progress fields in memory; `save` writes them. They are no decision and have no ledger entry.

        `payloads` by digest: inputs with their answers, kept beside the ledger where they stay deletable.
        """
        candidate = replace(self.candidate(candidate_id), **progress)
        self._candidates[candidate_id] = candidate
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
                    await self._store.update_evidence(self.candidate(one), payloads=payloads)
                except BaseException:
                    self._unsaved[one] = {**payloads, **self._unsaved.get(one, {})}
                    raise

    def _entered(self, candidate: Candidate) -> None:
        self._moves.labels(candidate.app_id, candidate.state).inc()
        log.info(
            "candidate_moved", candidate=candidate.id, app_id=candidate.app_id, component_id=candidate.component_id,
            state=str(candidate.state), reason=candidate.reason,
        )  # fmt: skip

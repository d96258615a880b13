"""CandidateBook: the candidates in memory and their ledger on disk. Ledger first, then memory, then the switch."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import structlog

from uhlp.clock import Clock
from uhlp.errors import CandidateNotFound
from uhlp.evolution.candidate import PROGRESS, Candidate, CandidateState, new_candidate_id
from uhlp.evolution.decisions import create, decide
from uhlp.evolution.ledger import Event
from uhlp.evolution.records import FoldProblem, RegressionCase
from uhlp.evolution.store import EvolutionStore
from uhlp.metering import Meter

log = structlog.get_logger(__name__)


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
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._unsaved: dict[str, dict[str, Any]] = {}
        self.problems: tuple[FoldProblem, ...] = ()
        self._moves = meter.counter(
            "uhlp_candidate_moves_total", "Candidates that entered a state.", ("appId", "state")
        )

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

    def now(self) -> float:
        """The time that decisions carry: epoch seconds."""
        return self._clock.now()

    def current(self, app_id: str, component_id: str) -> Candidate | None:
        """The component's candidate that is open or in service."""
        for one in self._candidates.values():
            if one.app_id == app_id and one.component_id == component_id and (one.is_open or one.is_serving):
                return one
        return None

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
        async with self._locks[candidate_id]:
            before = self.candidate(candidate_id)
            after, entry = decide(
                before, to, ts=self._clock.now(), actor=actor, reason=reason, event=event, evidence=evidence,
                payloads=[one.payload for one in before.mismatches], **changes,
            )  # fmt: skip
            payloads = self._unsaved.pop(candidate_id, {})  # what grows from here on waits for the next save
            try:
                await self._store.append(entry, after, payloads=payloads, regressions=regressions)
            except BaseException:
                self._unsaved[candidate_id] = {**payloads, **self._unsaved.get(candidate_id, {})}
                raise
            self._candidates[after.id] = replace(
                after, **{name: getattr(self._candidates[after.id], name) for name in PROGRESS - changes.keys()}
            )  # what grew while the ledger was being written
            if to is not None:
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

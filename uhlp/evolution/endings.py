"""Endings: how a candidate goes out of traffic. Ledger first, then the switch; neither the model nor the candidate is
asked for anything.

One exception: where the ledger cannot be written (the lease is lost, the disk is full) a handler that is to go answers
no more, and its end is written as soon as that can be done. A restart in between forgets a person's word, and finds an
alarm again in what was measured.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from uhlp.errors import StateConflict
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate import Candidate, CandidateState
from uhlp.evolution.config import ConfigInForce
from uhlp.evolution.ledger import Event
from uhlp.evolution.ledger_anchors import LedgerAnchors
from uhlp.evolution.live_candidates import LiveCandidates
from uhlp.evolution.promotion import Promotion
from uhlp.evolution.records import RegressionCase
from uhlp.evolution.store import EvolutionStore

S = CandidateState
GOVERNOR = "governor"
_REASON_CHARACTERS = 200
NOT_APPLICABLE = "not_applicable"
"""The cause of an end that says nothing against the component: there was too little to decide by."""


class Endings:
    """Rejected, rolled back, superseded, quarantined; each leaves what it got wrong to the next attempt."""

    def __init__(
        self,
        *,
        book: CandidateBook,
        store: EvolutionStore,
        live: LiveCandidates,
        promotion: Promotion,
        anchors: LedgerAnchors,
        config: ConfigInForce,
    ) -> None:
        self._book = book
        self._store = store
        self._live = live
        self._promotion = promotion
        self._anchors = anchors
        self._config = config
        self._due: dict[str, Callable[[], Awaitable[Candidate]]] = {}
        """By candidate: ends that could not be written yet."""

    async def end(
        self,
        candidate_id: str,
        to: CandidateState,
        *,
        cause: str,
        reason: str,
        actor: str,
        evidence: Mapping[str, Any] | None = None,
    ) -> Candidate:
        """Raises StateConflict when the candidate's state has no such end."""
        live = self._live.evidence_of(candidate_id)
        self._live.keep(candidate_id)
        candidate = await self._book.whole(candidate_id)
        was_in_service, was_serving = candidate.state is S.PROMOTED, candidate.is_serving
        regressions = () if to is S.SUPERSEDED or candidate.is_prompt else regressions_of(candidate, reason)
        try:
            candidate = await self._book.decide(
                candidate_id, to, actor=actor, reason=reason, cause=slug(cause),
                evidence=live.summary() if live else evidence, regressions=regressions,
            )  # fmt: skip
        except StateConflict:
            self._due.pop(candidate_id, None)
            raise
        except Exception:  # a ledger that cannot be written must not keep a bad handler in service
            if candidate.is_serving or actor == GOVERNOR:
                self._live.take_out_as(candidate, to)
                self._due[candidate_id] = partial(
                    self.end, candidate_id, to, cause=cause, reason=reason, actor=actor, evidence=evidence
                )
            raise
        self._due.pop(candidate_id, None)
        self._live.dismiss(candidate)
        if actor == GOVERNOR and to is not S.SUPERSEDED:
            candidate = await self._quarantine_the_hopeless(candidate)
        if was_in_service and candidate.state is S.QUARANTINED:
            await self._end_successor(candidate)
        await self._promotion.reconcile(candidate.app_id, candidate.component_id)
        if was_serving:
            await self._anchors.anchor(candidate.app_id)
        return candidate

    async def write_what_is_due(self, candidate_id: str) -> bool:
        """Write an end that could not be written before; False when there is none. Raises what `end` raises."""
        due = self._due.get(candidate_id)
        if due is None:
            return False
        await due()
        return True

    async def clear_quarantine(self, candidate_id: str, *, actor: str, reason: str) -> Candidate:
        """Let the component be compiled again: the candidate stays refused, and one failure is forgiven."""
        candidate = self._book.candidate(candidate_id)
        if candidate.state is not S.QUARANTINED:
            raise StateConflict(f"Candidate {candidate_id} is {candidate.state}, not quarantined.")
        await self._book.decide(candidate_id, S.REJECTED, actor=actor, reason=reason)
        return await self._book.decide(candidate_id, actor=actor, reason=reason, event=Event.FORGIVEN)

    async def _end_successor(self, quarantined: Candidate) -> None:
        """A quarantined component stays on the model; so what was to replace its handler goes, too."""
        successor = self._book.open_candidate(quarantined.app_id, quarantined.component_id)
        if successor is not None:
            reason = f"{quarantined.component_id} is quarantined: {quarantined.reason}"
            await self.end(successor.id, S.SUPERSEDED, cause="superseded", reason=reason, actor=GOVERNOR)

    async def _quarantine_the_hopeless(self, candidate: Candidate) -> Candidate:
        """After too many failures, or the same one again and again, no clock tries this specification once more."""
        if candidate.state is S.QUARANTINED or candidate.cause == NOT_APPLICABLE:
            return candidate
        attempts = await self._store.attempts(
            candidate.app_id, candidate.component_id, candidate.spec_hash, candidate.kind
        )
        failures = attempts.failures - attempts.causes.count(NOT_APPLICABLE)
        if failures >= self._config.now.rejit.f_max:
            reason = f"{failures} candidates failed; the last: {candidate.reason}"
        elif attempts.same_cause_in_a_row() >= self._config.now.same_reason_quarantine:
            reason = f"failed {attempts.same_cause_in_a_row()} times in a row alike; the last: {candidate.reason}"
        else:
            return candidate
        return await self._book.decide(candidate.id, S.QUARANTINED, actor=GOVERNOR, reason=reason)


def regressions_of(candidate: Candidate, reason: str) -> tuple[RegressionCase, ...]:
    """What it got wrong; the payloads are kept already, a case is a pointer and a split."""
    return tuple(
        RegressionCase(
            app_id=candidate.app_id,
            component_id=candidate.component_id,
            spec_hash=candidate.spec_hash,
            payload=mismatch.payload,
            split=mismatch.split,
            candidate_id=candidate.id,
            reason=reason[:_REASON_CHARACTERS],
            added_at=mismatch.ts,
        )
        for mismatch in candidate.mismatches
    )


def slug(cause: str) -> str:
    """A cause as the ledger spells it: a_b_c."""
    return re.sub(r"[^a-z0-9]+", "_", cause.lower()).strip("_")

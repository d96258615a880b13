"""CandidateActions: what a person may do about one candidate, each with a reason that goes into the ledger."""

from uhlp.errors import StateConflict, ValidationFailed
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate import Candidate, CandidateState
from uhlp.evolution.compiler import Compiler
from uhlp.evolution.governor import SafetyGovernor
from uhlp.evolution.promotion import Promotion
from uhlp.evolution.statistics import Verdict

S = CandidateState


class CandidateActions:
    """The same for REST, CLI and panel. A person overrides holds, never the evidence."""

    def __init__(
        self, *, book: CandidateBook, governor: SafetyGovernor, compiler: Compiler, promotion: Promotion
    ) -> None:
        self._book = book
        self._governor = governor
        self._compiler = compiler
        self._promotion = promotion

    async def act(self, candidate_id: str, action: str, *, actor: str, reason: str) -> None:
        """approve, reject, pause, resume, rollback, promote-full, quarantine, clear-quarantine; each with a reason."""
        if not reason.strip():
            raise ValidationFailed("Give a reason: it goes into the ledger.", details={"path": "reason"})
        candidate = self._book.candidate(candidate_id)
        match action:
            case "approve":
                await self._approve(candidate, actor, reason)
            case "reject":
                if candidate.state is S.QUARANTINED:
                    raise StateConflict(f"Candidate {candidate_id} is quarantined; use clear-quarantine.")
                if candidate.is_serving:
                    raise StateConflict(f"Candidate {candidate_id} is {candidate.state} and answers; use rollback.")
                if not candidate.is_open:
                    raise StateConflict(f"Candidate {candidate_id} is {candidate.state}: there is nothing to reject.")
                await self._governor.reject(candidate_id, cause="person", reason=reason, actor=actor)
                await self._compiler.abandon(candidate_id)
            case "rollback":
                if candidate.is_open and not candidate.is_serving:
                    raise StateConflict(
                        f"Candidate {candidate_id} is {candidate.state} and answers nobody; use reject."
                    )
                if not candidate.is_serving:
                    raise StateConflict(f"Candidate {candidate_id} is {candidate.state}: it is out of service.")
                await self._governor.roll_back(candidate_id, cause="person", reason=reason, actor=actor)
            case "quarantine":
                await self._governor.quarantine(candidate_id, cause="person", reason=reason, actor=actor)
                await self._compiler.abandon(candidate_id)
            case "clear-quarantine":
                await self._governor.clear_quarantine(candidate_id, actor=actor, reason=reason)
            case "pause" | "resume":
                if not (candidate.is_open or candidate.is_serving):
                    raise StateConflict(f"Candidate {candidate_id} is {candidate.state}: there is nothing to {action}.")
                if action == "resume":
                    await self._governor.resume(candidate_id, actor=actor, reason=reason)
                else:
                    await self._book.decide(candidate_id, actor=actor, reason=reason, paused=True)
            case "promote-full":
                await self._promote_full(candidate, actor, reason)
            case _:
                raise ValidationFailed(f"There is no action {action!r}.")
        await self._promotion.reconcile(candidate.app_id, candidate.component_id)

    async def _approve(self, candidate: Candidate, actor: str, reason: str) -> None:
        if not (candidate.is_open and candidate.approval_required) or candidate.approved_by is not None:
            raise StateConflict(f"Candidate {candidate.id} is {candidate.state} and does not wait for approval.")
        await self._book.decide(candidate.id, actor=actor, reason=reason, approved_by=actor)
        self._compiler.enqueue(candidate.id)

    async def _promote_full(self, candidate: Candidate, actor: str, reason: str) -> None:
        """Skip the remaining canary steps. It never skips the evidence."""
        live = self._governor.evidence_of(candidate.id)
        if candidate.state is not S.CANARY or live is None or live.account.verdict is not Verdict.ACCEPT:
            raise StateConflict(
                f"Candidate {candidate.id} is {candidate.state}; only a canary whose epsilon is proven can be promoted."
            )
        await self._governor.promote(candidate.id, reason=reason, actor=actor)

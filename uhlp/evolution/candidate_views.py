"""CandidateViews: what people see of candidates, as JSON values; the same for REST, CLI and panel."""

from dataclasses import asdict
from difflib import unified_diff
from itertools import islice
from typing import Any

from uhlp.errors import CandidateNotFound, ValidationFailed
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate import Candidate, CandidateState
from uhlp.evolution.candidate_page import USUAL, CandidatePage
from uhlp.evolution.candidate_rows import CandidateRows
from uhlp.evolution.governor import SafetyGovernor
from uhlp.evolution.money import Money
from uhlp.evolution.promotion import Promotion
from uhlp.evolution.store import EvolutionStore
from uhlp.optimization.compress import OptimizationReport

S = CandidateState


def tokens_of(report: OptimizationReport) -> dict[str, Any]:
    """What a shorter prompt saves, by its certificate on held-out samples: prompt tokens a call before and after, and
    of how many runs how many passed."""
    certificate = report.certificate
    base, own = (certificate.baseline, certificate.candidate) if certificate else (report.baseline, report.baseline)
    return {
        "before": base.tokens_in, "after": own.tokens_in, "saved": report.total_token_reduction,
        "passedBefore": base.passed, "ofBefore": base.n, "passedAfter": own.passed, "ofAfter": own.n,
    }  # fmt: skip


class CandidateViews:
    """Reads only."""

    def __init__(
        self,
        *,
        book: CandidateBook,
        store: EvolutionStore,
        governor: SafetyGovernor,
        promotion: Promotion,
        money: Money,
    ) -> None:
        self._book = book
        self._store = store
        self._rows = CandidateRows(book=book, governor=governor)
        self._promotion = promotion
        self._money = money

    async def listed(
        self,
        app_id: str | None = None,
        state: str | None = None,
        *,
        component_id: str | None = None,
        limit: int = USUAL,
        after: str | None = None,
    ) -> CandidatePage:
        """The newest of those that match, without timelines and code; with `after` those older than that candidate.
        ValidationFailed for a state or an `after` that does not exist.
        """
        if state is not None and state not in set(S):
            raise ValidationFailed(
                f"There is no state {state!r}: one of {', '.join(S)}.", details={"allowed": [str(one) for one in S]}
            )
        try:
            found = list(islice(self._book.newest_first(app_id, component_id, state, after=after), limit + 1))
        except CandidateNotFound:
            raise ValidationFailed(
                f"{after!r} is no cursor: `after` takes that of an earlier answer.", details={"path": "after"}
            ) from None
        page = found[:limit]
        return CandidatePage(await self._rows.texts(page), page[-1].id if len(found) > limit else None)

    async def waiting(self) -> list[dict[str, Any]]:
        """Those that wait for a person's approval, newest first."""
        return [
            self._rows.row(one)
            for one in self._book.active()
            if one.is_open and one.approval_required and one.approved_by is None
        ]

    async def whole(self, candidate_id: str) -> dict[str, Any]:
        """Everything a person needs to judge it: figures, timeline, drafts, mismatches side by side, code and tests;
        of a shorter prompt its report."""
        one = await self._book.whole(candidate_id)
        entries = await self._store.entries(candidate_id=candidate_id, limit=1000)
        account = self._rows.account(one)
        code = await self._promotion.code_of(one) if one.code_sha else None
        shorter = await self._promotion.prompt_of(one) if one.code_sha else None
        mismatches = []
        for mismatch in one.mismatches:
            value = await self._store.payload(mismatch.payload, one.app_id)
            mismatches.append({**asdict(mismatch), "case": value})
        return {
            **self._rows.row(one),
            "timeline": [
                {
                    "seq": sealed.seq, "ts": sealed.entry.ts, "event": sealed.entry.event,
                    "from": sealed.entry.from_state, "to": sealed.entry.to_state, "actor": sealed.entry.actor,
                    "reason": sealed.entry.reason,
                    "evidence": dict(sealed.entry.evidence),
                }
                for sealed in entries
            ],
            "drafts": [asdict(draft) for draft in one.drafts],
            "mismatches": mismatches,
            "code": code[0] if code else None,
            "diff": await self._diff(one, code[0]) if code else shorter.diff if shorter else None,
            "report": shorter.report.model_dump(mode="json", by_alias=True) if shorter else None,
            "tokens": tokens_of(shorter.report) if shorter else None,
            "tests": code[1] if code else None,
            "testReport": code[2].get("testReport") if code else None,
            "account": {**account.summary(), "curve": account.curve} if account else None,
            "checkpoint": asdict(one.checkpoint) if one.checkpoint else None,
            "breakEven": await self._money.break_even(one),
        }  # fmt: skip

    async def _diff(self, one: Candidate, code: str) -> str | None:
        """Its code against that of the candidate before it, as `diff -u`; None where there is none before."""
        earlier = [
            other
            for other in self._book.newest_first(one.app_id, one.component_id, after=one.id)
            if other.code_sha is not None and not other.is_prompt
        ]
        kept = await self._promotion.code_of(earlier[0]) if earlier else None
        if kept is None:
            return None
        before, after = (text.splitlines(keepends=True) for text in (kept[0], code))
        return "".join(unified_diff(before, after, fromfile=earlier[0].id, tofile=one.id))

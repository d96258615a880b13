"""CandidateRows: a row for each candidate of a list."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import orjson

from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate import Candidate, CandidateState
from uhlp.evolution.candidate_page import MOST
from uhlp.evolution.governor import SafetyGovernor
from uhlp.evolution.outlines import is_outline
from uhlp.evolution.statistics import EvidenceAccount

_HELD = (CandidateState.SHADOW, CandidateState.CANARY)


class CandidateRows:
    """Reads only. The row of one that has ended is made once: a list is asked for again and again, and would cost a
    little more with every attempt there ever was.
    """

    def __init__(self, *, book: CandidateBook, governor: SafetyGovernor, kept: int = MOST) -> None:
        self._book = book
        self._governor = governor
        self._kept_most = kept
        self._ended: dict[str, tuple[Candidate, bytes]] = {}
        """By id: the outline it was made of, which another one takes the place of when anything is decided, and the
        row. The last `kept` that were made."""

    async def texts(self, candidates: Sequence[Candidate]) -> list[bytes]:
        """The rows as JSON."""
        kept = {one.id: text for one in candidates if (text := self._kept(one)) is not None}
        missing = [one for one in candidates if one.id not in kept]
        for one, shown in zip(missing, await self._book.shown(missing), strict=True):
            kept[one.id] = text = orjson.dumps(self.row(shown))
            if is_outline(one):
                self._keep(one, text)
        return [kept[one.id] for one in candidates]

    def row(self, one: Candidate) -> dict[str, Any]:
        """Of one whose measurements are at hand."""
        live = self._governor.evidence_of(one.id)
        account = self.account(one)
        return {
            "candidateId": one.id,
            "appId": one.app_id,
            "componentId": one.component_id,
            "kind": one.kind,
            "proposer": one.proposer,
            "attempt": one.attempt,
            "state": one.state,
            "reason": one.reason,
            "cause": one.cause,
            "canaryStep": one.canary_step,
            "version": one.version,
            "trust": one.trust,
            "createdAt": one.created_at,
            "updatedAt": one.updated_at,
            "codeSha": one.code_sha,
            "n": one.evidence.get("n", 0),
            "k": one.evidence.get("k", 0),
            "coverage": one.figures.coverage,
            "agreement": one.figures.agreement,
            "figures": asdict(one.figures),
            "classes": one.measurements.get("classes", {}).get("counts"),
            "proven": account.proven if account else None,
            "evidence": account.describe() if account else None,
            "executions": one.executions,
            "canary": live.canary.summary() if live is not None and live.canary is not None else None,
            "costUsd": one.costs.usd,
            "tokensIn": one.costs.tokens_in,
            "tokensOut": one.costs.tokens_out,
            "p50Ms": one.measurements.get("p50Ms"),
            "paused": one.paused,
            "approvalRequired": one.approval_required,
            "approvedBy": one.approved_by,
            "drafts": [asdict(draft) for draft in one.drafts],
            "holds": self._governor.what_holds(one) if one.state in _HELD else None,
        }

    def account(self, one: Candidate) -> EvidenceAccount | None:
        """Its evidence: as it grows, or as it was kept."""
        live = self._governor.evidence_of(one.id)
        return live.account if live else EvidenceAccount.from_dict(one.evidence) if one.evidence else None

    def _kept(self, one: Candidate) -> bytes | None:
        outline, text = self._ended.get(one.id, (None, None))
        return text if outline is one else None

    def _keep(self, outline: Candidate, text: bytes) -> None:
        self._ended.pop(outline.id, None)
        self._ended[outline.id] = outline, text
        if len(self._ended) > self._kept_most:
            del self._ended[next(iter(self._ended))]

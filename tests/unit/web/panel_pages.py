"""Pages of the panel without a browser."""

from typing import Any

import orjson
from markupsafe import Markup

from uhlp.access.administrator import Administrator, Role
from uhlp.errors import CandidateNotFound
from uhlp.evolution.candidate_page import CandidatePage
from uhlp.evolution.statistics import EvidenceAccount
from uhlp.web.panel.page import Page, Visit
from uhlp.web.panel.page_table import page_at
from uhlp.web.services import Services
from web.fakes import QuietEvolution

OWNER = Administrator("1" * 16, "olga", Role.OWNER)
VIEWER = Administrator("2" * 16, "vera", Role.VIEWER)


async def page_of(path: str, services: Services, administrator: Administrator = OWNER, **query: str) -> Page:
    """The page at a path below /panel."""
    return await page_at(path, Visit(services=services, administrator=administrator, query=query))


async def html_of(path: str, services: Services, administrator: Administrator = OWNER, **query: str) -> str:
    """Everything that it shows, as HTML."""
    page = await page_of(path, services, administrator, **query)
    return "".join([str(await section.draw()) for section in page.sections])


async def text_of(path: str, services: Services, **given: Any) -> str:
    """The same without tags."""
    return Markup(await html_of(path, services, **given)).striptags()


HOSTILE = "<img src=x onerror=alert(1)>\"'&"
"""What a model, a caller or a sandbox could have written."""


class HostileEvolution(QuietEvolution):
    """A candidate in every detail; wherever a text is not the server's own, it is hostile."""

    def offered_actions(self) -> tuple[str, ...]:
        return ("jit",)

    async def candidates(
        self, app_id: str | None = None, state: str | None = None, *, component_id: str | None = None,
        limit: int = 100, after: str | None = None,
    ) -> CandidatePage:  # fmt: skip
        found = [await self.candidate("cand-1")] if state in (None, "canary") else []
        return CandidatePage([orjson.dumps(one) for one in found], cursor=HOSTILE if found and after is None else None)

    async def waiting(self) -> list[dict[str, Any]]:
        return [await self.candidate("cand-1")]

    async def candidate(self, candidate_id: str) -> dict[str, Any]:
        if candidate_id != "cand-1":
            raise CandidateNotFound
        account = EvidenceAccount.for_attempt(1)
        for at in range(90):
            account.observe(1.0 if at == 40 else 0.0)
        moved = {"seq": 7, "ts": 1_750_000_000.0, "event": "moved", "from": "shadow", "to": "canary", "actor": HOSTILE,
                 "reason": HOSTILE, "evidence": {"why": HOSTILE}}  # fmt: skip
        case = {"input": {"text": HOSTILE}, "expected": HOSTILE, "got": HOSTILE, "inputHash": "a" * 64}
        mismatch = {"payload": "b" * 64, "stage": "audit", "reference": "majority", "ts": 1_750_000_000.0,
                    "split": "train", "overruled": False, "case": case}  # fmt: skip
        return {
            "candidateId": "cand-1", "appId": "shop", "componentId": "echo", "kind": "jit", "proposer": "coder",
            "attempt": 1, "state": "canary", "reason": HOSTILE, "cause": None, "canaryStep": 0, "version": None,
            "trust": "prove-first", "createdAt": 1_750_000_000.0, "updatedAt": 1_750_000_000.0, "codeSha": "c" * 64,
            "n": 90, "k": 1, "coverage": 0.8, "agreement": 0.99, "figures": {"handler_right": 2},
            "classes": {HOSTILE: [40, 1, 3]}, "proven": 0.1, "evidence": account.describe(), "executions": 30,
            "canary": None, "costUsd": 0.02, "tokensIn": 10, "tokensOut": 5, "p50Ms": 1.5, "paused": True,
            "approvalRequired": True, "approvedBy": None, "holds": HOSTILE, "timeline": [moved],
            "drafts": [{"sha": "c" * 64, "stage": "replay", "reason": HOSTILE, "counterexamples": 2}],
            "mismatches": [mismatch, {**mismatch, "case": None}], "code": HOSTILE, "tests": HOSTILE,
            "account": {**account.summary(), "curve": account.curve}, "checkpoint": None,
            "breakEven": {"expected": {"words": HOSTILE}, "rule": None, "measured": None},
        }  # fmt: skip

    async def why(self, app_id: str, component_id: str) -> dict[str, Any]:
        rule = {"description": HOSTILE, "expression": HOSTILE, "action": "ACTION_TRIGGER_JIT", "holds": None,
                "heldWindows": 0}  # fmt: skip
        missing = [{"what": HOSTILE, "have": 48, "need": 84, "expectedAt": None}]
        return {"lines": [HOSTILE], "missing": missing, "rules": [rule]}

    async def adjudications(self, app_id: str, component_id: str) -> dict[str, Any]:
        question = {"input_hash": "a" * 64, "candidate_id": "cand-1", "input": {"text": HOSTILE}, "got": HOSTILE,
                    "answers": (HOSTILE, "other")}  # fmt: skip
        return {"questions": [question], "adjudications": []}

    async def overview(self) -> dict[str, Any]:
        alert = {"ts": "2026-01-31T10:00:00.000Z", "severity": "critical", "event": "frozen", "appId": "shop",
                 "componentId": None, "candidateId": None, "reason": HOSTILE}  # fmt: skip
        return {
            "paused": False, "pauses": [{"appId": "shop", "componentId": None}], "candidates": {"canary": 1},
            "budgets": {"day": "2026-01-31", "usdPerDay": 1.0, "spentUsd": 0.25, "leftUsd": 0.75},
            "ledger": {"seq": 2, "head": "ab" * 32}, "problems": [{"what": HOSTILE, "why": HOSTILE}],
            "leadership": self.leadership(), "alerts": [alert], "webhooks": [{"name": HOSTILE, "events": []}],
        }  # fmt: skip

    async def ledger(self, app_id: str | None = None, *, after: int = 0, limit: int = 100) -> list[dict[str, Any]]:
        entries = [
            {"seq": 1, "ts": 1.0, "actor": "olga", "event": "setting", "reason": "slower", "hash": "1" * 64},
            {"seq": 2, "ts": 2.0, "actor": "governor", "event": "moved", "app": "shop", "component": "echo",
             "candidate": "cand-1", "from": "shadow", "to": "canary", "reason": HOSTILE, "hash": "2" * 64},
        ]  # fmt: skip
        return [one for one in entries if one["seq"] > after and app_id in (None, one.get("app"))][:limit]

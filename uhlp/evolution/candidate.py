"""A candidate and its states.

    discovered ──► synthesized ──► verified ──► shadow ──► canary ─┐ next weight
        │               │          │  ▲ │         │         │  ▲──┘
        ▼               ▼          ▼  │ ▼         ▼         ├──► promoted ──► rolled_back
     expired         rejected   waiting rejected  │         └──► rolled_back
                                                  ├──► inconclusive ──► rejected
                                                  └──► rejected
    any state that is not over ──► superseded (specification changed), quarantined (tampering)
    rejected, rolled_back      ──► quarantined (too many failures)    quarantined ──► rejected (cleared), superseded

State = fold(ledger): the fields of `Candidate` are of two kinds. Decided fields change only by a ledger entry that
carries them in its `patch`; `decisions.fold` rebuilds them exactly. Progress fields (`PROGRESS`: evidence, monitor,
figures, mismatches, costs …) grow between decisions, are kept in the candidate's row alone and are summed up in the
`evidence` of the next entry.
"""

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from enum import StrEnum
from typing import Any, Literal, Self, TypeVar

from uhlp.evolution.figures import Figures
from uhlp.models.definition import Trust

T = TypeVar("T")

MISMATCHES_KEPT = 50

Kind = Literal["jit", "prompt"]
"""What is proposed: a handler, or a shorter prompt."""


class CandidateState(StrEnum):
    """Where a candidate stands; these names appear in `?state=`."""

    DISCOVERED = "discovered"
    SYNTHESIZED = "synthesized"
    VERIFIED = "verified"
    WAITING = "waiting"
    SHADOW = "shadow"
    CANARY = "canary"
    PROMOTED = "promoted"
    REJECTED = "rejected"
    ROLLED_BACK = "rolled_back"
    INCONCLUSIVE = "inconclusive"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    QUARANTINED = "quarantined"


S = CandidateState

OPEN = frozenset({S.DISCOVERED, S.SYNTHESIZED, S.VERIFIED, S.WAITING, S.SHADOW, S.CANARY, S.INCONCLUSIVE})
"""On the way to a decision; a component has at most one such candidate."""
SERVING = frozenset({S.CANARY, S.PROMOTED})
"""Answers users."""
FAILED = frozenset({S.REJECTED, S.ROLLED_BACK, S.QUARANTINED})
"""Counts as a failure and bars the code; entered once, moves among them count no second time."""

_AT_ANY_TIME = frozenset({S.SUPERSEDED, S.QUARANTINED})
TRANSITIONS: Mapping[CandidateState, frozenset[CandidateState]] = {
    S.DISCOVERED: _AT_ANY_TIME | {S.SYNTHESIZED, S.EXPIRED, S.REJECTED},
    S.SYNTHESIZED: _AT_ANY_TIME | {S.VERIFIED, S.REJECTED},
    S.VERIFIED: _AT_ANY_TIME | {S.SHADOW, S.WAITING, S.REJECTED},
    S.WAITING: _AT_ANY_TIME | {S.VERIFIED, S.SHADOW, S.REJECTED},
    S.SHADOW: _AT_ANY_TIME | {S.CANARY, S.REJECTED, S.INCONCLUSIVE},
    S.CANARY: _AT_ANY_TIME | {S.CANARY, S.PROMOTED, S.ROLLED_BACK},
    S.PROMOTED: _AT_ANY_TIME | {S.ROLLED_BACK},
    S.INCONCLUSIVE: _AT_ANY_TIME | {S.REJECTED},
    S.REJECTED: frozenset({S.QUARANTINED}),
    S.ROLLED_BACK: frozenset({S.QUARANTINED}),
    S.QUARANTINED: frozenset({S.REJECTED, S.SUPERSEDED}),
    S.EXPIRED: frozenset(),
    S.SUPERSEDED: frozenset(),
}

RETURNS: Mapping[CandidateState, frozenset[CandidateState]] = {
    S.ROLLED_BACK: frozenset({S.PROMOTED}),
    S.SUPERSEDED: frozenset({S.PROMOTED}),
}
"""Ways back that only a person opens, by `Event.RETURNED`, and only to code that was in full service before."""


@dataclass(frozen=True, slots=True)
class Draft:
    """One version of the code on the way to a candidate: why it was refused (`stage`, `reason`), None if it was not."""

    sha: str
    stage: str | None = None
    reason: str | None = None
    counterexamples: int = 0


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A comparison the handler lost. `payload` is the digest of {"input", "expected", "got"} in the payload table.

    `stage` says where it was found (replay, shadow, audit), `reference` whose answer was upheld (golden, human, judge,
    majority, single), `split` whether the coder may see it. `overruled`: the handler was right, a person said later.
    `unanswered`: it was cut off, which may have been the machine's doing.
    """

    payload: str
    stage: str
    reference: str
    ts: float
    split: Literal["train", "held_out"]
    overruled: bool = False
    unanswered: bool = False


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a rollback returns to: the revision, and the baseline's statistics at that time."""

    revision: str
    baseline: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Costs:
    """What the candidate has cost so far: the coder's calls, and the references it was compared with.

    `audits` of the calls, for `audits_usd` of it, checked answers that it gave users.
    """

    tokens_in: int = 0
    tokens_out: int = 0
    usd: float = 0.0
    audits: int = 0
    audits_usd: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A proposed implementation (key: component, specification hash, code sha, attempt). Times are epoch seconds.

    `models` names the model and the coder in force when it was discovered.
    """

    id: str
    app_id: str
    component_id: str
    proposer: str
    spec_hash: str
    attempt: int
    state: CandidateState
    created_at: float
    updated_at: float
    entered_at: float
    reason: str
    kind: Kind = "jit"
    trust: Trust = "prove-first"
    cause: str | None = None
    code_sha: str | None = None
    version: int | None = None
    canary_step: int | None = None
    checkpoint: Checkpoint | None = None
    drafts: tuple[Draft, ...] = ()
    trained_digest: str | None = None
    config_hash: str | None = None
    models: str | None = None
    approval_required: bool = False
    approved_by: str | None = None
    paused: bool = False
    evidence: Mapping[str, Any] = field(default_factory=dict)
    monitor: Mapping[str, Any] = field(default_factory=dict)
    figures: Figures = field(default_factory=Figures)
    measurements: Mapping[str, Any] = field(default_factory=dict, repr=False)
    mismatches: tuple[Mismatch, ...] = ()
    costs: Costs = Costs()
    executions: int = 0

    @property
    def is_prompt(self) -> bool:
        return self.kind == "prompt"

    @property
    def is_open(self) -> bool:
        return self.state in OPEN

    @property
    def is_serving(self) -> bool:
        return self.state in SERVING

    def with_mismatch(self, mismatch: Mismatch) -> Self:
        """With one more mismatch; the newest `MISMATCHES_KEPT` are kept."""
        return replace(self, mismatches=(*self.mismatches, mismatch)[-MISMATCHES_KEPT:])

    def decided(self) -> dict[str, Any]:
        """The decided fields as JSON values: what the ledger alone determines."""
        return {name: _as_json(getattr(self, name)) for name in self.__slots__ if name not in PROGRESS}

    def progress(self) -> dict[str, Any]:
        """The progress fields as JSON values."""
        return {name: _as_json(getattr(self, name)) for name in self.__slots__ if name in PROGRESS}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """From `decided()`, with or without `progress()`, possibly by way of JSON."""
        known = dict(values)
        known["state"] = CandidateState(known["state"])
        known |= {name: float(known[name]) for name in ("created_at", "updated_at", "entered_at")}
        if known.get("checkpoint") is not None:
            known["checkpoint"] = _as(Checkpoint, known["checkpoint"])
        known["drafts"] = tuple(_as(Draft, draft) for draft in known.get("drafts", ()))
        known["mismatches"] = tuple(_as(Mismatch, mismatch) for mismatch in known.get("mismatches", ()))
        known["figures"] = _as(Figures, known.get("figures", {}))
        known["costs"] = _as(Costs, known.get("costs", {}))
        return cls(**known)


PROGRESS = frozenset({"evidence", "monitor", "figures", "measurements", "mismatches", "costs", "executions"})
"""Fields that grow between decisions and are no part of `fold`."""


def _as(kind: type[T], value: T | Mapping[str, Any]) -> T:
    return kind(**value) if isinstance(value, Mapping) else value


def _as_json(value: Any) -> Any:
    """Records as dictionaries; what is a JSON value already is not copied, it may be long and never changes."""
    if isinstance(value, tuple):
        return tuple(_as_json(one) for one in value)
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def new_candidate_id() -> str:
    """A fresh id, for example "c-5f0d2c81a94e"."""
    return f"c-{secrets.token_hex(6)}"

"""What the evolution store is given and gives back, beside candidates and ledger entries."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Literal

from uhlp import strict_json
from uhlp.evolution.candidate import Candidate
from uhlp.evolution.ledger import LedgerEntry

Scope = tuple[str | None, str | None]
"""What a pause covers: (application, component); (None, None) is everything."""


@dataclass(frozen=True, slots=True)
class RegressionCase:
    """An input a candidate got wrong. `split` says who may see it: the coder sees `train` only.

    `case` is {"input", "expected", "got"}; None when the payload was deleted. `payload` is its digest.
    """

    app_id: str
    component_id: str
    spec_hash: str
    payload: str
    split: Literal["train", "held_out"]
    candidate_id: str
    reason: str
    added_at: float
    case: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One decision to write: entry, the candidate it leads to, payloads by digest, cases for the regression set."""

    entry: LedgerEntry
    candidate: Candidate | None = None
    payloads: Mapping[str, Any] = field(default_factory=dict)
    regressions: tuple[RegressionCase, ...] = ()


@dataclass(frozen=True, slots=True)
class FoldProblem:
    """A place where the tables are not what the ledger says; `what` is a candidate id, a setting or "pauses"."""

    what: str
    why: str


def digest_of(value: Any) -> str:
    """SHA-256 of a JSON value's canonical form: the name of a payload."""
    return sha256(strict_json.canonical(value)).hexdigest()

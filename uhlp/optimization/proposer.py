"""The proposer port: who writes a handler for a component. A proposer never decides whether it is good."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

ALLOWED_IMPORTS = (
    "collections", "copy", "dataclasses", "datetime", "decimal", "difflib", "enum", "fractions", "functools", "hashlib",
    "html", "itertools", "json", "math", "operator", "re", "statistics", "string", "textwrap", "typing", "unicodedata",
    "urllib.parse", "uuid", "zoneinfo",
)  # fmt: skip
"""What a handler may count on when nothing else is said; a part of what the static policy lets through."""


@dataclass(frozen=True, slots=True)
class TrainSample:
    """One recorded call of the TRAIN half."""

    input: Any
    output: Any


@dataclass(frozen=True, slots=True)
class Counterexample:
    """An input that an earlier handler answered wrongly: `got` is its answer, or what went wrong in words."""

    input: Any
    expected: Any
    got: Any


@dataclass(frozen=True, slots=True)
class ProposalTask:
    """All that a proposer is told of a component. It never holds a held-out sample.

    comparator: {field: policy} as the component defines it. attempt: 1, 2, …. Of the last handler, the one in service
    where there is one: its code, the share of TRAIN inputs it answers itself (`previous_coverage`), and TRAIN samples
    it left to the model (`deoptimised`). `counterexamples` are what earlier handlers got wrong. `rounds_left`: answers
    that may still be asked for, a first one and its repairs; one that cannot be read counts as well.
    """

    app_id: str
    component_id: str
    description: str
    prompt_text: str
    input_schema: Mapping[str, Any] | None
    output_schema: Mapping[str, Any] | None
    train: tuple[TrainSample, ...]
    decision_field: str | None = None
    comparator: Mapping[str, Any] = field(default_factory=dict)
    attempt: int = 1
    counterexamples: tuple[Counterexample, ...] = ()
    previous_code: str | None = None
    allowed_imports: tuple[str, ...] = ALLOWED_IMPORTS
    deoptimised: tuple[TrainSample, ...] = ()
    previous_coverage: float | None = None
    rounds_left: int = 4


@dataclass(frozen=True, slots=True)
class Proposal:
    """A handler with its tests, and one sentence (`guard`) on which inputs it answers.

    Costs are those of all rounds so far; `unreadable` says why answers on the way could not be read, a round each.
    notes: JSON values of the proposer's own, shown to people.
    """

    code: str
    tests: str
    guard: str
    proposer: str
    cost_usd: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    unreadable: tuple[str, ...] = ()
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failures:
    """Why a proposal was sent back: texts of failing tests, and TRAIN inputs it answered wrongly."""

    test_failures: tuple[str, ...] = ()
    counterexamples: tuple[Counterexample, ...] = ()


class ProposalFailed(Exception):
    """No proposal could be made; the text says why. `retryable`: the same task may succeed later.

    Costs are those of all rounds so far, as in `Proposal`.
    """

    def __init__(
        self, reason: str, *, retryable: bool = False, cost_usd: float = 0.0, tokens_in: int = 0, tokens_out: int = 0
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retryable = retryable
        self.cost_usd = cost_usd
        self.tokens_in = tokens_in
        self.tokens_out = tokens_out


class Proposer(Protocol):
    """Makes handlers."""

    @property
    def name(self) -> str: ...

    def applies(self, task: ProposalTask) -> str | None:
        """None when this proposer can try, else the reason why not. Quick: no I/O, no learning."""
        ...

    async def propose(self, task: ProposalTask) -> Proposal:
        """A first handler. Raises ProposalFailed."""
        ...

    async def repair(self, task: ProposalTask, proposal: Proposal, failures: Failures) -> Proposal | None:
        """A better handler than `proposal`, which failed as told; None when it cannot. Raises ProposalFailed."""
        ...

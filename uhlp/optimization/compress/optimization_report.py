"""OptimizationReport: what came of every edit, and of all accepted ones together (seed 004)."""

from difflib import unified_diff
from typing import Literal

from pydantic import Field

from uhlp.models.wire import WireModel
from uhlp.optimization.compress.strategy import SectionEdit

EditOutcome = Literal["accepted", "regressed", "inconclusive", "no_saving", "invalid", "conflict", "untried"]
Verdict = Literal["shorter", "nothing_accepted", "not_applicable", "budget_exhausted", "cancelled", "failed"]


class ArmFigures(WireModel):
    """One arm's runs of one set of samples. Tokens are the provider's own figures, a run on average."""

    n: int = 0
    passed: int = 0
    errored: int = 0
    tokens_in: float | None = None
    tokens_out: float | None = None
    cost_usd: float = 0.0

    @property
    def pass_rate(self) -> float | None:
        ok = self.n - self.errored
        return self.passed / ok if ok else None


class EditVerdict(WireModel):
    """What became of one edit, and by what. `flips` are samples whose arms differed, `lost` those that lost."""

    edit: SectionEdit
    original_body: str
    outcome: EditOutcome = "untried"
    reason: str = ""
    baseline: ArmFigures = ArmFigures()
    candidate: ArmFigures = ArmFigures()
    difference: float | None = None
    at_least: float | None = None
    flips: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()

    @property
    def measured_saving(self) -> float | None:
        """Prompt tokens a run that it saves, by the provider's figures."""
        if self.baseline.tokens_in is None or self.candidate.tokens_in is None:
            return None
        return self.baseline.tokens_in - self.candidate.tokens_in

    @property
    def diff(self) -> str:
        return "\n".join(
            unified_diff(
                self.original_body.splitlines(), self.edit.proposed_body.splitlines(), "before", "after", lineterm=""
            )
        )


class Modification(WireModel):
    """A validated prompt modification ready for application."""

    section_path: tuple[str, ...]
    original_hash: str
    proposed_body: str
    token_reduction: int
    baseline_pass_rate: float
    candidate_pass_rate: float


class RejectedModification(WireModel):
    """A modification that was not accepted."""

    section_path: tuple[str, ...]
    token_reduction: int
    regression_count: int


class Spent(WireModel):
    """What the run took: runs of the component, and models' tokens and money for those, for judging and for proposals.
    Tokens whose price nobody knows count 10 dollars a million.
    """

    calls: int = 0
    tokens: int = 0
    usd: float = 0.0
    seconds: float = 0.0


class Certificate(WireModel):
    """All accepted edits together, on samples that nobody has decided by before (HELD-OUT)."""

    samples: int = Field(0, description="Inputs that both arms have scores for.")
    baseline: ArmFigures
    candidate: ArmFigures
    difference: float
    at_least: float
    is_accepted: bool
    reason: str = ""

    @property
    def unseen_losers(self) -> float | None:
        """The share of all inputs that may lose although none of these samples did: 95 % upper bound of a share of
        which `samples` draws showed nothing."""
        return 1 - 0.05 ** (1 / self.samples) if self.samples else None


class OptimizationReport(WireModel):
    """Result of an optimisation run. `modifications` are what was accepted together and certified: all of them are
    applied or none. A report may be partial (`verdict`), it is never wrong about what it holds.
    """

    experiment_id: str
    prompt_ns: str
    prompt_key: str
    component_id: str = ""
    baseline_tag: str = "stable"
    baseline_digest: str = ""
    candidate_digest: str = ""
    dataset_digest: str = ""
    train: int = 0
    held_out: int = 0
    verdict: Verdict = "failed"
    reason: str = ""
    baseline: ArmFigures = ArmFigures()
    edits: tuple[EditVerdict, ...] = ()
    certificate: Certificate | None = None
    modifications: tuple[Modification, ...] = ()
    spent: Spent = Spent()
    rule: str = "default"
    baseline_prompt_tokens: int = Field(0, description="Estimated, of the whole template.")

    @property
    def baseline_pass_rate(self) -> float:
        return self.baseline.pass_rate or 0.0

    @property
    def baseline_token_count(self) -> int:
        """Prompt tokens of an average baseline run, by the provider's figures."""
        return round(self.baseline.tokens_in or 0)

    @property
    def rejected(self) -> tuple[RejectedModification, ...]:
        return tuple(
            RejectedModification(
                section_path=one.edit.path, token_reduction=one.edit.saves, regression_count=len(one.lost)
            )
            for one in self.edits
            if one.outcome not in ("accepted", "untried")
        )

    @property
    def total_token_reduction(self) -> int:
        """Measured, a run, of all accepted edits together; estimated where the provider gives no figures."""
        certified = self.certificate
        if certified and certified.baseline.tokens_in is not None and certified.candidate.tokens_in is not None:
            return round(certified.baseline.tokens_in - certified.candidate.tokens_in)
        return sum(one.token_reduction for one in self.modifications)

    @property
    def has_modifications(self) -> bool:
        return len(self.modifications) > 0

"""What is measured of one candidate while it is in live traffic: evidence account, monitors, counts."""

from collections import Counter, deque
from dataclasses import dataclass, field, replace
from statistics import median, quantiles
from typing import Any, Self

from uhlp.evolution.candidate import Candidate, Figures
from uhlp.evolution.comparison import Comparison
from uhlp.evolution.config import EvolutionConfig, MonitorConfig
from uhlp.evolution.statistics import EvidenceAccount, Monitor

_HASH_CHARACTERS = 16
"""Enough of an input's hash to tell a few thousand inputs apart."""
_UNASKED_KEPT = 200


@dataclass(slots=True)
class LiveEvidence:
    """Mutable companion of a candidate; `progress` is what the candidate's row keeps of it.

    `trained` holds the inputs the proposer's work was fitted to: they are never evidence. While the candidate serves,
    `audits` watches every answer that is compared, `crashes` every execution that does not deoptimise (1 = exception,
    timeout, bad schema, memory, dead sandbox). `executions` counts those for users; `step_executions` those in the
    present canary step that did not deoptimise, and starts again at zero after a restart. `unasked` holds comparisons
    whose handler differed from the model while nobody could be asked who is right: leaving them out would flatter the
    handler, so nothing advances before they are judged.
    """

    account: EvidenceAccount
    audits: Monitor
    crashes: Monitor
    trained: frozenset[str]
    figures: Figures = field(default_factory=Figures)
    inputs: Counter[str] = field(default_factory=Counter)
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=500))
    executions: int = 0
    step_executions: int = 0
    measuring_errors: int = 0
    unasked: deque[Any] = field(default_factory=lambda: deque(maxlen=_UNASKED_KEPT))

    @classmethod
    def open(cls, *, attempt: int, epsilon: float, config: EvolutionConfig, trained: frozenset[str]) -> Self:
        """Fresh evidence at the level of this attempt."""
        return cls(
            account=EvidenceAccount.for_attempt(
                attempt, epsilon=epsilon, delta=config.delta, alpha=config.alpha, n_max=config.n_max
            ),
            audits=_monitor(config.monitor, tolerated=epsilon),
            crashes=_monitor(config.monitor),
            trained=trained,
        )

    @classmethod
    def restore(cls, candidate: Candidate, trained: frozenset[str]) -> Self:
        """What the candidate's row kept."""
        measurements = candidate.measurements
        return cls(
            account=EvidenceAccount.from_dict(candidate.evidence),
            audits=Monitor.from_dict(candidate.monitor["audits"]),
            crashes=Monitor.from_dict(candidate.monitor["crashes"]),
            trained=trained,
            figures=candidate.figures,
            executions=candidate.executions,
            inputs=Counter(measurements.get("inputs", {})),
            latencies_ms=deque(measurements.get("latenciesMs", ()), maxlen=500),
        )

    def is_evidence(self, comparison: Comparison, *, duplicates_cap: int) -> bool:
        """An ambiguous comparison, an input the proposer worked with and a much repeated input prove nothing.

        After `n_max` comparisons the account is closed: its verdict stands, and the monitor watches on.
        """
        short = comparison.input_hash[:_HASH_CHARACTERS]
        return (
            comparison.outcome != "ambiguous"
            and short not in self.trained
            and self.inputs[short] < duplicates_cap
            and self.account.n < self.account.n_max
        )

    def enter(self, comparison: Comparison, *, duplicates_cap: int, is_serving: bool = False) -> None:
        """Count one comparison: into figures always, into the account and the audit monitor where it belongs."""
        is_wrong = comparison.outcome == "wrong"
        loss = 1.0 if is_wrong else 0.0
        figures = self.figures
        if comparison.outcome == "ambiguous":
            self.figures = replace(figures, ambiguous=figures.ambiguous + 1)
            return
        self.figures = replace(
            figures,
            agreed=figures.agreed + (not is_wrong),
            wrong=figures.wrong + (is_wrong and comparison.has_answered),
            handler_right=figures.handler_right + comparison.model_was_wrong,
        )
        if is_serving and comparison.has_answered:  # `crashes` watches the failures
            self.audits.observe(loss)
        if self.is_evidence(comparison, duplicates_cap=duplicates_cap):
            self.inputs[comparison.input_hash[:_HASH_CHARACTERS]] += 1
            self.account.observe(loss)

    def see(self, *, latency_ms: float | None = None) -> None:
        """One more input was put to the handler; with its latency when it answered."""
        answered = self.figures.answered + (latency_ms is not None)
        self.figures = replace(self.figures, seen=self.figures.seen + 1, answered=answered)
        if latency_ms is not None:
            self.latencies_ms.append(latency_ms)

    @property
    def p50_ms(self) -> float | None:
        return median(self.latencies_ms) if self.latencies_ms else None

    @property
    def p99_ms(self) -> float | None:
        if len(self.latencies_ms) < 2:
            return self.p50_ms
        return quantiles(self.latencies_ms, n=100, method="inclusive")[98]

    def progress(self) -> dict[str, Any]:
        """The candidate's progress fields as they stand."""
        return {
            "executions": self.executions,
            "evidence": self.account.to_dict(),
            "monitor": {
                "audits": self.audits.to_dict(),
                "crashes": self.crashes.to_dict(),
                "failures": self.audits.failures + self.crashes.failures,
            },
            "figures": self.figures,
            "measurements": {
                "inputs": dict(self.inputs),
                "latenciesMs": [round(value, 3) for value in self.latencies_ms],
                "p50Ms": self.p50_ms,
                "p99Ms": self.p99_ms,
            },
        }

    def summary(self) -> dict[str, Any]:
        """The figures a decision names: n, k, log E, thresholds, proven bound, coverage, agreement."""
        return {
            **self.account.summary(),
            "coverage": self.figures.coverage,
            "agreement": self.figures.agreement,
            "audited": self.audits.n,
            "auditedWrong": self.audits.failures,
            "p50Ms": self.p50_ms,
        }


def short_hashes(input_hashes: list[str]) -> frozenset[str]:
    """The form in which trained inputs are kept."""
    return frozenset(one[:_HASH_CHARACTERS] for one in input_hashes)


def _monitor(config: MonitorConfig, tolerated: float = 0.0) -> Monitor:
    """A monitor of the configured mean, or of the loss its owner tolerates: what was let in for losing less than
    epsilon is not taken out for losing less than epsilon.
    """
    return Monitor(
        mean=max(config.mean, tolerated),
        fraction=config.fraction,
        threshold=config.threshold,
        fast_window=config.fast_window,
        fast_failures=config.fast_failures,
    )

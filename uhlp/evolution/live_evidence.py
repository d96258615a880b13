"""What is measured of one candidate while it is in live traffic: evidence account, monitors, classes, counts.

Which comparisons enter the account, and in which order, is settled before their outcome is known, as the e-process asks
(`EntryOrder`, `ClassStandings`).
"""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any, Self

from uhlp.evolution.candidate import Candidate, Costs
from uhlp.evolution.class_standings import ClassStandings, Standing
from uhlp.evolution.comparison import Comparison
from uhlp.evolution.config import EvolutionConfig
from uhlp.evolution.config_sections import MonitorConfig
from uhlp.evolution.entry_order import EntryOrder, Place
from uhlp.evolution.figures import Figures
from uhlp.evolution.measuring import Spending
from uhlp.evolution.noise_tolerance import tolerating_noise
from uhlp.evolution.recent_latencies import RecentLatencies
from uhlp.evolution.statistics import CanaryTests, ClassCounts, EvidenceAccount, Monitor
from uhlp.execution import ExecutionResult

_HASH_CHARACTERS = 16
"""Enough of an input's hash to tell a few thousand inputs apart."""
_UNASKED_KEPT = 200
_UNITS_BETWEEN_KEEPING = 50


@dataclass(slots=True)
class LiveEvidence:
    """Mutable companion of a candidate; `progress` is what the candidate's row keeps of it.

    `trained` holds the inputs the proposer's work was fitted to: they are never evidence. While the candidate serves,
    `audits` watches every answer that is compared, `crashes` every execution that does not deoptimise (1 = exception,
    timeout, bad schema, memory, dead sandbox). `executions` counts those for users; `step_executions` those in the
    present canary step that did not deoptimise, and starts again at zero after a restart. `unasked` holds comparisons
    whose handler differed from the model while nobody could be asked who is right: leaving them out would flatter the
    handler, so nothing advances before they are judged. `order` is that in which comparisons enter the account.
    `inputs` says how often an input has counted in it.
    `spending` is what asking for references has taken.
    `canary` compares the arms while it answers a share of the requests.
    `is_judged`: a judge says whether two answers mean the same, whatever the component's comparator says of them.
    `clean` says since when, and since how many executions, it has served without anything to be forgiven for.
    """

    account: EvidenceAccount
    audits: Monitor
    crashes: Monitor
    trained: frozenset[str]
    figures: Figures = field(default_factory=Figures)
    inputs: Counter[str] = field(default_factory=Counter)
    latencies_ms: RecentLatencies = field(default_factory=RecentLatencies)
    executions: int = 0
    step_executions: int = 0
    measuring_errors: int = 0
    unanswered: int = 0
    order: EntryOrder = field(default_factory=EntryOrder)
    unasked: deque[Any] = field(default_factory=deque)
    classes: ClassStandings = field(default_factory=ClassStandings)
    spending: Spending = field(default_factory=Spending)
    canary: CanaryTests | None = None
    clean: tuple[float, int] | None = None
    is_judged: bool = False
    _failing_until_s: float = -inf
    _kept_canary: tuple[int, dict[str, Any]] | None = None

    @classmethod
    def open(
        cls,
        *,
        attempt: int,
        epsilon: float,
        config: EvolutionConfig,
        trained: frozenset[str],
        decision_field: str | None = None,
        costs: Costs | None = None,
        is_against_noise: bool = False,
        is_judged: bool = False,
    ) -> Self:
        """Fresh evidence at the level of this attempt. `is_against_noise`: of a prompt beside a prompt (z = R - N)."""
        return cls(
            account=EvidenceAccount.for_attempt(
                attempt,
                epsilon=epsilon,
                delta=config.delta,
                alpha=config.alpha,
                n_max=config.n_max,
                lowest_loss=-1.0 if is_against_noise else 0.0,
            ),
            audits=_monitor(config.monitor, tolerated=epsilon),
            crashes=_monitor(config.monitor),
            trained=trained,
            classes=ClassStandings(decision_field, ClassCounts(min_agreeing=config.verify.class_min_agreeing)),
            spending=Spending(costs or Costs()),
            is_judged=is_judged,
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
            latencies_ms=RecentLatencies(measurements.get("latenciesMs", ())),
            classes=ClassStandings.from_dict(measurements),
            spending=Spending(candidate.costs),
            is_judged=bool(measurements.get("isJudged")),
            clean=tuple(measurements["clean"]) if measurements.get("clean") else None,
            canary=CanaryTests.from_dict(measurements["canary"]) if "canary" in measurements else None,
        )

    def standing(self, answer: Any) -> Standing:
        """Whether this answer of the handler may be used now."""
        return self.classes.of(answer)

    def note_answer(self, answer: Any) -> Standing:
        """The handler answered an input (`see` counts it); the standing of its class. Coverage counts by class."""
        standing = self.classes.note_answer(answer)
        self._count_answers()
        return standing

    def _count_answers(self) -> None:
        """Which of the answers so far would be used as the classes stand now."""
        if self.classes.decision_field is not None:
            counted = self.classes.by_standing
            withheld = counted["unproven"] + counted["excluded"]
            self.figures = replace(self.figures, answered=counted["trusted"], withheld=withheld)

    def may_prove(self, input_hash: str, *, duplicates_cap: int) -> bool:
        """Whether a comparison of this input could still be evidence."""
        short = input_hash[:_HASH_CHARACTERS]
        return short not in self.trained and self.inputs[short] < duplicates_cap and self.account.n < self.account.n_max

    def is_evidence(self, comparison: Comparison, *, duplicates_cap: int) -> bool:
        """An ambiguous comparison, an input the proposer worked with and a much repeated input prove nothing.

        After `n_max` comparisons the account is closed: its verdict stands, and the monitor watches on.
        """
        return comparison.outcome != "ambiguous" and self.may_prove(
            comparison.input_hash, duplicates_cap=duplicates_cap
        )

    def enter(self, comparison: Comparison, *, duplicates_cap: int) -> None:
        """Count a comparison that began and ended by itself, outside a server's traffic."""
        standing = self.standing_of(comparison)
        self.note(comparison, standing=standing, duplicates_cap=duplicates_cap)
        self.prove(comparison, standing=standing, duplicates_cap=duplicates_cap)

    def standing_of(self, comparison: Comparison) -> Standing:
        """Of the answer's class, as things are now.

        A failure claims no class; it belongs where the model's answer does, or failures alone would count at first.
        """
        return self.standing(comparison.got if comparison.has_answered else comparison.expected)

    def note(
        self, comparison: Comparison, *, standing: Standing, duplicates_cap: int, is_serving: bool = False
    ) -> None:
        """What a comparison says at once: figures, classes, and the audit monitor, whose alarm waits for nobody."""
        if comparison.outcome == "ambiguous":
            self.figures = replace(self.figures, ambiguous=self.figures.ambiguous + 1)
            return
        short = comparison.input_hash[:_HASH_CHARACTERS]
        self.classes.observe(comparison, short, is_trained=short in self.trained, duplicates_cap=duplicates_cap)
        if standing == "trusted" or comparison.stage == "audit":
            self.figures = self.figures.after_comparison(comparison)
            if is_serving and comparison.has_answered:  # `crashes` watches the failures
                self.audits.observe(1.0 if comparison.outcome == "wrong" else 0.0)
        self._count_answers()

    def prove(self, comparison: Comparison, *, standing: Standing, duplicates_cap: int) -> None:
        """Enter a comparison into the account, if it is evidence; in the order in which they began (`order`)."""
        if standing == "trusted" and self.is_evidence(comparison, duplicates_cap=duplicates_cap):
            self.inputs[comparison.input_hash[:_HASH_CHARACTERS]] += 1
            self.account.observe(comparison.loss)

    def keep_unasked(self, unasked: Any, place: Place | None = None) -> None:
        """Keep a comparison that nobody could judge, with its place: others wait behind it. Without one, or with one
        that does not count, it is kept while there is room.
        """
        is_waited_for = place is not None and place.is_counted
        if is_waited_for or len(self.unasked) < _UNASKED_KEPT:
            self.unasked.append(unasked)
            if place is not None:
                place.is_kept = True

    def overrule(self) -> None:
        """A person says that a lost comparison was none. The figures say so; the account keeps its loss.

        An e-process cannot take back what it has seen: a loss that may be argued away afterwards is no bet.
        """
        self.figures = self.figures.after_overruling()

    def settle_question(self, *, was_right: bool) -> None:
        """A person has answered an open question. "Right" is shown and is no evidence: who picks the questions to
        answer sees the answers, so a right one proves nothing. A wrong one is entered like any other comparison.
        """
        self.figures = self.figures.after_question(was_right=was_right)

    def see(self, *, latency_ms: float | None = None) -> None:
        """One more input was put to the handler; with its latency when it answered."""
        is_answered = latency_ms is not None and self.classes.decision_field is None
        self.figures = self.figures.after_input(is_answered=is_answered)
        if latency_ms is not None:
            self.latencies_ms.append(latency_ms)

    def watch(self, result: ExecutionResult) -> None:
        """Let `crashes` take one execution that did not deoptimise. Failures coincide that were under way together:
        what took them down may have been one thing, and not the handler's.
        """
        if result.outcome != "failed":
            self.crashes.observe(0.0)
            return
        coincides = result.began_s is not None and result.began_s < self._failing_until_s
        if result.began_s is not None and not coincides:
            self._failing_until_s = result.began_s + result.latency_ms / 1000
        self.crashes.observe(1.0, coincides=coincides)

    @property
    def reachable_coverage(self) -> float:
        """Coverage, were every class trusted that is not hopeless."""
        figures = self.figures
        hopeless = self.classes.by_standing["excluded"]
        return (figures.answered + figures.withheld - hopeless) / figures.seen if figures.seen else 0.0

    @property
    def p50_ms(self) -> float | None:
        return self.latencies_ms.p50_ms

    @property
    def p99_ms(self) -> float | None:
        return self.latencies_ms.p99_ms

    def begin_canary(self, tests: CanaryTests | None) -> None:
        """Compare the arms anew, with nothing known; None: there is only one arm."""
        self.canary, self._kept_canary = tests, None
        if self.account.lowest_loss < 0 and not self.audits.n:
            self.audits = tolerating_noise(self.audits, self.account)

    def _canary_state(self, *, whole: bool) -> dict[str, Any]:
        """As JSON; packing takes a millisecond, so not after every comparison, but by the number of units assigned
        (by nothing that depends on how they ended)."""
        if self.canary is None:
            return {}
        assigned = self.canary.assignment.n if self.canary.assignment is not None else 0
        kept = self._kept_canary
        if whole or kept is None or not kept[0] <= assigned < kept[0] + _UNITS_BETWEEN_KEEPING:
            kept = self._kept_canary = (assigned, self.canary.to_dict())
        return {"canary": kept[1]}

    def progress(self, *, whole: bool = True) -> dict[str, Any]:
        """The candidate's progress fields as they stand; without `whole` the canary's tests may be a little behind."""
        return {
            "executions": self.executions,
            "evidence": self.account.to_dict(),
            "monitor": {
                "audits": self.audits.to_dict(),
                "crashes": self.crashes.to_dict(),
                "failures": self.audits.failures + self.crashes.failures,
            },
            "figures": self.figures,
            "costs": self.spending.costs,
            "measurements": {
                **self.classes.to_dict(),
                "inputs": dict(self.inputs),
                "latenciesMs": list(self.latencies_ms),
                "p50Ms": self.p50_ms,
                "p99Ms": self.p99_ms,
                **self._canary_state(whole=whole),
                **({"clean": list(self.clean)} if self.clean is not None else {}),
                **({"isJudged": True} if self.is_judged else {}),
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
            **({"canary": self.canary.summary()} if self.canary is not None else {}),
        }


def short_hashes(input_hashes: Iterable[str]) -> frozenset[str]:
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

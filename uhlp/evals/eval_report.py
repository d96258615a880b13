"""EvalReport: what became of a dataset; errors apart from failures."""

from collections import Counter, defaultdict
from statistics import fmean

from uhlp.errors import EvalIncomplete
from uhlp.evals.eval_request import EvalResult
from uhlp.models.wire import WireModel

MOST_ERRORS = 0.05
"""A gate refuses a run with a larger share of errors."""


class EvalReport(WireModel):
    """Results of one arm. `asked` runs were submitted: samples times repeats. Each result is of another run."""

    arm: int = 0
    asked: int
    results: tuple[EvalResult, ...]

    @property
    def n(self) -> int:
        """Runs with a result."""
        return len(self.results)

    @property
    def ok(self) -> int:
        """Runs with a score."""
        return sum(one.success for one in self.results)

    @property
    def passed(self) -> int:
        return sum(one.passed for one in self.results)

    @property
    def failed(self) -> int:
        """Runs with a score that did not pass."""
        return self.ok - self.passed

    @property
    def errored(self) -> int:
        """Runs that say nothing of the component."""
        return self.n - self.ok

    @property
    def missing(self) -> int:
        """Runs that nobody answered in time."""
        return self.asked - self.n

    @property
    def complete(self) -> bool:
        """Whether every run has a result; with `gate` the question whether it may decide something."""
        return self.missing == 0

    @property
    def pass_rate(self) -> float | None:
        """Share of the scored runs that passed; None without any."""
        return self.passed / self.ok if self.ok else None

    @property
    def mean_score(self) -> float | None:
        scores = [one.score.value for one in self.results if one.score is not None]
        return fmean(scores) if scores else None

    @property
    def tokens_in(self) -> int:
        return sum(one.tokens_in for one in self.results)

    @property
    def tokens_out(self) -> int:
        return sum(one.tokens_out for one in self.results)

    @property
    def cost_usd(self) -> float:
        """Of the runs whose price is known, and of judging them."""
        return sum((one.cost_usd or 0.0) + ((one.score.usd or 0.0) if one.score else 0.0) for one in self.results)

    @property
    def unpriced(self) -> int:
        """Runs of which `cost_usd` does not know all."""
        return sum(one.cost_usd is None or (one.score is not None and one.score.usd is None) for one in self.results)

    @property
    def prompt_digests(self) -> frozenset[str]:
        """The prompts that really answered."""
        return frozenset(one.prompt_digest for one in self.results if one.prompt_digest is not None)

    def by_sample(self) -> dict[str, list[EvalResult]]:
        """Scored runs by sample."""
        found: defaultdict[str, list[EvalResult]] = defaultdict(list)
        for one in self.results:
            if one.success:
                found[one.sample_id].append(one)
        return dict(found)

    def gate(self) -> None:
        """Raises EvalIncomplete when nothing may be decided by this run: it is empty, incomplete, or full of errors."""
        if self.asked == 0:
            raise EvalIncomplete("The dataset is empty: nothing was asked.")
        if not self.complete:
            raise EvalIncomplete(f"{self.missing} of {self.asked} runs have no result.")
        if self.errored > MOST_ERRORS * self.asked:
            codes = Counter(one.fault.code for one in self.results if one.fault is not None)
            which = f", most of them {codes.most_common(1)[0][0]}" if codes else ""
            raise EvalIncomplete(
                f"{self.errored} of {self.asked} runs are errors{which}; at most {MOST_ERRORS:.0%} may be."
            )

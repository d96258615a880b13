"""Arms: prompts that are tried, under temporary tags, and what their runs take of a budget."""

from collections.abc import Awaitable, Callable, Sequence

from uhlp.clock import Clock
from uhlp.errors import BudgetExhausted
from uhlp.evals.dataset import Dataset
from uhlp.evals.eval_report import EvalReport
from uhlp.evals.eval_request import EvalResult
from uhlp.evals.evaluation import Evaluation
from uhlp.evals.evaluators import EvaluatorSpec
from uhlp.models.experiment import Experiment
from uhlp.optimization.compress.acceptance import PairedTrial, Rule
from uhlp.optimization.compress.optimization_report import ArmFigures, Spent
from uhlp.optimization.compress.optimize_request import OptimizeBudget
from uhlp.optimization.compress.strategy import SectionEdit, StrategyUse, priced
from uhlp.prompts.overrides import PromptDescriptor, PromptOverridesStore

_LONGER_S = 3_600.0
"""What a crash leaves of temporary tags ends by itself, so many seconds after the time of the run."""
_SETTLED_WITHIN_S = 60.0
"""How long the runs under way are waited for when a budget is spent, so that they are charged."""


class RunEnded(Exception):
    """The budget is spent or somebody cancelled: what is known is reported."""


class Arms:
    """The arms of one run. `is_cancelled` is asked with every result, so that a run of any process can be ended."""

    def __init__(
        self,
        *,
        evaluation: Evaluation,
        store: PromptOverridesStore,
        prompt: PromptDescriptor,
        component_id: str,
        evaluator: EvaluatorSpec,
        experiment_id: str,
        delivery: int,
        baseline_tag: str,
        flags: dict[str, bool],
        budget: OptimizeBudget,
        spent: Spent,
        is_cancelled: Callable[[], Awaitable[bool]],
        clock: Clock,
    ) -> None:
        self._evaluation = evaluation
        self._store = store
        self._prompt = prompt
        self._component_id = component_id
        self._evaluator = evaluator
        self._experiment_id = experiment_id
        self._tags = _tags(experiment_id)
        self._delivery = delivery
        self._baseline_tag = baseline_tag
        self._flags = flags
        self._budget = budget
        self._is_cancelled = is_cancelled
        self._clock = clock
        self._began = clock.monotonic() - spent.seconds
        self._refusal: str | None = None
        """Why models are not asked any more: a budget of the application's, or of evolution's, is spent."""
        self.spent = spent
        self.baseline = Experiment(
            id=f"{experiment_id}-baseline", name="baseline", overrides_tag=baseline_tag, flags=flags
        )

    async def arm(self, name: str, edits: Sequence[SectionEdit]) -> Experiment:
        """An arm with these edits on the baseline, all in one temporary set. Raises OverrideRefused."""
        tag = f"{self._tags}{self._delivery}-{name}"
        await self._store.delete(ns=self._prompt.ns, prompt_key=self._prompt.key, tag=tag)  # of a step done again
        await self._store.put(
            self._prompt,
            [one.as_override() for one in edits],
            tag=tag,
            parent=self._baseline_tag,
            ttl_s=self._budget.seconds + _LONGER_S,
            provenance={"experiment": self._experiment_id},
        )
        return Experiment(
            id=f"{self._experiment_id}-{name}",
            name=name,
            overrides_tag=tag,
            parent_tag=self._baseline_tag,
            flags=self._flags,
        )

    async def run(
        self, arms: Sequence[Experiment], dataset: Dataset, *, repeats: int, first: int = 0
    ) -> list[EvalReport]:
        """Runs of all samples in all arms, interleaved. RunEnded when the budget is spent or the run is cancelled."""
        await self.check()
        budget, spent = self._budget, self.spent
        reports = await self._evaluation.evaluate(
            dataset,
            app_id=self._prompt.ns,
            component_id=self._component_id,
            evaluator=self._evaluator,
            arms=arms,
            repeats=repeats,
            first_attempt=first,
            deadline_s=budget.seconds - self._seconds(),
            most_runs=budget.calls - spent.calls,
            goes_on=self._note,
            settles_within_s=_SETTLED_WITHIN_S,
        )
        if not all(one.complete for one in reports):
            await self.check()
        return reports

    async def trials(
        self, baseline: Experiment, candidates: Sequence[Experiment], dataset: Dataset, *, rule: Rule
    ) -> list["Trial"]:
        """Hold every candidate against the baseline until its trial wants no more runs; the first runs of the baseline
        are shared."""
        samples = dataset.by_id()
        trials = [Trial(PairedTrial(list(samples), rule=rule)) for _ in candidates]
        shared = trials[0].paired.wanted() if trials else None
        for trial in trials[1:]:
            trial.paired.wanted()
        if shared is None:
            return trials
        base, *others = await self.run([baseline, *candidates], dataset, repeats=shared[1])
        for trial, report in zip(trials, others, strict=True):
            trial.add(0, base)
            trial.add(1, report)
        for trial, candidate in zip(trials, candidates, strict=True):
            attempt = shared[1]
            while not trial.is_void and (wanted := trial.paired.wanted()) is not None:
                some = Dataset(samples=tuple(samples[one] for one in wanted[0]))
                base, other = await self.run([baseline, candidate], some, repeats=wanted[1], first=attempt)
                attempt += wanted[1]
                trial.add(0, base)
                trial.add(1, other)
        return trials

    def spent_by_now(self) -> Spent:
        """With the time of this delivery."""
        return self.spent.model_copy(update={"seconds": self._seconds()})

    def charge(self, use: StrategyUse) -> None:
        """What a strategy took."""
        self.spent = self.spent.model_copy(
            update={"tokens": self.spent.tokens + use.tokens, "usd": self.spent.usd + use.usd}
        )

    @property
    def deadline(self) -> float:
        """In the clock's monotonic seconds."""
        return self._began + self._budget.seconds

    async def _note(self, result: EvalResult) -> bool:
        if result.fault is not None and result.fault.code == BudgetExhausted.code:
            self._refusal = result.fault.message
        tokens = result.tokens_in + result.tokens_out
        usd = priced(result.cost_usd, tokens)
        if result.score is not None:
            tokens += result.score.tokens
            usd += priced(result.score.usd, result.score.tokens)
        spent = self.spent
        self.spent = spent.model_copy(
            update={"calls": spent.calls + 1, "tokens": spent.tokens + tokens, "usd": spent.usd + usd}
        )
        return await self._why_over() is None

    async def check(self) -> None:
        """RunEnded when the budget is spent or the run is cancelled."""
        why = await self._why_over()
        if why is not None:
            raise RunEnded(why)

    async def _why_over(self) -> str | None:
        budget, spent = self._budget, self.spent
        if await self._is_cancelled():
            return "cancelled"
        if self._refusal is not None:
            return self._refusal
        limits = [(budget.calls, spent.calls, "runs"), (budget.tokens, spent.tokens, "tokens"),
                  (budget.usd, spent.usd, "US dollars"), (budget.seconds, self._seconds(), "seconds")]  # fmt: skip
        for limit, used, unit in limits:
            if limit is not None and used >= limit:
                return f"the budget of {limit:g} {unit} is spent"
        return None

    def _seconds(self) -> float:
        return self._clock.monotonic() - self._began


async def remove_arms(store: PromptOverridesStore, ns: str, key: str, *, experiment_id: str, delivery: int) -> None:
    """Remove the temporary sets of a run's delivery and of earlier ones; a later one may be using its own."""
    for identity in await store.list(ns=ns, prompt_key=key):
        made_by = identity.tag.removeprefix(_tags(experiment_id)).split("-")[0]
        if identity.tag.startswith(_tags(experiment_id)) and made_by.isdigit() and int(made_by) <= delivery:
            await store.delete(ns=ns, prompt_key=key, tag=identity.tag)


def _tags(experiment_id: str) -> str:
    """What the tags of a run begin with; short, whatever the request is called."""
    return f"opt-{experiment_id[:12]}-"


class Trial:
    """A candidate's runs and the baseline's beside them, with what they took."""

    def __init__(self, paired: PairedTrial) -> None:
        self.paired = paired
        self._reports: tuple[list[EvalReport], list[EvalReport]] = ([], [])

    def add(self, arm: int, report: EvalReport) -> None:
        self._reports[arm].append(report)
        for sample, results in report.by_sample().items():
            for result in results:
                if result.score is not None:
                    self.paired.add(arm, sample, result.score.value)

    @property
    def is_void(self) -> bool:
        """Both arms asked the same prompt, or one of them asked several: the runs compare nothing."""
        base, other = (self.digests(arm) for arm in (0, 1))
        return bool(base & other) or len(base) > 1 or len(other) > 1

    def digests(self, arm: int) -> frozenset[str]:
        return frozenset(digest for report in self._reports[arm] for digest in report.prompt_digests)

    def figures(self, arm: int) -> ArmFigures:
        return figures_of(self._reports[arm])

    def gate(self) -> None:
        """Raises EvalIncomplete when the runs may decide nothing."""
        for report in (*self._reports[0], *self._reports[1]):
            report.gate()


def figures_of(reports: Sequence[EvalReport]) -> ArmFigures:
    """The figures of an arm over several reports."""
    ok = [one for report in reports for one in report.results if one.success]
    return ArmFigures(
        n=sum(report.n for report in reports),
        passed=sum(report.passed for report in reports),
        errored=sum(report.errored for report in reports),
        tokens_in=sum(one.tokens_in for one in ok) / len(ok) if ok else None,
        tokens_out=sum(one.tokens_out for one in ok) / len(ok) if ok else None,
        cost_usd=sum(report.cost_usd for report in reports),
    )

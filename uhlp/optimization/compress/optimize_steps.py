"""The steps of an optimisation run, each from what the ones before it found out."""

from collections.abc import Mapping

import structlog

from uhlp.errors import EvalIncomplete, UhlpError
from uhlp.evals.dataset import Dataset
from uhlp.evals.eval_report import EvalReport
from uhlp.optimization.compress.acceptance import LEAST_SAMPLES, Judgement
from uhlp.optimization.compress.arms import Arms, Trial, figures_of
from uhlp.optimization.compress.edits import sifted
from uhlp.optimization.compress.optimization_report import Certificate, EditVerdict, Verdict
from uhlp.optimization.compress.optimize_run import OptimizeRun, Step
from uhlp.optimization.compress.strategy import CompressStrategy, SectionEdit, estimated_tokens
from uhlp.prompts.overrides import PromptDescriptor

log = structlog.get_logger(__name__)

SCREENED_SAMPLES = 12
_SCREEN_MAY_LOSE = 2
_LEAST_PASS_RATE = 0.5


class NotApplicable(Exception):
    """Nothing can be decided about this prompt; the text says why."""


class OptimizeSteps:
    """Each step takes a run, the prompt as its baseline has it, and the arms; and gives the run as it is then."""

    def __init__(self, *, strategies: Mapping[str, CompressStrategy]) -> None:
        self._strategies = strategies

    async def measure_baseline(self, run: OptimizeRun, prompt: PromptDescriptor, arms: Arms) -> OptimizeRun:
        train, held_out = run.dataset.of_split("train"), run.dataset.of_split("held_out")
        if min(len(train), len(held_out)) < LEAST_SAMPLES:
            raise NotApplicable(
                f"{len(train)} samples to choose by and {len(held_out)} held out; {LEAST_SAMPLES} of each are needed"
            )
        (report,) = await arms.run([arms.baseline], train, repeats=1)
        try:
            report.gate()
        except EvalIncomplete as incomplete:
            raise NotApplicable(f"the baseline could not be measured: {incomplete.message}") from None
        rate = report.pass_rate or 0.0
        if rate < _LEAST_PASS_RATE:
            raise NotApplicable(
                f"only {rate:.0%} of the baseline's answers pass; {_LEAST_PASS_RATE:.0%} are needed. Where they are "
                "right in other words, declare the field free_text (optimization.comparator) and set llm.judgeModel"
            )
        return run.model_copy(
            update={
                "step": Step.PROPOSE,
                "baseline": figures_of([report]),
                "baseline_digest": next(iter(report.prompt_digests), ""),
                "baseline_prompt_tokens": estimated_tokens(prompt.prompt.text),
            }
        )

    async def propose(self, run: OptimizeRun, prompt: PromptDescriptor, arms: Arms) -> OptimizeRun:
        await arms.check()  # strategies may ask models
        edits: list[SectionEdit] = []
        failures: list[UhlpError] = []
        for name in run.request.strategies or self._strategies:
            strategy = self._strategies.get(name)
            if strategy is None:
                raise NotApplicable(f"there is no strategy {name}; there are {', '.join(sorted(self._strategies))}")
            try:
                proposed, use = await strategy.propose(prompt, component_id=run.component_id, deadline=arms.deadline)
            except UhlpError as error:  # the others' edits are worth trying all the same
                log.warning("strategy_failed", strategy=name, app_id=prompt.ns, prompt=prompt.key, why=error.message)
                failures.append(error)
                continue
            arms.charge(use)
            edits += proposed
        if failures and not edits:
            raise failures[0]
        return run.model_copy(update={"step": Step.SCREEN, "edits": tuple(sifted(prompt, edits))})

    async def screen(self, run: OptimizeRun, prompt: PromptDescriptor, arms: Arms) -> OptimizeRun:
        """One run of a few samples in all arms: what fails plainly is not confirmed."""
        places = [place for place, one in enumerate(run.edits) if one.outcome == "untried"]
        if not places:
            return run.model_copy(update={"step": Step.COMBINE})
        few = run.dataset.of_split("train").first(SCREENED_SAMPLES)
        candidates = [await arms.arm(f"e{place}", [run.edits[place].edit]) for place in places]
        base, *others = await arms.run([arms.baseline, *candidates], few, repeats=1)
        _same_baseline(run, base.prompt_digests)
        verdicts = list(run.edits)
        for place, report in zip(places, others, strict=True):
            verdicts[place] = _screened(verdicts[place], base, report)
        return run.model_copy(update={"step": Step.CONFIRM, "edits": tuple(verdicts)})

    async def confirm(self, run: OptimizeRun, prompt: PromptDescriptor, arms: Arms) -> OptimizeRun:
        places = [place for place, one in enumerate(run.edits) if one.outcome == "untried"]
        candidates = [await arms.arm(f"e{place}", [run.edits[place].edit]) for place in places]
        trials = await arms.trials(arms.baseline, candidates, run.dataset.of_split("train"), rule=run.request.rule)
        verdicts = list(run.edits)
        for place, trial in zip(places, trials, strict=True):
            _same_baseline(run, trial.digests(0))
            verdicts[place] = _judged(verdicts[place], trial)
        return run.model_copy(update={"step": Step.COMBINE, "edits": tuple(verdicts)})

    async def combine(self, run: OptimizeRun, prompt: PromptDescriptor, arms: Arms) -> OptimizeRun:
        """All accepted edits together on TRAIN, else one after the other; what holds is certified on HELD-OUT."""
        verdicts = list(run.edits)
        chosen = _best_of_each_section(verdicts)
        train = run.dataset.of_split("train")
        if len(chosen) > 1 and not await self._holds(run, arms, train, verdicts, chosen, "all"):
            kept: list[int] = chosen[:1]
            for number, place in enumerate(chosen[1:]):
                if await self._holds(run, arms, train, verdicts, [*kept, place], f"g{number}"):
                    kept.append(place)
                else:
                    reason = "accepted by itself, not together with the others"
                    verdicts[place] = verdicts[place].model_copy(update={"outcome": "conflict", "reason": reason})
            chosen = kept
        run = run.model_copy(update={"edits": tuple(verdicts), "combined": tuple(chosen)})
        if not chosen:
            unmeasured = next(
                (one for one in verdicts if one.outcome == "inconclusive" and one.difference is None), None
            )
            if unmeasured is not None:
                return _ended(run, "not_applicable", f"an edit could not be measured: {unmeasured.reason}")
            return _ended(run, "nothing_accepted", _why_nothing(verdicts))
        candidate = await arms.arm("cert", [verdicts[place].edit for place in chosen])
        (trial,) = await arms.trials(
            arms.baseline, [candidate], run.dataset.of_split("held_out"), rule=run.request.rule
        )
        _same_baseline(run, trial.digests(0))
        certificate = _certificate(trial)
        run = run.model_copy(update={"certificate": certificate, "candidate_digest": next(iter(trial.digests(1)), "")})
        try:
            trial.gate()
        except EvalIncomplete as incomplete:
            return _ended(run, "not_applicable", f"the held-out samples could not be measured: {incomplete.message}")
        if not certificate.is_accepted:
            reason = f"the accepted edits together did not hold on held-out samples: {certificate.reason}"
            return _ended(run, "nothing_accepted", reason)
        return _ended(run, "shorter", "")

    async def _holds(
        self, run: OptimizeRun, arms: Arms, train: Dataset, verdicts: list[EditVerdict], places: list[int], name: str
    ) -> bool:
        candidate = await arms.arm(name, [verdicts[place].edit for place in places])
        (trial,) = await arms.trials(arms.baseline, [candidate], train, rule=run.request.rule)
        return _certificate(trial).is_accepted


def _ended(run: OptimizeRun, verdict: Verdict, reason: str) -> OptimizeRun:
    return run.model_copy(update={"step": Step.DONE, "verdict": verdict, "reason": reason})


def _same_baseline(run: OptimizeRun, digests: frozenset[str]) -> None:
    """Raises NotApplicable: what the run has found out so far is of another prompt than the one that answers now."""
    if run.baseline_digest and digests - {run.baseline_digest}:
        raise NotApplicable("the prompt has changed while it was tried")


def _screened(verdict: EditVerdict, base: EvalReport, report: EvalReport) -> EditVerdict:
    """The verdict with the figures of the screening; still `untried` where nothing speaks against it. Only samples that
    both arms have a score for are compared: errors speak for nobody.
    """
    verdict = verdict.model_copy(update={"baseline": figures_of([base]), "candidate": figures_of([report])})
    if base.prompt_digests & report.prompt_digests:
        return verdict.model_copy(update={"outcome": "invalid", "reason": "both arms asked the same prompt"})
    after = report.by_sample()
    both = [(one, after[sample][0]) for sample, (one, *_) in base.by_sample().items() if sample in after]
    lost = sum(one.passed and not other.passed for one, other in both)
    won = sum(other.passed and not one.passed for one, other in both)
    if lost - won > _SCREEN_MAY_LOSE:
        reason = f"{lost} of {len(both)} samples that passed fail in the screening"
        return verdict.model_copy(update={"outcome": "regressed", "reason": reason})
    saved = sum(one.tokens_in - other.tokens_in for one, other in both)
    if saved <= 0 < sum(one.tokens_in for one, _ in both):
        return verdict.model_copy(update={"outcome": "no_saving", "reason": "the provider counts no fewer tokens"})
    return verdict


def _judged(verdict: EditVerdict, trial: Trial) -> EditVerdict:
    """The verdict with what its trial says."""
    figures = {"baseline": trial.figures(0), "candidate": trial.figures(1)}
    if trial.is_void:
        return verdict.model_copy(update={**figures, "outcome": "invalid", "reason": "the runs compare nothing"})
    try:
        trial.gate()
    except EvalIncomplete as incomplete:
        return verdict.model_copy(update={**figures, "outcome": "inconclusive", "reason": incomplete.message})
    said = trial.paired.judgement
    measured = {"difference": said.difference, "at_least": said.at_least, "flips": said.flips, "lost": said.lost}
    return verdict.model_copy(update={**figures, **measured, "outcome": said.decision, "reason": _reason(said)})


def _certificate(trial: Trial) -> Certificate:
    said = trial.paired.judgement
    reason = _reason(said)
    is_accepted = said.decision == "accepted"
    try:
        trial.gate()
    except EvalIncomplete as incomplete:
        is_accepted, reason = False, incomplete.message
    if trial.is_void:
        is_accepted, reason = False, "the runs compare nothing: both arms asked the same prompt"
    return Certificate(
        samples=len(trial.paired.scores(0).keys() & trial.paired.scores(1).keys()),
        baseline=trial.figures(0),
        candidate=trial.figures(1),
        difference=said.difference,
        at_least=said.at_least,
        is_accepted=is_accepted,
        reason=reason,
    )


def _reason(said: Judgement) -> str:
    if said.decision == "accepted":
        return ""
    if said.lost:
        return f"{len(said.lost)} samples lost half of their score or more: {', '.join(said.lost[:5])}"
    return f"the mean score may be {-said.at_least:.1%} lower (bound at 95 %); 5 % may be lost"


def _best_of_each_section(verdicts: list[EditVerdict]) -> list[int]:
    """Places of accepted edits, one a section: the one that saves most; the largest savings first."""
    best: dict[str, int] = {}
    for place, one in enumerate(verdicts):
        if one.outcome != "accepted":
            continue
        other = best.get(one.edit.section)
        if other is None or _saving(one) > _saving(verdicts[other]):
            if other is not None:
                verdicts[other] = _outdone(verdicts[other])
            best[one.edit.section] = place
        else:
            verdicts[place] = _outdone(one)
    return sorted(best.values(), key=lambda place: -_saving(verdicts[place]))


def _outdone(verdict: EditVerdict) -> EditVerdict:
    return verdict.model_copy(update={"outcome": "conflict", "reason": "another edit of this section saves more"})


def _saving(verdict: EditVerdict) -> float:
    measured = verdict.measured_saving
    return measured if measured else float(verdict.edit.saves)


def _why_nothing(verdicts: list[EditVerdict]) -> str:
    if not verdicts:
        return "no strategy proposed anything"
    return "no edit was accepted: " + ", ".join(sorted({one.outcome.replace("_", " ") for one in verdicts}))

"""EvalRecord: an evaluation that somebody asked for, with what came of every sample."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from uhlp import strict_json
from uhlp.evals.component_datasets import Origin
from uhlp.evals.dataset import Dataset
from uhlp.evals.eval_report import EvalReport
from uhlp.evals.eval_request import EvalResult
from uhlp.evals.evaluators import EvaluatorSpec
from uhlp.models.definition import AppId, ComponentId
from uhlp.models.experiment import Tag
from uhlp.models.wire import WireModel
from uhlp.traffic.redaction import Redaction

_LONGEST_OUTPUT = 2_000
_MOST_FLIPS = 200
_HIDDEN = "not shown: the component's outputs are redacted"
State = Literal["queued", "running", "done", "failed", "interrupted", "cancelled"]


class EvalOrder(WireModel):
    """What to evaluate: the prompt as `tag` has it, or, with `served`, whatever answers requests now."""

    component_id: ComponentId
    tag: Tag = "stable"
    served: bool = False
    origin: Annotated[Origin, Field(alias="dataset")] = "all"
    samples: Dataset | None = None
    limit: Annotated[int, Field(ge=1, le=10_000)] | None = None
    repeats: Annotated[int, Field(ge=1, le=20)] = 1
    evaluator: EvaluatorSpec | None = None
    deadline_s: Annotated[float, Field(gt=0, le=86_400)] = 3_600.0
    flags: dict[str, bool] = Field(default_factory=dict)


class SampleVerdict(WireModel):
    """What became of one sample: the mean of its scores, None when every run was an error. `output` is the last one
    that did not pass, as JSON, cut.
    """

    id: str
    score: float | None
    runs: int
    passed: int
    errors: int = 0
    reason: str = ""
    output: str = ""


class EvalFigures(WireModel):
    """Errors apart from failures; tokens and money are of all runs, latency of those that were answered. What runs took
    whose price is not known (`unpriced` of them) is not in `costUsd`.
    """

    asked: int = 0
    n: int = 0
    ok: int = 0
    passed: int = 0
    failed: int = 0
    errored: int = 0
    missing: int = 0
    is_complete: Annotated[bool, Field(alias="complete")] = False
    pass_rate: float | None = None
    mean_score: float | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: float = 0.0
    unpriced: int = 0
    p50_ms: float | None = None


class EvalRecord(WireModel):
    """One evaluation. `done` of `asked` runs are answered while it is running."""

    id: str
    app_id: AppId
    order: EvalOrder
    state: State = "queued"
    created_at: float
    ended_at: float | None = None
    done: int = 0
    dataset_digest: str = ""
    prompt_digests: tuple[str, ...] = ()
    figures: EvalFigures = EvalFigures()
    verdicts: tuple[SampleVerdict, ...] = ()
    error: str | None = None


def figures_of(report: EvalReport) -> EvalFigures:
    """The figures of a report."""
    latencies = sorted(one.latency_ms for one in report.results if one.success)
    return EvalFigures(
        asked=report.asked, n=report.n, ok=report.ok, passed=report.passed, failed=report.failed,
        errored=report.errored, missing=report.missing, is_complete=report.complete, pass_rate=report.pass_rate,
        mean_score=report.mean_score, tokens_in=report.tokens_in, tokens_out=report.tokens_out,
        cost_usd=report.cost_usd, unpriced=report.unpriced,
        p50_ms=latencies[len(latencies) // 2] if latencies else None,
    )  # fmt: skip


def verdicts_of(report: EvalReport, redaction: Redaction) -> list[SampleVerdict]:
    """What became of each sample, in order; what is shown of outputs is redacted."""
    by_sample: dict[str, list[EvalResult]] = {}
    for one in report.results:
        by_sample.setdefault(one.sample_id, []).append(one)
    return [_verdict(sample_id, results, redaction) for sample_id, results in by_sample.items()]


def _verdict(sample_id: str, results: list[EvalResult], redaction: Redaction) -> SampleVerdict:
    scores = [one.score for one in results if one.score is not None]
    failed = next((one for one in reversed(results) if not one.passed), None)
    reason, output = "", ""
    if failed is not None and failed.score is not None:
        shown = redaction.apply(failed.output)
        output = strict_json.dumps(shown).decode()[:_LONGEST_OUTPUT]
        is_hidden = redaction.names_fields or shown != failed.output  # a reason may quote any value
        reason = _HIDDEN if is_hidden else redaction.apply(failed.score.reason)
    elif failed is not None and failed.fault is not None:
        reason = redaction.apply(f"{failed.fault.code}: {failed.fault.message}")
    return SampleVerdict(
        id=sample_id,
        score=sum(one.value for one in scores) / len(scores) if scores else None,
        runs=len(results),
        passed=sum(one.passed for one in scores),
        errors=len(results) - len(scores),
        reason=reason[:_LONGEST_OUTPUT],
        output=output,
    )


def compared(first: EvalRecord, second: EvalRecord) -> dict[str, Any]:
    """What changed from one evaluation to another: of samples that both have scores for."""
    before: Mapping[str, SampleVerdict] = {one.id: one for one in first.verdicts}
    flips: list[tuple[float, float, SampleVerdict]] = []
    both = 0
    for one in second.verdicts:
        other = before.get(one.id)
        if other is None or other.score is None or one.score is None:
            continue
        both += 1
        if other.score != one.score:
            flips.append((other.score, one.score, one))
    return {
        "sameDataset": first.dataset_digest == second.dataset_digest,
        "samePrompt": first.prompt_digests == second.prompt_digests,
        "samples": both,
        "better": sum(after > score for score, after, _ in flips),
        "worse": sum(after < score for score, after, _ in flips),
        "flips": [
            {"id": one.id, "before": score, "after": after, "reason": one.reason}
            for score, after, one in sorted(flips, key=lambda flip: flip[1] - flip[0])[:_MOST_FLIPS]
        ],
    }

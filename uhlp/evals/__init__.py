"""Evals: whether an answer is right, and how many of a handler's answers are (seed 004)."""

from uhlp.evals.dataset import Dataset, Sample
from uhlp.evals.eval_loop import EvalLoop
from uhlp.evals.eval_report import EvalReport
from uhlp.evals.eval_request import EvalRequest, EvalResult
from uhlp.evals.evaluation import Evaluation
from uhlp.evals.evaluators import (
    Compared,
    Evaluators,
    EvaluatorSpec,
    Exact,
    JsonSubset,
    Judged,
    Numeric,
    OfFunction,
    OfSchema,
)
from uhlp.evals.score import Score

__all__ = [
    "Compared",
    "Dataset",
    "EvalLoop",
    "EvalReport",
    "EvalRequest",
    "EvalResult",
    "Evaluation",
    "EvaluatorSpec",
    "Evaluators",
    "Exact",
    "JsonSubset",
    "Judged",
    "Numeric",
    "OfFunction",
    "OfSchema",
    "Sample",
    "Score",
]

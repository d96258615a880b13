"""Shorter prompts that lose nothing: who proposes them, and the loop that tries them (seed 004)."""

from uhlp.optimization.compress.deterministic_strategy import DeterministicStrategy
from uhlp.optimization.compress.llm_compress_strategy import LLMCompressStrategy
from uhlp.optimization.compress.modifications import apply_modifications
from uhlp.optimization.compress.optimization_report import (
    EditVerdict,
    Modification,
    OptimizationReport,
    RejectedModification,
)
from uhlp.optimization.compress.optimize_loop import OptimizeLoop
from uhlp.optimization.compress.optimize_request import OptimizeBudget, OptimizeRequest, OptimizeResult
from uhlp.optimization.compress.optimize_run import OptimizeRuns
from uhlp.optimization.compress.strategy import CompressStrategy, SectionEdit

__all__ = [
    "CompressStrategy",
    "DeterministicStrategy",
    "EditVerdict",
    "LLMCompressStrategy",
    "Modification",
    "OptimizationReport",
    "OptimizeBudget",
    "OptimizeLoop",
    "OptimizeRequest",
    "OptimizeResult",
    "OptimizeRuns",
    "RejectedModification",
    "SectionEdit",
    "apply_modifications",
]

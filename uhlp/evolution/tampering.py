"""Tampering: what a candidate is quarantined for at once, and in which words.

Signs in the text of handler and tests (`execution.tampering`), a test report that no runner writes, and calls of tools
that nobody gave it. Everything else that goes wrong is a failure like any other: refused, and tried again later.
"""

from collections.abc import Sequence

from uhlp.errors import ToolNotFound
from uhlp.evals.replay import ReplayReport
from uhlp.execution import ExecutionResult

TAMPERING = "tampering"
"""The cause in the ledger; nobody learns from the code of such a candidate."""

_NAMED = 3
_NAME_CHARACTERS = 80


def forbidden_calls(report: ReplayReport) -> list[str]:
    """Tools that the handler called and may not use, in words; empty when there were none."""
    return _said({name for one in report.results for name in one.forbidden_tools})


def forbidden_calls_of(result: ExecutionResult) -> list[str]:
    """The same of one execution, in live traffic."""
    return _said({one.tool for one in result.tool_calls if one.outcome == ToolNotFound.code})


def _said(tools: set[str]) -> list[str]:
    names = sorted(name[:_NAME_CHARACTERS] for name in tools)
    return [f"it called {', '.join(map(repr, names[:_NAMED]))}, which its component may not use"] if names else []


def tampered(signs: Sequence[str]) -> str:
    """The reason of the quarantine."""
    return f"tries to deceive its evaluation: {'; '.join(signs[:_NAMED])}"

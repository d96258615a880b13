"""Generated tests: real pytest over a handler and its test file, in this process.

The tests share the process with the code they test, so the report can be forged: the host may use it only to reject.
A worker that has run tests is not clean any more; the host runs each set in a fresh one.
"""

import contextlib
import io
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from . import answers
from .answers import Answer
from .artifacts import Artifact

REPORT_LIMIT = 20_000
FAILURES_LIMIT = 20
_OPTIONS = ("-q", "--tb=short", "--capture=sys", "-pno:cacheprovider", "-pno:faulthandler", "--color=no")


class _Counts:
    """A pytest plugin that counts what the hooks report."""

    def __init__(self) -> None:
        self.passed = self.failed = self.errors = self.skipped = 0
        self.failures: list[dict[str, str]] = []

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" and report.passed:
            self.passed += 1
        elif report.skipped:
            self.skipped += 1
        elif report.failed and report.when == "call":
            self.failed += 1
            self._keep(report)
        elif report.failed:
            self.errors += 1
            self._keep(report)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.errors += 1
            self._keep(report)

    def _keep(self, report: Any) -> None:
        if len(self.failures) < FAILURES_LIMIT:
            name = str(report.nodeid).partition("::")[2] or str(report.nodeid)
            message = answers.sendable(str(report.longreprtext)[-answers.MESSAGE_LIMIT :])
            self.failures.append({"name": answers.sendable(name), "message": message})


def run(handler: Artifact, tests: Artifact) -> Answer:
    """{passed, failed, errors, skipped, total, report (at most 20 kB), failures [{name, message}]}.

    Tests that cannot be imported, find nothing to run or end pytest count as an error.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix="tests-"))
    except OSError as fault:
        return answers.error("EXECUTION_FAILED", f"The tests have nowhere to run: {fault}")
    try:
        (folder / "handler.py").write_text(handler.text)
        (folder / "test_handler.py").write_text(tests.text)
        counts, report = _Counts(), io.StringIO()
        for name in ("handler", "test_handler"):
            sys.modules.pop(name, None)
        problem = _run_pytest(folder, counts, report)
        if problem is not None:
            counts.errors += 1
            counts.failures.append({"name": "pytest", "message": answers.said(problem)})
    except MemoryError:
        return answers.error("SANDBOX_OUT_OF_MEMORY", "The tests used more memory than their pool allows.")
    except OSError as fault:
        return answers.error("EXECUTION_FAILED", f"The tests could not be run: {fault}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    try:
        return answers.generic(_result(counts, report))
    except Exception as fault:  # the tests have changed what was counted
        return answers.error("EXECUTION_FAILED", f"The tests spoilt their report: {answers.name_of_type(fault)}")


def _result(counts: _Counts, report: io.StringIO) -> dict[str, Any]:
    return {
        "passed": counts.passed,
        "failed": counts.failed,
        "errors": counts.errors,
        "skipped": counts.skipped,
        "total": counts.passed + counts.failed + counts.errors + counts.skipped,
        "report": answers.sendable(report.getvalue()[-REPORT_LIMIT:]),
        "failures": counts.failures,
    }


def _run_pytest(folder: Path, counts: _Counts, report: io.StringIO) -> str | None:
    """Run them; returns what went wrong beyond the failures that were counted."""
    import pytest  # 100 ms: only workers that test pay for it

    try:
        with contextlib.redirect_stdout(report), contextlib.redirect_stderr(report):
            status = pytest.main([*_OPTIONS, f"--rootdir={folder}", f"--basetemp={folder}/own", str(folder)], [counts])
    except MemoryError:
        raise
    except BaseException as failure:  # SystemExit in a test file, for example
        return f"{type(failure).__name__}: {answers.said(failure)}"
    if status == pytest.ExitCode.NO_TESTS_COLLECTED:
        return "no tests were found"
    if status == pytest.ExitCode.OK or (status == pytest.ExitCode.TESTS_FAILED and counts.failed):
        return None
    return None if counts.errors else f"pytest ended with status {int(status)}"

"""HandlerTests: the generated tests of a handler, run with real pytest in a fresh sandbox worker.

Tests share a process with the code they test, so their report can be forged: it may reject a handler, never promote it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

from uhlp.errors import SandboxDied, SandboxOutOfMemory, UhlpError
from uhlp.execution.executor import pool_of
from uhlp.execution.wire import reference
from uhlp.registry.snapshot import AppSnapshot, Artifact, ComponentSnapshot
from uhlp.sandbox.manager import SandboxManager

_MOST_FAILURES = 20
_MESSAGE_LIMIT = 2_000
_REPORT_LIMIT = 20_000


@dataclass(frozen=True, slots=True)
class TestFailure:
    """One test that failed or could not run."""

    __test__ = False  # pytest collects classes called Test...

    name: str
    message: str


@dataclass(frozen=True, slots=True)
class TestReport:
    """What the sandbox said; `total` counts skipped tests too. `report` is pytest's own text, cut.

    `is_forged`: the runner would not have written it. A report that makes sense may be forged as well.
    """

    __test__ = False  # pytest collects classes called Test...

    passed: int
    failed: int
    errors: int
    total: int
    report: str
    failures: tuple[TestFailure, ...] = ()
    is_forged: bool = False


class HandlerTests:
    """Runs test files; one instance a server."""

    def __init__(
        self, *, sandboxes: SandboxManager, deployment_mode: str, timeout_s: Callable[[], float] = lambda: 60.0
    ) -> None:
        self._sandboxes = sandboxes
        self._deployment_mode = deployment_mode
        self._timeout_s = timeout_s
        self._numbers = count(1)

    async def can_run(self, app: AppSnapshot, component: ComponentSnapshot) -> bool:
        """Whether the component's pool runs Python at all. Raises Unavailable where that cannot be known now."""
        return await self._sandboxes.runs_python(pool_of(app, component))

    async def run(self, app: AppSnapshot, component: ComponentSnapshot, code: str, tests: str) -> TestReport:
        """The report. A sandbox that dies twice, hangs or answers nonsense is a report with one error.

        Raises NoSandboxAvailable, IsolationRefused, ShuttingDown: nothing ran, so nothing is known of the handler.
        """
        handler = Artifact.of("handler.py", code.encode())
        test_file = Artifact.of("test_handler.py", tests.encode())
        try:
            try:
                response = await self._execute(app, component, handler, test_file)
            except (SandboxDied, SandboxOutOfMemory):  # it may be the machine's doing; what the tests do, they do again
                response = await self._execute(app, component, handler, test_file)
        except UhlpError as error:
            if error.status == 503:
                raise
            return _broken(error.message)
        if response["resultType"] != "generic":
            data = response["data"]
            return _broken(_text(data.get("message"), _MESSAGE_LIMIT) if isinstance(data, dict) else "")
        return _read(response["data"])

    def _execute(
        self, app: AppSnapshot, component: ComponentSnapshot, handler: Artifact, tests: Artifact
    ) -> Awaitable[dict[str, Any]]:
        return self._sandboxes.execute(
            app.app_id,
            pool_of(app, component),
            self._request(app, component, handler, tests),
            artifacts={handler.sha256: handler.content, tests.sha256: tests.content},
            call_tool=None,
            timeout_s=self._timeout_s(),
            group="trial",
            fresh=True,
        )

    def _request(
        self, app: AppSnapshot, component: ComponentSnapshot, handler: Artifact, tests: Artifact
    ) -> dict[str, Any]:
        return {
            "requestId": f"tests-{next(self._numbers)}",
            "requestData": {"source": "internal", "input": {}},
            "context": {
                "appId": app.app_id,
                "componentId": component.definition.component_id,
                "handlerType": "TESTS",
                "revision": app.revision,
                "task": {"artifact": reference(handler), "tests": reference(tests)},
                "configuration": {},
                "applicationInfo": {"deploymentMode": self._deployment_mode},
                "deadlineMs": int(self._timeout_s() * 1000),
            },
        }


def _read(data: Any) -> TestReport:
    """The report as the sandbox gave it, checked; counts that make no sense are one error."""
    if not isinstance(data, dict):
        return _broken("The report is no object.", is_forged=True)
    passed, failed, errors, total = (_number(data.get(name)) for name in ("passed", "failed", "errors", "total"))
    if passed is None or failed is None or errors is None or total is None or passed + failed + errors > total:
        return _broken("The report's counts make no sense.", is_forged=True)
    failures = data.get("failures")
    return TestReport(
        passed,
        failed,
        errors,
        total,
        report=_text(data.get("report"), _REPORT_LIMIT),
        failures=tuple(
            TestFailure(_text(each.get("name"), 200), _text(each.get("message"), _MESSAGE_LIMIT))
            for each in (failures if isinstance(failures, list) else [])[:_MOST_FAILURES]
            if isinstance(each, dict)
        ),
    )


def _broken(message: str, *, is_forged: bool = False) -> TestReport:
    message = message or "The tests could not be run."
    failure = TestFailure("sandbox", message)
    return TestReport(0, 0, 1, 1, report=message, failures=(failure,), is_forged=is_forged)


def _number(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _text(value: object, limit: int) -> str:
    return value[:limit] if isinstance(value, str) else ""

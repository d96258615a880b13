"""ToolContext: for whom a tool is called. The host writes it; the caller states nothing of it."""

from collections.abc import Mapping
from typing import Any

from uhlp.hot_record import hot_record
from uhlp.models.definition import LlmConfig
from uhlp.models.experiment import Experiment
from uhlp.models.main_loop import RequestBudget
from uhlp.tracing import TraceContext

ADMIN = "admin"
"""The purpose of a call that an administrator makes over MCP."""
FOR_REAL = frozenset({"serve", ADMIN})


IDEMPOTENCY_KEY = "uhlp/idempotencyKey"
"""Where in its `_meta` an MCP server finds the key of a call that may be made twice."""
EXPERIMENT = "uhlp/experiment"
"""Where in its `_meta` an MCP server finds the arm of an experiment: its id, tag and flags."""


@hot_record()
class ToolContext:
    """Application, component and request of a call, and its limits.

    `deadline` is in the clock's monotonic seconds. `configuration` is the component's, merged over all levels.
    `purpose` says what the execution is for: `serve`, `shadow`, `coder`, `judge`, …
    `input` is what the execution was given; a recording is searched for it. `trace` is where the call stands in its
    trace; None: it begins here. `experiment` is the arm that the execution belongs to, `budget` what it may take of
    models. `actor` is the administrator who calls, where `component_id` is empty. `idempotency_key` names what the call
    is for, where it may be made twice (a step of a workflow).
    """

    app_id: str
    component_id: str
    request_id: str
    trace_id: str
    deadline: float
    allowed_tools: tuple[str, ...]
    llm: LlmConfig
    configuration: Mapping[str, Any]
    purpose: str
    input: Any = None
    trace: TraceContext | None = None
    experiment: Experiment | None = None
    budget: RequestBudget | None = None
    actor: str = ""
    idempotency_key: str | None = None

    @property
    def is_for_real(self) -> bool:
        """Whether somebody gets the answer: what an execution on trial or beside changes has not happened."""
        return self.purpose in FOR_REAL

    @property
    def author(self) -> str:
        """In whose name definitions are written."""
        return f"component {self.component_id}" if self.component_id else self.actor

    def call_meta(self, trace: Mapping[str, str]) -> dict[str, Any]:
        """`_meta` of an MCP call: its `trace_headers`, what tells a repeated call from another one, and the arm."""
        key = {} if self.idempotency_key is None else {IDEMPOTENCY_KEY: self.idempotency_key}
        arm = self.experiment
        told = {} if arm is None else {EXPERIMENT: {"id": arm.id, "tag": arm.overrides_tag, "flags": arm.flags}}
        return {**trace, **key, **told}

    def trace_headers(self) -> dict[str, str]:
        """`traceparent` and `tracestate` of an HTTP call that a tool makes to others."""
        return self.place.headers()

    @property
    def place(self) -> TraceContext:
        """Where the call stands in its trace."""
        return self.trace or TraceContext.of(self.trace_id)

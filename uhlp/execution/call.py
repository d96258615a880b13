"""What an execution is asked for and what comes of it."""

from typing import Any, Literal

from uhlp.errors import PayloadTooLarge, UhlpError, Unavailable
from uhlp.hot_record import hot_record
from uhlp.models.execute import Source
from uhlp.models.experiment import Experiment
from uhlp.models.main_loop import RequestBudget
from uhlp.registry.snapshot import AppSnapshot, Artifact, ComponentSnapshot
from uhlp.sandbox.driver import Group
from uhlp.tools.session import ToolCallRecord, Usage
from uhlp.tracing import TraceContext

Purpose = Literal["serve", "shadow", "replay", "audit", "reference", "eval"]

FailureReason = Literal["guard", "exception", "timeout", "schema", "oom", "sandbox", "model", "manual"]
"""Why there is no answer: the handler declined (guard), raised, ran out of time, answered against its schema or ran out
of memory; its sandbox died or was not to be had; the model gave no usable answer; a switch said so (manual)."""


@hot_record()
class PromptImplementation:
    """The model path: a prompt artifact, with the override set it was made with."""

    artifact: Artifact
    tag: str = "stable"

    @property
    def label(self) -> str:
        return f"prompt@{self.tag}"


@hot_record()
class HandlerImplementation:
    """Code; `version` is None until it is promoted."""

    version: int | None
    artifact: Artifact
    function: str = "handle"

    @property
    def label(self) -> str:
        return f"jit@v{self.version}" if self.version is not None else f"jit@{self.artifact.sha256[:12]}"


Implementation = PromptImplementation | HandlerImplementation


@hot_record(kw_only=True)
class ExecutionCall:
    """One run of one implementation. `input` matches the component's input schema; `timeout_s` covers everything,
    `wait_s` how much of it may be spent on waiting for a worker, all where it is None.

    `group` is "serving" for what is in service, "trial" for anything that has not been promoted. `source_details` goes
    into the request under the source's name (httpDetails, ...) and holds no credentials. Where `recorded` calls are
    given, tools do not run: the execution is told what those calls were told, and nothing else. `experiment` is the arm
    it belongs to, `budget` what it may take of models.
    """

    app: AppSnapshot
    component: ComponentSnapshot
    implementation: Implementation
    input: dict[str, Any]
    request_id: str
    trace_id: str
    trace: TraceContext | None = None
    timeout_s: float
    wait_s: float | None = None
    group: Group
    purpose: Purpose
    source: Source = "http"
    source_details: dict[str, Any] | None = None
    user_info: dict[str, Any] | None = None
    session_id: str | None = None
    recorded: tuple[ToolCallRecord, ...] | None = None
    experiment: Experiment | None = None
    budget: RequestBudget | None = None


@hot_record(kw_only=True)
class ExecutionResult:
    """How one execution ended.

    "ok": `data` is checked and has the shape of `result_type`. "deoptimize": the handler declined (`failure` "guard").
    "failed": `error` is what an edge may answer with. `latency_ms` includes waiting for a worker; `began_s` is on the
    server's monotonic clock. `was_hurried`: it was cut off long before its own deadline, because the request's own was
    over. `has_acted`: it called a tool, which may never have answered. `unrecorded`: tools that told it nothing (see
    `recorded` above).
    """

    outcome: Literal["ok", "deoptimize", "failed"]
    result_type: Literal["generic", "httpResponse", "error"] = "generic"
    data: Any = None
    failure: FailureReason | None = None
    error: UhlpError | None = None
    latency_ms: float
    usage: Usage
    began_s: float | None = None
    tool_calls: tuple[ToolCallRecord, ...] = ()
    was_hurried: bool = False
    has_acted: bool = False
    unrecorded: tuple[str, ...] = ()

    @property
    def is_refusal(self) -> bool:
        """The machine had no sandbox for it, or had one too late; none takes so large a request; or its caller could
        not wait: says nothing about the implementation."""
        return self.was_hurried or (self.failure == "sandbox" and isinstance(self.error, Unavailable | PayloadTooLarge))

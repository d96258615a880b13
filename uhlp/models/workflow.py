"""Workflows as files (contracts §1): `workflows/<workflowId>.yaml`.

An *expression* is CEL over `trigger`, `steps`, `context` and `workflow`. A *value* is JSON with expressions in it: a
text is an expression; numbers, true, false and null are themselves; lists and objects hold values; {"literal": x} is x
as it is written.
"""

from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from uhlp.models.definition import ComponentId, JsonObject
from uhlp.models.wire import WireModel

MOST_STEPS = 300
LONGEST_WAIT_MS = 30 * 24 * 3_600_000
_RESERVED = frozenset({"true", "false", "null", "in"})


def _step_id(text: str) -> str:
    if not text.isascii() or not text.isidentifier() or len(text) > 63 or text in _RESERVED:
        raise ValueError(f"{text[:80]!r} is no step's id: letters, digits and _, so that expressions can name it")
    return text


StepId = Annotated[
    str, AfterValidator(_step_id), Field(json_schema_extra={"pattern": "^[A-Za-z_][A-Za-z0-9_]*$", "maxLength": 63})
]
Expression = Annotated[str, Field(min_length=1, max_length=2_000, description="CEL.")]
Value = Annotated[Any, Field(description="JSON; a text in it is CEL, {literal: x} is x as written.")]
ErrorCode = Annotated[str, Field(min_length=1, max_length=128)]
ErrorCodes = Annotated[tuple[ErrorCode, ...], Field(min_length=1, max_length=50)]
WorkflowId = ComponentId
ToolName = Annotated[str, Field(pattern=r"^(core|community|app)\.[^\s*]+$", max_length=256)]
CallbackName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,62}$")]


class FailureRoute(WireModel):
    """Where a failed step leads: to `next` when the error has one of these codes and `when` holds."""

    code: ErrorCode | ErrorCodes | None = None
    when: Expression | None = None
    next: StepId

    @model_validator(mode="after")
    def _says_when(self) -> Self:
        if self.code is None and self.when is None:
            raise ValueError("give `code` or `when`; what takes every error is `onFailureDefault`")
        return self


class TransitionDefinition(WireModel):
    """One line of `transitions`: the first whose `on`, `code` and `when` hold is taken, to `next` or to the end."""

    on: Literal["success", "failure"] = "success"
    code: ErrorCode | ErrorCodes | None = None
    when: Expression | None = None
    next: StepId | None = None
    end: bool = False

    @model_validator(mode="after")
    def _goes_one_way(self) -> Self:
        if (self.next is None) == (not self.end):
            raise ValueError("give either `next` or `end: true`")
        if self.code is not None and self.on == "success":
            raise ValueError("`code` goes with `on: failure`")
        return self


class BackoffDefinition(WireModel):
    """Milliseconds before the second attempt, what they are multiplied by for each further one, and their most."""

    initial_ms: Annotated[int, Field(ge=0, le=3_600_000)] = 500
    factor: Annotated[float, Field(ge=1, le=100)] = 2.0
    max_ms: Annotated[int, Field(ge=0, le=3_600_000)] = 30_000


class RetriesDefinition(WireModel):
    """`maxAttempts` counts the first; without `retryOn` errors that say `retryable`, and timeouts, are tried again."""

    max_attempts: Annotated[int, Field(ge=1, le=20)]
    backoff: BackoffDefinition = BackoffDefinition()
    retry_on: ErrorCodes | None = None


class _StepFields(WireModel):
    id: StepId
    description: str = ""
    on_failure: Annotated[tuple[FailureRoute, ...], Field(max_length=50)] = ()
    on_failure_default: StepId | None = None
    max_visits: Annotated[int, Field(ge=1, le=1_000)] | None = None


class _StepWithSuccessor(_StepFields):
    on_success: StepId | None = None
    transitions: Annotated[tuple[TransitionDefinition, ...], Field(min_length=1, max_length=50)] | None = None
    end: bool = False

    @model_validator(mode="after")
    def _one_spelling(self) -> Self:
        if self.transitions is None:
            if self.on_success is not None and self.end:
                raise ValueError("give either `onSuccess` or `end: true`")
            return self
        if self.on_success is not None or self.on_failure or self.on_failure_default is not None:
            raise ValueError("`transitions` stand for onSuccess, onFailure and onFailureDefault: give one or the other")
        after_success = [one for one in self.transitions if one.on == "success"]
        if not self.end and (not after_success or after_success[-1].when is not None):
            raise ValueError("what comes next when no `when` holds? Add a line without `when`, or `end: true`")
        return self


class _TimedStep(_StepWithSuccessor):
    timeout_ms: Annotated[int, Field(ge=10, le=3_600_000)] | None = None


class _CallingStep(_TimedStep):
    retries: RetriesDefinition | None = None
    idempotency_key: Expression | None = None
    input_mapping: Value = {}


class ComponentStep(_CallingStep):
    """Asks a component of the application, which needs no route."""

    type: Literal["jit", "llm"]
    component_id: ComponentId


class ToolStep(_CallingStep):
    """Calls a tool by its whole name: core.…, community.… or app.…"""

    type: Literal["mcp"]
    tool: ToolName


class _ControlStep(WireModel):
    type: Literal["control"]


class FormatResponseStep(_StepWithSuccessor, _ControlStep):
    """Forms an answer; without `resultFormat` it is httpResponse where a status or headers are given, else generic."""

    control: Literal["formatResponse"]
    body: Value = None
    status_code: int | Expression | None = None
    headers: dict[str, Value] | None = None
    result_format: Literal["generic", "httpResponse", "error"] | None = None


class BranchCase(WireModel):
    when: Expression
    next: StepId


class BranchStep(_StepFields, _ControlStep):
    """Goes to the first case that holds, else to `default`."""

    control: Literal["branch"]
    cases: Annotated[tuple[BranchCase, ...], Field(min_length=1, max_length=50)]
    default: StepId


class LoopStep(_TimedStep, _ControlStep):
    """Runs its steps for each element of a list, or while an expression holds; gives the list of their outputs."""

    control: Literal["loop"]
    for_each: Expression | None = None
    while_: Annotated[Expression | None, Field(alias="while")] = None
    max_iterations: Annotated[int, Field(ge=1, le=1_000)]
    start: StepId | None = None
    steps: Annotated[tuple["StepDefinition", ...], Field(min_length=1, max_length=MOST_STEPS)]

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.for_each is None) == (self.while_ is None):
            raise ValueError("give either `forEach` or `while`")
        return self


BranchName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]


class ParallelStep(_TimedStep, _ControlStep):
    """Runs its branches side by side; each starts at its first step. Gives {branch: output}."""

    control: Literal["parallel"]
    branches: Annotated[
        dict[BranchName, Annotated[tuple["StepDefinition", ...], Field(min_length=1, max_length=MOST_STEPS)]],
        Field(min_length=1, max_length=32),
    ]
    join: Literal["all", "any"] = "all"
    max_concurrency: Annotated[int, Field(ge=1, le=32)] = 8


class CallbackDefinition(WireModel):
    """Waits for `POST /apps/<appId>/-/callbacks/<name>` that brings the same correlation."""

    name: CallbackName
    correlation: Expression
    timeout_ms: Annotated[int, Field(ge=10, le=LONGEST_WAIT_MS)]


class WaitStep(_StepWithSuccessor, _ControlStep):
    """Waits for a time, until a moment (RFC 3339 text, or seconds since 1970), or for a callback."""

    control: Literal["wait"]
    duration_ms: Annotated[int, Field(ge=0, le=LONGEST_WAIT_MS)] | Expression | None = None
    until: Expression | None = None
    callback: CallbackDefinition | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(given is not None for given in (self.duration_ms, self.until, self.callback)) != 1:
            raise ValueError("give one of `durationMs`, `until` and `callback`")
        return self


class SubworkflowStep(_TimedStep, _ControlStep):
    """Runs another workflow of the application."""

    control: Literal["subworkflow"]
    workflow_id: WorkflowId
    input_mapping: Value = {}


STEP_TAGS = ("component", "mcp", "formatResponse", "branch", "loop", "parallel", "wait", "subworkflow")


def _tag(step: Any) -> str | None:
    kind, control = (
        (step.get("type"), step.get("control"))
        if isinstance(step, dict)
        else (getattr(step, "type", None), getattr(step, "control", None))
    )
    if kind in ("jit", "llm"):
        return "component"
    tag = control if kind == "control" else kind
    return tag if isinstance(tag, str) and tag in STEP_TAGS[1:] else None


StepDefinition: TypeAlias = Annotated[
    Annotated[ComponentStep, Tag("component")]
    | Annotated[ToolStep, Tag("mcp")]
    | Annotated[FormatResponseStep, Tag("formatResponse")]
    | Annotated[BranchStep, Tag("branch")]
    | Annotated[LoopStep, Tag("loop")]
    | Annotated[ParallelStep, Tag("parallel")]
    | Annotated[WaitStep, Tag("wait")]
    | Annotated[SubworkflowStep, Tag("subworkflow")],
    Discriminator(
        _tag,
        custom_error_type="unknown_step_type",
        custom_error_message="`type` is jit, llm, mcp, or control with `control: "
        "formatResponse | branch | loop | parallel | wait | subworkflow`",
    ),
]


class WorkflowDefinition(WireModel):
    """`workflows/<workflowId>.yaml`: steps, begun at `start` (the first without one), each naming what follows it."""

    workflow_id: WorkflowId | None = None
    description: str = ""
    input_schema: JsonObject | None = None
    start: StepId | None = None
    steps: Annotated[tuple[StepDefinition, ...], Field(min_length=1, max_length=MOST_STEPS)]


for _recursive in (LoopStep, ParallelStep, WorkflowDefinition):
    _recursive.model_rebuild()

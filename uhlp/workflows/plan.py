"""Plans: workflows, checked and compiled. Frozen; a snapshot holds them, `execution` interprets them.

How a plan is run:

* A run starts at `root.start` and goes from step to step of a block by transitions. A step ends as `succeeded` with an
  output, or as `failed` with an error; then its `on_success`, or its `on_failure`, is read from the top, and the first
  transition that applies is taken. `next` None ends the block: the step's output is the block's output.
* No transition of `on_failure` applies: the block fails with the step's error. A failed body of a loop or branch of a
  parallel step fails that step, whose own `on_failure` is read then; a failed root fails the run. (One of `on_success`
  always applies: the last has no condition.)
* A condition that cannot be evaluated, or that gives no truth value, fails the step in whose transitions it stands with
  EXPRESSION_FAILED, and its `on_failure` is read; in `on_failure` itself it fails the block.
* The step that ends the root gives the run's answer: its output, and its result format (`FormatResponse` says one;
  a component's result has its own; all else is `generic`).

What expressions see (`names` of WorkflowExpression.evaluate), all plain JSON:

    trigger    {input, source, details, userInfo}: the request; userInfo null without one
    context    {appId, componentId, revision, deploymentMode, configuration, now}: now is the RFC 3339 text of the
               moment at which the step was entered, kept in the journal, so that a resumed step sees the same
    workflow   {workflowId, runId, startedAt}
    steps      {<id>: {status, output, error, visits}}, one entry for each step of the plan (`Plan.step_ids`):
               status `not_run`, `succeeded` or `failed`; output null unless succeeded; error null unless failed, else
               {code, message, details, retryable}; visits: how often the step was entered in this run of its block.
               A step sees its block and the blocks around it; what is inside loops and parallel branches is seen from
               inside alone, and stands at `not_run` at the start of each iteration and branch.
    item       in the body of a loop with `over`: the element; of the innermost such loop
    index      in the body and the condition of a loop: 0, 1, …; the innermost loop's
    error      in conditions of `on_failure`: the error of the step they belong to

A step entered again (a cycle within `max_visits`) overwrites its entry.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from uhlp.backoff import backoff_s
from uhlp.expressions import WorkflowExpression
from uhlp.jsonschemas import Validator
from uhlp.workflows.value_mapping import ValueMapping

ResultFormat = Literal["generic", "httpResponse", "error"]

VISITS_EXHAUSTED = "VISITS_EXHAUSTED"
"""Code of the error that fails a block when one of its steps would be entered more than `max_visits` times."""

ITERATIONS_EXHAUSTED = "ITERATIONS_EXHAUSTED"
"""Code of a loop step's error: more elements than `max_iterations` (before the first iteration), or a condition that
still holds after as many."""

BRANCHES_FAILED = "BRANCHES_FAILED"
"""Code of a parallel step's error when it joins `any` and each branch failed; details {branch: error}."""

STEPS_EXHAUSTED = "STEPS_EXHAUSTED"
"""Code of the error that fails a run that would enter more steps than the setting `workflows.most_steps` says,
iterations and subworkflows included; no `on_failure` can take it."""

EXPRESSIONS_EXHAUSTED = "EXPRESSIONS_EXHAUSTED"
"""Code of the error that fails a run whose expressions take too long together; no `on_failure` can take it."""

DEEPEST_SUBWORKFLOWS = 8
"""Workflows call each other so deep at most, and never in a circle."""


@dataclass(frozen=True, slots=True)
class ComponentCall:
    """A step of type jit or llm: an ordinary request (source `internal`) for a component of the same application.

    `kind` is what the owner expects to run; which implementation answers is the rollout's matter. `input` gives an
    object; it is validated against the component's input schema. The output is the component's data; a result of
    format `error` fails the step with that error.
    """

    kind: Literal["jit", "llm"]
    component_id: str
    input: ValueMapping


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A step of type mcp: one call of a tool, as the workflow's component. `arguments` gives an object.

    The output is the tool's result: its structured content where there is some, else its content. A result that says
    `isError` fails the step.
    """

    tool: str
    arguments: ValueMapping


@dataclass(frozen=True, slots=True)
class FormatResponse:
    """Forms an answer. The output is of `result_format`, as contracts §4 has it.

    generic: `body` itself. httpResponse: {statusCode, headers, body}; status_code defaults to 200, headers to {}.
    error: {code, message, details?}, which `body` gives, and statusCode where one is given. The step itself succeeds
    whatever the format; a status that is no integer from 200 to 599, a header that is no text, or an error without
    code and message fails it with EXPRESSION_FAILED.
    """

    result_format: ResultFormat
    body: ValueMapping
    status_code: ValueMapping | None = None
    headers: ValueMapping | None = None


@dataclass(frozen=True, slots=True)
class Branch:
    """Goes where its cases say, which are the step's `on_success`; the last of them is the default. Output null."""


@dataclass(frozen=True, slots=True)
class Loop:
    """Runs `body` one iteration after the other: for each element of the list `over`, or as long as `condition` holds.

    Exactly one of the two is there. `over` is evaluated once; more elements than `max_iterations` fail the step before
    the first. `condition` is evaluated before each iteration, with the body's steps as the last one left them
    (`not_run` before the first) and `index` of the iteration to come; when it still holds after `max_iterations`, the
    step fails. The output is the list of the iterations' outputs. Each iteration is a block that is run anew: `end`
    ends the iteration. The first that fails fails the step.
    """

    max_iterations: int
    body: "Block"
    over: WorkflowExpression | None = None
    condition: WorkflowExpression | None = None


@dataclass(frozen=True, slots=True)
class Parallel:
    """Runs all branches, at most `max_concurrency` at a time, in the order of the file.

    `join` all: the output is {branch: output}; the first that fails cancels the others and fails the step. `join` any:
    the first that succeeds cancels the others, and the output is {branch: output} of that one; when all fail, the step
    fails with BRANCHES_FAILED.
    """

    branches: Mapping[str, "Block"]
    join: Literal["all", "any"]
    max_concurrency: int


@dataclass(frozen=True, slots=True)
class WaitForTime:
    """Waits for `duration_ms` (gives a number ≥ 0) or until `until`; exactly one is there. Output null.

    `until` gives RFC 3339 text or seconds since the epoch; a moment that is over waits for nothing. More than
    `LONGEST_WAIT_S` ahead fails the step with EXPRESSION_FAILED.
    """

    duration_ms: ValueMapping | None = None
    until: WorkflowExpression | None = None


LONGEST_WAIT_S = 30 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class WaitForCallback:
    """Waits for a callback `name` whose correlation equals `correlation`'s text, for `timeout_s` at most.

    The output is the callback's input. After `timeout_s` the step fails with DEADLINE_EXCEEDED.
    """

    name: str
    correlation: WorkflowExpression
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Subworkflow:
    """Runs the root of another workflow of the application, within this run (its steps count, its journal is this one).

    `input` gives an object, validated against that workflow's input schema; it is that workflow's `trigger.input`, the
    rest of `trigger` is this run's. `steps` there are its own, `workflow.workflowId` is its id. The output is its
    answer's data; an answer of format `error` fails the step with that error.
    """

    workflow_id: str
    input: ValueMapping


Action: TypeAlias = (
    ComponentCall | ToolCall | FormatResponse | Branch | Loop | Parallel | WaitForTime | WaitForCallback | Subworkflow
)


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a failed step is tried again before `on_failure` is read.

    `max_attempts` counts the first one. `retry_on` None: errors that say `retryable`, and DEADLINE_EXCEEDED of the
    step's own timeout; else errors with one of these codes, and no others.
    """

    max_attempts: int = 1
    initial_s: float = 0.5
    factor: float = 2.0
    max_s: float = 30.0
    retry_on: frozenset[str] | None = None

    def delay_s(self, attempt: int) -> float:
        """How long to wait after the failed attempt number `attempt`, from 1."""
        return backoff_s(attempt, first_s=self.initial_s, longest_s=self.max_s, factor=self.factor)

    def applies(self, *, attempt: int, code: str, is_retryable: bool) -> bool:
        """Whether the failed attempt number `attempt` is followed by another."""
        if attempt >= self.max_attempts:
            return False
        return is_retryable or code == "DEADLINE_EXCEEDED" if self.retry_on is None else code in self.retry_on


@dataclass(frozen=True, slots=True)
class Transition:
    """Where to go: `next` is a step of the same block, None ends the block.

    It applies when `condition` is None or gives true, and, in `on_failure`, `codes` is None or holds the error's code.
    """

    next: str | None
    condition: WorkflowExpression | None = None
    codes: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `line` is where it stands in the workflow's file.

    `timeout_s` bounds one attempt of whatever the step does (all of a loop, of a subworkflow); an attempt that takes
    longer is cancelled and fails with DEADLINE_EXCEEDED. None: the component's or the tool's own.
    `idempotency_key` gives the text that names this execution to what it calls; None: `runId:stepId`, with
    `:index` of each loop around it, and `:visit` from the second on. Attempts share the key, and nothing else does.
    """

    step_id: str
    action: Action
    on_success: tuple[Transition, ...]
    on_failure: tuple[Transition, ...] = ()
    retries: Retries = Retries()
    timeout_s: float | None = None
    max_visits: int | None = None
    idempotency_key: WorkflowExpression | None = None
    line: int = 1


@dataclass(frozen=True, slots=True)
class Block:
    """Steps that are run from `start` until one ends the block.

    Every circle of steps holds one with `max_visits`: entering it once more than that in one run of its block fails the
    block with VISITS_EXHAUSTED, so that every run comes to an end.
    """

    start: str
    steps: Mapping[str, Step]


@dataclass(frozen=True, slots=True)
class Plan:
    """One workflow at one revision.

    `sha256` is of what the file means (spaces and remarks left out), in hex. `step_ids` are all steps, in the order of
    the file; they are unique across blocks. `component_ids`, `tools`, `workflow_ids` and `callbacks` are what its steps
    name.
    """

    workflow_id: str
    path: str
    description: str
    root: Block
    sha256: str
    step_ids: tuple[str, ...]
    input_schema: dict[str, Any] | None = None
    input_validator: Validator | None = field(default=None, repr=False)
    component_ids: frozenset[str] = frozenset()
    tools: frozenset[str] = frozenset()
    workflow_ids: frozenset[str] = frozenset()
    callbacks: frozenset[str] = frozenset()

    def every_step(self) -> Iterator[Step]:
        """All steps, those inside loops and branches too."""
        yield from _steps_of(self.root)


def _steps_of(block: Block) -> Iterator[Step]:
    for step in block.steps.values():
        yield step
        if isinstance(step.action, Loop):
            yield from _steps_of(step.action.body)
        elif isinstance(step.action, Parallel):
            for branch in step.action.branches.values():
                yield from _steps_of(branch)

"""What the journal holds: runs, the steps of each, and the entries that change them.

A run is begun and ended; between the two it is `running`, or `waiting` while nothing but time or a callback can move it
on. A step has one row an attempt. Its `path` says where in the run it is: `charge`, `charge#2` when it is reached a
second time, `items[3]/price` in the fourth iteration of `items`, `both.left/ask` in a branch.
"""

from dataclasses import dataclass
from typing import Any, Literal

RunState = Literal["running", "waiting", "succeeded", "failed", "cancelled"]
StepState = Literal["running", "waiting", "succeeded", "failed", "retrying", "interrupted", "cancelled"]
"""`retrying`: the attempt failed and another follows. `interrupted`: the server ended before the attempt did."""

OPEN_STATES = ("running", "waiting")
ENDED_STATES = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One run of a workflow. Times are seconds since the epoch; `deadline` is when it is cancelled.

    `source_details`, `user_info` and `session_id` are those of the request that began it, `trace` its
    headers. `is_attended`: who asked
    waits for the answer. `dedupe_key` names what began it: the same thing never begins two runs. `redact` are the
    fields that nothing kept of the run may show.
    """

    run_id: str
    app_id: str
    component_id: str
    workflow_id: str
    revision: str
    source: str
    source_details: dict[str, Any] | None
    user_info: dict[str, Any] | None
    session_id: str | None
    trace_id: str
    trace: dict[str, str] | None
    input: dict[str, Any]
    is_attended: bool
    dedupe_key: str | None
    redact: tuple[str, ...]
    started: float
    deadline: float
    state: RunState = "running"
    ended: float | None = None
    result: Any = None
    result_format: str = "generic"
    error: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """One attempt of one step. `error` is {code, message, details, retryable}; `implementation` is what answered.

    `result_format` is that of the output. `wake_at`, `signal` and `correlation` say what a waiting step waits for.
    """

    run_id: str
    path: str
    attempt: int
    step_id: str
    kind: str
    state: StepState
    started: float
    ended: float | None = None
    input: Any = None
    output: Any = None
    result_format: str = "generic"
    error: dict[str, Any] | None = None
    implementation: str | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: float = 0.0
    wake_at: float | None = None
    signal: str | None = None
    correlation: str | None = None


@dataclass(frozen=True, slots=True)
class RunBegun:
    run: RunRecord


@dataclass(frozen=True, slots=True)
class StepBegun:
    """`redact` are the fields of the step's own component, beside the run's."""

    step: StepRecord
    redact: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEnded:
    """`output` is JSON text: it is made once, to be measured and to be kept."""

    run_id: str
    path: str
    attempt: int
    state: StepState
    ended: float
    output: bytes | None = None
    result_format: str = "generic"
    error: dict[str, Any] | None = None
    implementation: str | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMoved:
    """A run begins to wait, or goes on."""

    run_id: str
    state: RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded:
    """The run's last entry: what is kept of it is masked and trimmed in the same stroke."""

    run_id: str
    state: RunState
    ended: float
    result: Any = None
    result_format: str = "generic"
    error: dict[str, Any] | None = None


Entry = RunBegun | StepBegun | StepEnded | RunMoved | RunEnded

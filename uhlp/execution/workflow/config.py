"""Numbers of running workflows."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

DAY_S = 86_400.0


class WorkflowSettings(BaseModel):
    """How many runs there may be, how large what they hold may be, and how long it is kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    most_open_runs: Annotated[int, Field(ge=1)] = 1_000
    """Of one application, running and waiting ones together; further ones are refused with 429."""
    most_steps: Annotated[int, Field(ge=1)] = 10_000
    """Of one run, each iteration and branch counted."""
    expression_share: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Of every second, what expressions of one application may take of the server's process: those of its workflows
    wait, those of `inputMapping` are refused with 429."""
    longest_run_s: Annotated[float, Field(gt=0)] = 30 * DAY_S
    """Of a run that nobody waits for (`Prefer: respond-async`); the others have their component's `timeoutMs`."""
    max_output_bytes: Annotated[int, Field(ge=1_024)] = 1024 * 1024
    """Of one step; a larger output fails the step."""
    max_run_bytes: Annotated[int, Field(ge=1_024)] = 32 * 1024 * 1024
    """Of the outputs of all steps of one run; more fail the run."""
    kept_value_bytes: Annotated[int, Field(ge=0)] = 16 * 1024
    """A step's input that is larger is not kept; an output or result that is, is dropped when its run has ended, but
    for the result that a caller of `Prefer: respond-async` comes for. The timeline says how large it was. 0 keeps
    none."""
    keep_s: Annotated[float, Field(ge=0)] = 7 * DAY_S
    """How long a run that has ended is kept."""
    keep_runs: Annotated[int, Field(ge=0)] = 1_000
    """How many runs that have ended are kept of one application."""
    survive_power_cuts: bool = False
    """Wait for the disk at every step. Without it a killed process loses nothing; a power cut may lose the last
    moments, so that a step which had finished is run again."""

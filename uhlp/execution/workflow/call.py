"""What a run of a workflow is asked for and what comes of it."""

from dataclasses import dataclass
from typing import Any

from uhlp.models.execute import Source
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot
from uhlp.tools.session import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowCall:
    """One request for a WORKFLOW component. `input` matches its input schema; `timeout_s` covers the whole run."""

    app: AppSnapshot
    component: ComponentSnapshot
    input: dict[str, Any]
    trace_id: str
    timeout_s: float
    source: Source = "http"
    source_details: dict[str, Any] | None = None
    user_info: dict[str, Any] | None = None
    session_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowResult:
    """A run that succeeded; `data` is checked and has the shape of `result_type`. Its models' use is its steps' own."""

    execution_id: str
    result_type: str
    data: Any
    revision: str
    usage: Usage


def dedupe_key(call: WorkflowCall) -> str | None:
    """What names the event behind a call that may be delivered twice; None where each call is an event of its own."""
    details = call.source_details or {}
    if call.source == "queue" and details.get("messageId"):
        return f"queue:{call.component.definition.component_id}:{details['messageId']}"
    if call.source == "cron" and details.get("scheduledAt"):
        return f"cron:{call.component.definition.component_id}:{details['scheduledAt']}"
    return None

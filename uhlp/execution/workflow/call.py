"""What a run of a workflow is asked for and what comes of it."""

import secrets
from dataclasses import dataclass, field
from typing import Any

from uhlp.models.execute import Source
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot
from uhlp.tools.session import Usage
from uhlp.tracing import TraceContext
from uhlp.workflows import all_called


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowCall:
    """One request for a WORKFLOW component. `input` matches its input schema; `timeout_s` covers the whole run."""

    app: AppSnapshot
    component: ComponentSnapshot
    input: dict[str, Any]
    trace_id: str
    trace: TraceContext | None = None
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
    usage: Usage = field(default_factory=Usage)


def new_run_id(now: float) -> str:
    """Sorts by time, and cannot be guessed: who knows it may ask what became of the run."""
    return f"{int(now * 1e6):016x}{secrets.token_hex(12)}"


def may_write(app: AppSnapshot, component: ComponentSnapshot) -> bool:
    """Whether a second run may do again what the first one did outside: as `effects` says, else as its steps may."""
    if component.definition.effects is not None or component.workflow is None:
        return component.definition.effects == "write"
    for plan in all_called(component.workflow.workflow_id, app.workflows):
        asked = [app.components[name].definition for name in plan.component_ids if name in app.components]
        if plan.tools or any(definition.effective_effects == "write" for definition in asked):
            return True
    return False


def dedupe_key(call: WorkflowCall) -> str | None:
    """What names the event behind a call that may be delivered twice; None where each call is an event of its own."""
    message_id = (call.source_details or {}).get("messageId")
    if call.source in ("http", "internal") or not isinstance(message_id, str):
        return None
    return f"{call.component.definition.component_id}:{message_id}"

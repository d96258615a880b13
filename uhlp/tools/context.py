"""ToolContext: for whom a tool is called. The host writes it; the caller states nothing of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from uhlp.models.definition import LlmConfig


@dataclass(frozen=True, slots=True)
class ToolContext:
    """Application, component and request of a call, and its limits.

    `deadline` is in the clock's monotonic seconds. `configuration` is the component's, merged over all levels.
    `purpose` says what the execution is for: `serving`, `shadow`, `coder`, `judge`, …
    `input` is what the execution was given; a recording is searched for it.
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

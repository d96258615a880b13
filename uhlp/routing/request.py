"""What the edges hand to the router, and what it gives back."""

from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from uhlp.hot_record import hot_record
from uhlp.tracing import TraceContext

if TYPE_CHECKING:
    from uhlp.models.execute import Source
    from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot

Handler = Literal["llm", "jit", "workflow"]
Reason = Literal["STATIC", "SPLIT", "TARGETING_MATCH", "ERROR", "CACHED", "DISABLED"]
"""Why this implementation answered, in OpenFeature's words."""


@hot_record(kw_only=True)
class RoutedRequest:
    """One request for one component. `input` has been assembled and matches the component's input schema.

    `trace` is what the caller's trace brings beyond its id; None where it begins here.
    `session_id`, else the user in `user_info`, keeps a caller on one arm of a canary. `source_details` and
    `path_params` are for the sandbox; they never hold credentials. `deadline` is monotonic; the component's own time
    holds when it ends sooner.
    """

    app: "AppSnapshot"
    component: "ComponentSnapshot"
    input: dict[str, Any]
    trace_id: str
    trace: TraceContext | None = None
    session_id: str | None = None
    user_info: dict[str, Any] | None = None
    source: "Source" = "http"
    source_details: dict[str, Any] | None = None
    deadline: float | None = None
    path_params: Mapping[str, str] = field(default_factory=dict)


class ComponentResult(Protocol):
    """The part of an execution's result that an edge answers with (contracts §6: result type and data)."""

    @property
    def result_type(self) -> str: ...

    @property
    def data(self) -> Any: ...


@hot_record(kw_only=True)
class RoutedAnswer:
    """An answer and where it came from.

    `implementation` reads `prompt@<tag>` or `jit@v<N>`; `deoptimized` names the reason when the model took over;
    `timings` are (name, milliseconds) pairs for `Server-Timing`. `execution_id` is that of a workflow's run.
    """

    result: ComponentResult
    handler: Handler
    implementation: str
    reason: Reason = "STATIC"
    deoptimized: str | None = None
    timings: tuple[tuple[str, float], ...] = ()
    execution_id: str | None = None

"""ComponentRequests: a request for a component from inside the server, whatever started it."""

from typing import Any, Protocol

from uhlp.clock import Clock
from uhlp.errors import ComponentNotFound, InputInvalid
from uhlp.models.execute import Source
from uhlp.registry.snapshot import ComponentSnapshot, Snapshots
from uhlp.routing.request import RoutedAnswer, RoutedRequest
from uhlp.tracing import TraceContext


class Router(Protocol):
    """Answers one request for one component: RequestRouter."""

    async def handle(self, request: RoutedRequest) -> RoutedAnswer: ...


class ComponentRequests:
    """Triggers, callbacks, schedules, queues, MCP clients and workflow steps ask here; HTTP routes have the ingress."""

    def __init__(self, *, registry: Snapshots, router: Router, clock: Clock) -> None:
        self._registry = registry
        self._router = router
        self._clock = clock

    async def ask(
        self,
        app_id: str,
        component_id: str,
        input: dict[str, Any],  # noqa: A002  the protocol's word
        *,
        source: Source,
        source_details: dict[str, Any] | None = None,
        trace_id: str | None = None,
        trace: TraceContext | None = None,
        session_id: str | None = None,
        user_info: dict[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> RoutedAnswer:
        """The answer of the component as it is registered now.

        `trace` is the caller's trace; where there is only its id, `trace_id`; where there is neither, a new one begins.
        It has `timeout_s` seconds, or the component's own time if that is less. Who may ask is the caller's to check.
        Raises AppNotFound, ComponentNotFound, InputInvalid before anything runs, and what the router raises.
        """
        if trace is None:
            trace = TraceContext(trace_id) if trace_id is not None else TraceContext.read(None)
        deadline = None if timeout_s is None else self._clock.monotonic() + timeout_s
        app = self._registry.snapshot(app_id)
        component = app.components.get(component_id)
        if component is None:
            raise ComponentNotFound(f"The application {app_id} has no component {component_id}.")
        check_input(component, input)
        return await self._router.handle(
            RoutedRequest(
                app=app,
                component=component,
                input=input,
                trace_id=trace.trace_id,
                trace=trace,
                session_id=session_id,
                user_info=user_info,
                source=source,
                source_details=source_details,
                deadline=deadline,
            )
        )


def check_input(component: ComponentSnapshot, values: Any, *, hint: str = "") -> None:
    """InputInvalid, with every problem, unless the values are an input of the component."""
    if not isinstance(values, dict):
        problem = {"path": "", "message": "The input must be a JSON object."}
        raise InputInvalid(problem["message"], details={"problems": [problem]})
    validator = component.input_validator
    if validator is not None and not validator.is_valid(values):
        raise InputInvalid(
            f"The input does not match the component's input schema.{hint}",
            details={"problems": validator.problems(values)},
        )

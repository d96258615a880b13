"""TracedRouter: a span around every request that the router answers, whatever its source."""

from dataclasses import replace
from typing import TYPE_CHECKING

from uhlp.routing.component_requests import Router
from uhlp.routing.request import RoutedAnswer, RoutedRequest
from uhlp.tracing import TraceContext

if TYPE_CHECKING:
    from uhlp.tracing.tracer import Tracer


class TracedRouter:
    """Stands before the router where spans are wanted, and is not there where they are not."""

    def __init__(self, *, router: Router, tracer: "Tracer") -> None:
        self._router = router
        self._tracer = tracer

    async def handle(self, request: RoutedRequest) -> RoutedAnswer:
        """What the router answers."""
        trace = request.trace or TraceContext.of(request.trace_id)
        with self._tracer.span("request", trace, _facts(request), kind="server") as span:
            answer = await self._router.handle(replace(request, trace=span.trace))
            span.set("uhlp.handler", answer.handler)
            span.set("uhlp.implementation", answer.implementation)
            span.set("uhlp.deoptimized", answer.deoptimized)
            return answer


def _facts(request: RoutedRequest) -> dict[str, str]:
    """What a span says of the request, and of the step of a workflow that asks."""
    facts = {
        "uhlp.app_id": request.app.app_id,
        "uhlp.component_id": request.component.definition.component_id,
        "uhlp.source": request.source,
    }
    workflow = (request.source_details or {}).get("workflowInfo")
    if request.source == "internal" and workflow is not None:
        facts |= {"uhlp.workflow_id": workflow["workflowId"], "uhlp.step_id": workflow["stepId"]}
    return facts

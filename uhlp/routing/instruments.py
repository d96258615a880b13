"""What the router counts, by component: requests, their time, those in flight, deoptimisations."""

from uhlp.catalogue import traffic
from uhlp.metering import GaugeChild, Meter

MODEL, HANDLER, WORKFLOW = "LLM", "JIT", "WORKFLOW"
"""What answered, as the label `handlerType`."""


class RouterInstruments:
    """Made once by the router. Nothing is kept of an application, whose series go with it."""

    def __init__(self, meter: Meter) -> None:
        self._requests = traffic.REQUESTS.on(meter)
        self._seconds = traffic.REQUEST_SECONDS.on(meter)
        self._in_flight = traffic.IN_FLIGHT.on(meter)
        self._deoptimised = traffic.DEOPTIMIZATIONS.on(meter)

    def in_flight(self, app_id: str, component_id: str) -> GaugeChild:
        return self._in_flight.labels(app_id, component_id)

    def finished(
        self, app_id: str, component_id: str, *, handler_type: str, is_ok: bool, seconds: float, trace_id: str
    ) -> None:
        """A request has its answer, or the error that stands for one. Its trace is an exemplar of its time."""
        self._requests.labels(app_id, component_id, handler_type, "ok" if is_ok else "failed").inc()
        self._seconds.labels(app_id, component_id, handler_type).observe(seconds, trace_id)

    def deoptimised(self, app_id: str, component_id: str, reason: str) -> None:
        """The model is asked for what a handler in service did not answer."""
        self._deoptimised.labels(app_id, component_id, reason).inc()

"""What the router counts, by component: requests, their time, those in flight, deoptimisations."""

from uhlp.catalogue import traffic
from uhlp.metering import CounterChild, HistogramChild, Meter

_MODEL, _HANDLER = "LLM", "JIT"


class RouterInstruments:
    """Made once by the router."""

    def __init__(self, meter: Meter) -> None:
        self.requests = traffic.REQUESTS.on(meter)
        self.seconds = traffic.REQUEST_SECONDS.on(meter)
        self.in_flight = traffic.IN_FLIGHT.on(meter)
        self.deoptimised = traffic.DEOPTIMIZATIONS.on(meter)
        self._components: dict[tuple[str, str], ComponentInstruments] = {}

    def of(self, app_id: str, component_id: str) -> "ComponentInstruments":
        found = self._components.get((app_id, component_id))
        if found is None:
            found = self._components[app_id, component_id] = ComponentInstruments(self, (app_id, component_id))
        return found


class ComponentInstruments:
    """One component's children, kept: a request counts with three calls."""

    def __init__(self, router: RouterInstruments, labels: tuple[str, str]) -> None:
        self.in_flight = router.in_flight.labels(*labels)
        self._router = router
        self._labels = labels
        self._answers: dict[tuple[bool, bool], tuple[CounterChild, HistogramChild]] = {}
        self._deoptimised: dict[str, CounterChild] = {}

    def finished(self, *, by_model: bool, is_ok: bool, seconds: float) -> None:
        """A request has its answer, or the error that stands for one."""
        children = self._answers.get((by_model, is_ok))
        if children is None:
            by_handler = (*self._labels, _MODEL if by_model else _HANDLER)
            children = self._answers[by_model, is_ok] = (
                self._router.requests.labels(*by_handler, "ok" if is_ok else "failed"),
                self._router.seconds.labels(*by_handler),
            )
        requests, duration = children
        requests.inc()
        duration.observe(seconds)

    def deoptimised(self, reason: str) -> None:
        """The model is asked for what a handler in service did not answer."""
        child = self._deoptimised.get(reason)
        if child is None:
            child = self._deoptimised[reason] = self._router.deoptimised.labels(*self._labels, reason)
        child.inc()

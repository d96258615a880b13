"""WorkflowRequests: requests for WORKFLOW components, which take no slot and no sandbox: their steps do."""

from typing import Any

from uhlp.clock import Clock
from uhlp.errors import ComponentNotFound, UhlpError
from uhlp.execution.workflow.call import WorkflowCall
from uhlp.execution.workflow.workflow_runs import WorkflowRuns
from uhlp.llm.usage import SERVED_BY_WORKFLOW, UsageBook
from uhlp.metrics.windows import Windows
from uhlp.routing.instruments import WORKFLOW, RouterInstruments
from uhlp.routing.request import RoutedAnswer, RoutedRequest
from uhlp.traffic.samples import SampleStore

_SHOWN_REVISION = 7


class WorkflowRequests:
    """Answers with the end of a run. What its models took is counted where its steps are:
    as the use of the components that they ask.
    """

    def __init__(
        self, *, runs: WorkflowRuns, windows: Windows, samples: SampleStore, usage: UsageBook, clock: Clock
    ) -> None:
        self._runs = runs
        self._windows = windows
        self._samples = samples
        self._usage = usage
        self._clock = clock

    async def answer(
        self, request: RoutedRequest, started: float, deadline: float, instruments: RouterInstruments
    ) -> RoutedAnswer:
        """The workflow's answer. Raises the UhlpError that its run failed with."""
        in_flight = instruments.in_flight(request.app.app_id, request.component.definition.component_id)
        in_flight.inc()
        try:
            result = await self._runs.answer(call_of(request, deadline - started))
        except UhlpError as error:
            note = {"failure": "workflow", "code": error.code}
            self._finish(request, started, output=note, is_ok=False, instruments=instruments)
            raise
        finally:
            in_flight.dec()
        latency_ms = self._finish(request, started, output=result.data, is_ok=True, instruments=instruments)
        return RoutedAnswer(
            result=result,
            handler="workflow",
            implementation=_implementation(request, result.revision),
            timings=(("workflow", latency_ms),),
            execution_id=result.execution_id,
        )

    def _finish(
        self, request: RoutedRequest, started: float, *, output: Any, is_ok: bool, instruments: RouterInstruments
    ) -> float:
        """Hand over what windows and samples need; the milliseconds that it took."""
        app_id, component_id = request.app.app_id, request.component.definition.component_id
        seconds = self._clock.monotonic() - started
        instruments.finished(
            app_id, component_id, handler_type=WORKFLOW, is_ok=is_ok, seconds=seconds, trace_id=request.trace_id
        )
        self._windows.observe(app_id, component_id, handler="workflow", latency_ms=seconds * 1000, ok=is_ok)
        self._usage.served(
            app_id, component_id, SERVED_BY_WORKFLOW, ok=is_ok, tokens_in=0, tokens_out=0, usd=0.0, seconds=seconds
        )
        self._samples.record_served(
            app_id, component_id,
            input=request.input, output=output,
            implementation=_implementation(request, request.app.revision), handler="workflow",
            latency_ms=seconds * 1000, tokens_in=0, tokens_out=0, cost_usd=0.0,
            ok=is_ok, trace_id=request.trace_id, spec_hash=request.component.spec_hash,
            redact=request.component.configuration.get("redact", ()),
        )  # fmt: skip
        return seconds * 1000


def call_of(request: RoutedRequest, timeout_s: float) -> WorkflowCall:
    """What a run is asked for. Raises ComponentNotFound for a component that runs no workflow."""
    if request.component.workflow is None:
        raise ComponentNotFound(f"{request.component.definition.component_id} runs no workflow.")
    return WorkflowCall(
        app=request.app,
        component=request.component,
        input=request.input,
        trace_id=request.trace_id,
        trace=request.trace,
        timeout_s=timeout_s,
        source=request.source,
        source_details=request.source_details,
        user_info=request.user_info,
        session_id=request.session_id,
    )


def _implementation(request: RoutedRequest, revision: str) -> str:
    return f"workflow@{revision[:_SHOWN_REVISION]}"

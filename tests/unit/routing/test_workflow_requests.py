"""What windows, samples and usage see of a workflow, and which way a request for one takes."""

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.execution.workflow.workflow_parts import Parts, ScriptedComponents, app_of, ask, running, sequence
from uhlp.errors import ComponentNotFound, HandlerFailed
from uhlp.llm.usage import SERVED_BY_WORKFLOW, UsageBook
from uhlp.metering import NullMeter
from uhlp.metrics.windows import Windows
from uhlp.routing.instruments import RouterInstruments
from uhlp.routing.request import RoutedRequest
from uhlp.routing.workflow_requests import WorkflowRequests, call_of
from uhlp.traffic.samples import SampleStore

ROOT = sequence(("price", ask("pricing", item="=trigger.input.item")))


async def answered(parts: Parts, folder: Any) -> tuple[Any, Windows, SampleStore, UsageBook]:
    """One request, and what was counted of it."""
    clock = parts.clock
    windows, usage = Windows(clock=clock), UsageBook(clock=clock)
    samples = SampleStore(folder / "samples.db", clock=clock)
    requests = WorkflowRequests(runs=parts.runs, windows=windows, samples=samples, usage=usage, clock=clock)
    request = RoutedRequest(
        app=parts.app, component=parts.app.components["order"], input={"item": "lamp"}, trace_id="t" * 32
    )
    now = clock.monotonic()
    try:
        answer: Any = await requests.answer(request, now, now + 5.0, RouterInstruments(NullMeter()))
    except HandlerFailed as error:
        answer = error
    return answer, windows, samples, usage


async def test_a_workflow_is_counted_as_itself_and_its_models_where_its_steps_are(tmp_path):
    parts = Parts(tmp_path / "w.db", app_of(ROOT), components=ScriptedComponents(pricing={"usd": 3}))
    async with running(parts):
        answer, windows, samples, usage = await answered(parts, tmp_path)
        assert (answer.handler, answer.implementation) == ("workflow", "workflow@aaaaaaa")
        assert (answer.result.data, answer.execution_id) == ({"usd": 3}, answer.result.execution_id)
        assert windows.window("shop", "order", 60, "workflow").count == 1
        (sample,) = await samples.samples("shop", "order")
        assert (sample.handler, sample.output, sample.tokens_in) == ("workflow", {"usd": 3}, 0)
        assert usage.of_component("shop", "order", SERVED_BY_WORKFLOW).calls == 1
        await samples.close()


async def test_a_failed_workflow_is_a_failed_request_and_a_failed_sample(tmp_path):
    parts = Parts(tmp_path / "w.db", app_of(ROOT), components=ScriptedComponents(pricing=HandlerFailed("no")))
    async with running(parts):
        error, windows, samples, usage = await answered(parts, tmp_path)
        assert error.details["executionId"]
        assert windows.window("shop", "order", 60, "workflow").count == 1
        (sample,) = await samples.samples("shop", "order", ok=False)
        assert sample.output == {"failure": "workflow", "code": "HANDLER_FAILED"}
        assert usage.of_component("shop", "order", SERVED_BY_WORKFLOW).failed == 1
        await samples.close()


async def test_a_component_without_a_workflow_has_no_run(tmp_path):
    app = app_of(ROOT)
    component = app.components["order"]
    request = RoutedRequest(app=app, component=replace(component, workflow=None), input={}, trace_id="t")
    with pytest.raises(ComponentNotFound):
        call_of(request, 1.0)

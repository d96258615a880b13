"""Spans as a collector gets them over OTLP/HTTP."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.otlp_receiver import OtlpReceiver, facts, otlp_receiver
from uhlp.errors import InputInvalid, ValidationFailed
from uhlp.tracing import TraceContext
from uhlp.tracing.config import TracingSettings
from uhlp.wiring.tracing import make_tracer

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
ERROR = 2


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with otlp_receiver() as receiver:
        yield receiver


def tracer_of(receiver: OtlpReceiver, **more: Any) -> Any:
    settings = TracingSettings.model_validate({"otlp_endpoint": receiver.url, **more})
    return make_tracer(settings, {"COLLECTOR": "a-key"}.get)


async def test_spans_hang_together_below_the_callers_and_calls_name_the_innermost(receiver: OtlpReceiver) -> None:
    tracer = tracer_of(receiver, headers={"X-Key": "secret:COLLECTOR"})
    caller = TraceContext(TRACE, SPAN, state="rojo=1")
    with (
        tracer.span("request", caller, {"uhlp.app_id": "shop"}, kind="server") as request,
        tracer.span("model", request.trace, {}, kind="client") as model,
    ):
        model.set("gen_ai.usage.input_tokens", 7)
        model.set("uhlp.cost_usd", None)
        sent = model.trace.headers()
    await tracer.aclose()
    model_span, request_span = receiver.spans
    assert {span.trace_id.hex() for span in receiver.spans} == {TRACE}
    assert request_span.parent_span_id.hex() == SPAN
    assert model_span.parent_span_id == request_span.span_id
    assert sent == {"traceparent": f"00-{TRACE}-{model_span.span_id.hex()}-01", "tracestate": "rojo=1"}
    assert facts(request_span) == {"uhlp.app_id": "shop"}
    assert facts(model_span) == {"gen_ai.usage.input_tokens": 7}
    assert facts(receiver.resources[0])["service.name"] == "uhlp"
    assert receiver.headers[0]["x-key"] == "a-key"
    assert receiver.paths == ["/v1/traces"]


async def test_a_trace_that_begins_here_has_the_id_that_its_answer_tells(receiver: OtlpReceiver) -> None:
    tracer = tracer_of(receiver)
    begun = TraceContext.read(None)
    with tracer.span("request", begun, {}):
        pass
    await tracer.aclose()
    (span,) = receiver.spans
    assert (span.trace_id.hex(), span.parent_span_id) == (begun.trace_id, b"")


async def test_an_error_is_told_by_its_code_and_not_by_its_words(receiver: OtlpReceiver) -> None:
    tracer = tracer_of(receiver)

    def fail(error: BaseException) -> None:
        with tracer.span("request", TraceContext(TRACE), {}):
            raise error

    for error in (InputInvalid("the text was: hunter2"), RuntimeError("hunter2"), asyncio.CancelledError()):
        with pytest.raises(type(error)):
            fail(error)
    await tracer.aclose()
    assert [facts(span) for span in receiver.spans] == [
        {"error.type": "INPUT_INVALID"},
        {"error.type": "INTERNAL_ERROR"},
        {"error.type": "CANCELLED"},
    ]
    assert all(span.status.code == ERROR and not span.events for span in receiver.spans)
    assert "hunter2" not in str(receiver.spans)


@pytest.mark.parametrize("is_sampled", [True, False])
async def test_what_the_caller_decided_about_sampling_is_followed(receiver: OtlpReceiver, is_sampled: bool) -> None:
    tracer = tracer_of(receiver, sample_ratio=0.0 if is_sampled else 1.0)
    with tracer.span("request", TraceContext(TRACE, SPAN, is_sampled=is_sampled), {}) as span:
        sent = span.trace.headers()["traceparent"]
    await tracer.aclose()
    assert len(receiver.spans) == is_sampled
    assert sent.endswith("-01" if is_sampled else "-00")
    assert sent.startswith(f"00-{TRACE}-")


async def test_of_the_traces_that_begin_here_the_ratio_is_recorded(receiver: OtlpReceiver) -> None:
    tracer = tracer_of(receiver, sample_ratio=0.0)
    with (
        tracer.span("request", TraceContext.read(None), {}) as outer,
        tracer.span("execution", outer.trace, {}) as inner,
    ):
        assert inner.trace.headers()["traceparent"].endswith("-00")
    await tracer.aclose()
    assert not receiver.spans


async def test_a_collector_that_is_away_holds_nothing_up() -> None:
    tracer = make_tracer(TracingSettings(otlp_endpoint="http://127.0.0.1:9/"), {}.get)
    assert tracer is not None
    with tracer.span("request", TraceContext.read(None), {}):
        pass
    await asyncio.wait_for(tracer.aclose(), 15)


def test_without_an_endpoint_there_is_no_tracer_and_a_header_that_names_nothing_is_refused() -> None:
    assert make_tracer(TracingSettings(), {}.get) is None
    settings = TracingSettings.model_validate({"otlp_endpoint": "http://x", "headers": {"A": "secret:NOT_THERE"}})
    with pytest.raises(ValidationFailed, match="NOT_THERE"):
        make_tracer(settings, {}.get)

"""Tracer: spans of requests, executions, tool and model calls, sent to a collector over OTLP/HTTP.

The only home of OpenTelemetry's SDK; imported where `tracing.otlp_endpoint` is set, and never else. Spans say who,
what, how long and which error code. They never hold what was sent or answered, nor a message or a name that a model, a
sandbox or a caller chose.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)
from opentelemetry.trace import Span as SdkSpan

from uhlp.errors import UhlpError
from uhlp.tracing.trace_context import TraceContext

Kind = Literal["server", "internal", "client"]
Attribute = str | int | float | bool

EXPORT_TIMEOUT_S = 2.0
"""How long one export is tried; so long the end of the server may wait for spans that were not sent yet."""

_KINDS = {"server": SpanKind.SERVER, "internal": SpanKind.INTERNAL, "client": SpanKind.CLIENT}


class Span:
    """One span that is going on. `trace` is where work within it stands."""

    __slots__ = ("_span", "trace")

    def __init__(self, span: SdkSpan, trace: TraceContext) -> None:
        self._span = span
        self.trace = trace

    def set(self, name: str, value: Attribute | None) -> None:
        """Note a fact; None is none."""
        if value is not None:
            self._span.set_attribute(name, value)

    def failed(self, code: str) -> None:
        """It ended with the error of this code."""
        self._span.set_attribute("error.type", code)
        self._span.set_status(Status(StatusCode.ERROR))


class _GivenTraceIds(RandomIdGenerator):
    """A trace that begins here has the id that the edge gave it, which is in its answer's X-Trace-Id and in the log."""

    next_trace_id = 0

    def generate_trace_id(self) -> int:
        return self.next_trace_id


class Tracer:
    """Spans wait in a bounded queue for a thread that sends them; what does not fit, or is not taken, is dropped."""

    def __init__(self, *, endpoint: str, headers: Mapping[str, str], sample_ratio: float, version: str) -> None:
        self._ids = _GivenTraceIds()
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(sample_ratio)),
            resource=Resource.create({"service.name": "uhlp", "service.version": version}),
            shutdown_on_exit=False,
            id_generator=self._ids,
        )
        exporter = OTLPSpanExporter(endpoint=endpoint, headers=dict(headers), timeout=EXPORT_TIMEOUT_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("uhlp")

    @contextmanager
    def span(
        self, name: str, trace: TraceContext, attributes: Mapping[str, Attribute], *, kind: Kind = "internal"
    ) -> Iterator[Span]:
        """A span below `trace`, from now to the end of the block. An error that leaves it is told by its code."""
        started = self._started(name, trace, attributes, kind)
        span = Span(started, _within(started.get_span_context(), trace))
        try:
            yield span
        except BaseException as error:
            cancelled = "CANCELLED" if isinstance(error, asyncio.CancelledError) else "INTERNAL_ERROR"
            span.failed(error.code if isinstance(error, UhlpError) else cancelled)
            raise
        finally:
            started.end()

    async def aclose(self) -> None:
        """Send what is left, for a moment."""
        await asyncio.to_thread(self._provider.shutdown)

    def _started(self, name: str, trace: TraceContext, attributes: Mapping[str, Attribute], kind: Kind) -> SdkSpan:
        context = Context()
        self._ids.next_trace_id = int(trace.trace_id, 16)
        if trace.span_id:
            parent = SpanContext(
                self._ids.next_trace_id,
                int(trace.span_id, 16),
                is_remote=not trace.is_recorded,
                trace_flags=TraceFlags(TraceFlags.SAMPLED if trace.is_sampled else TraceFlags.DEFAULT),
                trace_state=TraceState.from_header([trace.state]) if trace.state else None,
            )
            context = set_span_in_context(NonRecordingSpan(parent), context)
        return self._tracer.start_span(name, context, kind=_KINDS[kind], attributes=attributes)


def _within(context: SpanContext, trace: TraceContext) -> TraceContext:
    """Where a span that is not recorded stands nobody sees: those who are called go on from its parent."""
    if not context.trace_flags.sampled:
        return replace(trace, is_sampled=False)
    return replace(trace, span_id=f"{context.span_id:016x}", is_sampled=True, is_recorded=True)

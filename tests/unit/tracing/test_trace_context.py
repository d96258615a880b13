"""What is read of a caller's trace, and what goes out of it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uhlp.tracing import TraceContext

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-(0[01])")


def test_a_callers_trace_goes_on_with_its_state_and_a_span_of_each_call() -> None:
    trace = TraceContext.read(f"00-{TRACE}-{SPAN}-00".encode(), b"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE")
    assert (trace.trace_id, trace.span_id, trace.is_sampled) == (TRACE, SPAN, False)
    sent = [trace.headers() for _ in range(2)]
    found = [SENT.fullmatch(one["traceparent"]) for one in sent]
    assert all(one is not None and one[1] == TRACE and one[3] == "00" for one in found)
    assert len({SPAN, *(one[2] for one in found if one)}) == 3
    assert sent[0]["tracestate"] == "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"


def test_a_span_that_is_recorded_is_the_parent_of_the_calls_it_makes() -> None:
    assert TraceContext(TRACE, SPAN, is_recorded=True).headers() == {"traceparent": f"00-{TRACE}-{SPAN}-01"}


@pytest.mark.parametrize(
    "traceparent",
    [
        b"",
        b"nonsense",
        f"00-{TRACE.upper()}-{SPAN}-01".encode(),
        f"00-{'0' * 32}-{SPAN}-01".encode(),
        f"00-{TRACE}-{'0' * 16}-01".encode(),
        f"ff-{TRACE}-{SPAN}-01".encode(),
        f"00-{TRACE}-{SPAN}-01-more".encode(),
        f"01-{TRACE}-{SPAN}-01more".encode(),
        f"00-{TRACE}-{SPAN}-0g".encode(),
        f"00-{TRACE}-{SPAN}".encode(),
    ],
)
def test_what_is_malformed_begins_a_new_trace_and_takes_no_state_along(traceparent: bytes) -> None:
    trace = TraceContext.read(traceparent, b"rojo=1")
    assert trace.trace_id != TRACE
    assert (trace.span_id, trace.state) == ("", "")


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    assert TraceContext.read(f"01-{TRACE}-{SPAN}-01-what-comes".encode()).trace_id == TRACE


@given(st.binary(max_size=80), st.binary(max_size=600))
def test_whatever_a_caller_sends_what_goes_out_is_well_formed(traceparent: bytes, tracestate: bytes) -> None:
    headers = TraceContext.read(traceparent, tracestate).headers()
    assert SENT.fullmatch(headers["traceparent"])
    assert headers.get("tracestate", "x").isprintable()
    assert len(headers.get("tracestate", "")) <= 512

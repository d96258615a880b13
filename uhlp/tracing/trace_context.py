"""TraceContext: the place of a piece of work in its trace (https://www.w3.org/TR/trace-context/)."""

from random import getrandbits
from typing import Self

from uhlp.hot_record import hot_record

MOST_STATE_BYTES = 512
"""Longer `tracestate` is dropped whole, as the recommendation allows: half a list would be another list."""

_HEX = frozenset(b"0123456789abcdef")
_NO_TRACE = b"0" * 32
_NO_SPAN = b"0" * 16


@hot_record()
class TraceContext:
    """`trace_id` is 32, `span_id` 16 lower-case hex digits; `span_id` is empty where the trace begins here.

    `is_recorded` says that `span_id` is a span of this server's own, which goes to a collector: calls to others name
    it as their parent. Without one each call names a span of its own. `state` is the caller's `tracestate` as it came.
    """

    trace_id: str
    span_id: str = ""
    is_sampled: bool = True
    state: str = ""
    is_recorded: bool = False

    @classmethod
    def read(cls, traceparent: bytes | None, tracestate: bytes | None = None) -> Self:
        """The caller's trace, or a new one where it names none or says it malformed."""
        if traceparent is None or not _is_well_formed(traceparent):
            return cls(f"{getrandbits(128):032x}")
        return cls(
            traceparent[3:35].decode("ascii"),
            traceparent[36:52].decode("ascii"),
            bool(int(traceparent[53:55], 16) & 1),
            _state(tracestate),
        )

    @classmethod
    def of(cls, trace_id: str) -> Self:
        """Work of the trace with this id; a new trace where it is no trace's."""
        raw = trace_id.encode()
        if len(raw) == 32 and _HEX.issuperset(raw) and raw != _NO_TRACE:
            return cls(trace_id)
        return cls.read(None)

    def headers(self) -> dict[str, str]:
        """`traceparent`, and `tracestate` where there is one, of a call that is made for this work."""
        span_id = self.span_id if self.is_recorded else f"{getrandbits(64) or 1:016x}"
        headers = {"traceparent": f"00-{self.trace_id}-{span_id}-{'01' if self.is_sampled else '00'}"}
        if self.state:
            headers["tracestate"] = self.state
        return headers


def trace_id_of(traceparent: bytes | None) -> str:
    """The caller's trace id, or a new one when there is none or it is malformed."""
    return TraceContext.read(traceparent).trace_id


def _is_well_formed(value: bytes) -> bool:
    """Version 00 has nothing after the flags; a later one may have more behind another hyphen."""
    return (
        len(value) >= 55
        and value[2:3] == value[35:36] == value[52:53] == b"-"
        and _HEX.issuperset(value[:2] + value[3:35] + value[36:52] + value[53:55])
        and value[:2] != b"ff"
        and value[3:35] != _NO_TRACE
        and value[36:52] != _NO_SPAN
        and (len(value) == 55 or (value[:2] != b"00" and value[55:56] == b"-"))
    )


def _state(tracestate: bytes | None) -> str:
    """Printable and short enough to be passed on; what it says is between others."""
    if not tracestate or len(tracestate) > MOST_STATE_BYTES or not tracestate.isascii():
        return ""
    text = tracestate.decode("ascii").strip()
    return text if text.isprintable() else ""

"""Trace ids at the edge (W3C Trace Context)."""

from random import getrandbits

_HEX = frozenset(b"0123456789abcdef")
_NO_TRACE = b"0" * 32


def trace_id_of(traceparent: bytes | None) -> str:
    """The caller's trace id (32 lower-case hex digits), or a new one when there is none or it is malformed."""
    if traceparent is not None and len(traceparent) >= 55 and traceparent[2:3] == b"-" == traceparent[35:36]:
        trace_id = traceparent[3:35]
        if _HEX.issuperset(trace_id) and trace_id != _NO_TRACE and traceparent[:2] != b"ff":
            return trace_id.decode("ascii")
    return f"{getrandbits(128):032x}"

"""Traces across servers (W3C Trace Context): what a request brings, and what goes out with calls to others."""

from uhlp.tracing.trace_context import TraceContext

__all__ = ["TraceContext"]

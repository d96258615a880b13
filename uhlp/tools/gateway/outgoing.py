"""Outgoing: what the HTTP transport must know of the call that it sends, and what it tells of it afterwards."""

from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(slots=True)
class Outgoing:
    """`headers` go out with the request, which has until `ends_at` (the event loop's time; None: no end).

    `status` is the HTTP answer's, None before there is one. `fault` says why there is none, or no more of it;
    `unreadable` why it is not read. `was_sent`: the server may have seen the request.
    """

    ends_at: float | None
    headers: dict[str, str] = field(default_factory=dict)
    status: int | None = None
    fault: str | None = None
    unreadable: str | None = None
    was_sent: bool = False


OUTGOING: ContextVar[Outgoing | None] = ContextVar("outgoing", default=None)
"""The SDK has no per-call headers, but sends each message in its caller's context."""

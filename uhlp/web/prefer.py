"""`Prefer: respond-async` (RFC 7240): the caller does not wait for the answer."""

from collections.abc import Iterable

from uhlp import strict_json
from uhlp.web.answers import JSON_TYPE, Headers

PREFER = b"prefer"


def prefers_async(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether one of the request's preferences is `respond-async`."""
    return any(
        preference.partition(b";")[0].strip().lower() == b"respond-async"
        for name, value in headers
        if name == PREFER
        for preference in value.split(b",")
    )


def accepted_response(execution_id: str, location: str, trace_id: str) -> tuple[int, Headers, bytes]:
    """202, and where to look for what becomes of it."""
    body = strict_json.dumps({"executionId": execution_id})
    return (
        202,
        [
            JSON_TYPE,
            (b"x-trace-id", trace_id.encode("ascii")),
            (b"x-execution-id", execution_id.encode("ascii")),
            (b"location", location.encode("ascii")),
            (b"preference-applied", b"respond-async"),
            (b"content-length", b"%d" % len(body)),
        ],
        body,
    )

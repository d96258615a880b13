"""What a worker that speaks HTTP answers, read as the table in `http_client` says."""

from math import isfinite
from typing import Any, NamedTuple

import aiohttp

from uhlp import strict_json
from uhlp.errors import (
    ExecutionFailed,
    HandlerFailed,
    MalformedJson,
    NoSandboxAvailable,
    OutputInvalid,
    SandboxDied,
    Unavailable,
)
from uhlp.sandbox.channel import Answer
from uhlp.sandbox.untrusted import MAX_BODY_BYTES, checked_response, text
from uhlp.sandbox.value_count import TOO_MANY_VALUES, holds_too_many_values

ARTIFACT_MISSING = "ARTIFACT_MISSING"
MAX_FAULT_BYTES = 64 * 1024
MAX_RETRY_AFTER_S = 60.0
MESSAGE_CHARS = 2_000
TRACEBACK_CHARS = 8_000


class HttpReply(NamedTuple):
    """One answer, read whole."""

    status: int
    body: bytes
    retry_after: str | None

    @classmethod
    async def of(cls, response: aiohttp.ClientResponse) -> "HttpReply":
        """Raises OutputInvalid for a body that is too large: never more than one chunk beyond the limit is read, and
        then the connection is closed."""
        chunks, size_bytes = [], 0
        async for chunk in response.content.iter_any():
            size_bytes += len(chunk)
            if size_bytes > MAX_BODY_BYTES:
                response.close()
                raise OutputInvalid(f"The answer takes more bytes than {MAX_BODY_BYTES}, which is the limit.")
            chunks.append(chunk)
        return cls(response.status, b"".join(chunks), response.headers.get("Retry-After"))


def missing_file(reply: HttpReply, request: dict[str, Any], sent: set[str]) -> dict[str, str] | None:
    """The task's file that the worker says it lacks; None when it has been sent, or is no file of this task."""
    fault = _fault(reply.body)
    if fault.get("code") != ARTIFACT_MISSING:
        return None
    task = request["context"]["task"]
    for reference in (task["artifact"], task.get("tests")):
        if reference is not None and reference["sha256"] == fault.get("sha256") and reference["sha256"] not in sent:
            found: dict[str, str] = reference
            return found
    return None


def execute_response(reply: HttpReply, request_id: str) -> dict[str, Any]:
    """The ExecuteResponse body, checked. Raises what the status means, SandboxDied for what is not to be believed."""
    if reply.status == 200:
        if holds_too_many_values(reply.body):
            raise OutputInvalid(f"The answer {TOO_MANY_VALUES}.")
        try:
            body = strict_json.loads(reply.body, max_depth=strict_json.DEEPEST, subject="The sandbox's answer")
        except MalformedJson as error:
            raise SandboxDied(error.message[:200]) from None
        return checked_response(Answer(body, None, len(reply.body)), request_id)
    if reply.status == 429:
        raise NoSandboxAvailable("The sandbox is full.", retry_after_s=_seconds(reply.retry_after))
    fault = _fault(reply.body)
    message = text(fault.get("message"), MESSAGE_CHARS)
    if reply.status == 500:
        data: dict[str, Any] = {"code": HandlerFailed.code, "message": message or HandlerFailed().message}
        if traceback := text(fault.get("traceback"), TRACEBACK_CHARS):
            data["details"] = {"traceback": traceback}
        return {"requestId": request_id, "resultType": "error", "data": data, "metrics": {}}
    if reply.status in (400, 409):
        raise ExecutionFailed(f"The sandbox refused the request: {text(fault.get('code'), 50)} {message}"[:250])
    if reply.status == 503:
        raise Unavailable(
            f"What the sandbox needs cannot be reached: {message[:200]}", retry_after_s=_seconds(reply.retry_after)
        )
    raise SandboxDied(f"The sandbox answered with status {reply.status}.")


def _fault(body: bytes) -> dict[str, Any]:
    """The ExecuteFault in a body; empty when it holds none, because a server's own error page is no worse a fault."""
    if len(body) > MAX_FAULT_BYTES:
        return {}
    try:
        fault = strict_json.loads(body)
    except MalformedJson:
        return {}
    return fault if isinstance(fault, dict) else {}


def _seconds(retry_after: str | None) -> float:
    try:
        seconds = float(retry_after or "")
    except ValueError:
        return 1.0
    return min(max(seconds, 0.1), MAX_RETRY_AFTER_S) if isfinite(seconds) else 1.0

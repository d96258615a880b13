"""SourceRequests: a message of a queue becomes a request, and its answer what becomes of the message."""

from typing import Any

from uhlp.errors import NotFound, NotRepeated, TooManyRequests, UhlpError, Unavailable
from uhlp.mailbox.mailbox_worker import Postpone, Reject, Retry
from uhlp.mailbox.message import Message
from uhlp.rfc3339 import rfc3339
from uhlp.routing.component_requests import ComponentRequests
from uhlp.routing.request import RoutedAnswer
from uhlp.sources.app_queue import AppQueue, SourceMessage
from uhlp.tracing import TraceContext

POSTPONED_S = 10.0
"""When something that a component needs is away or used up, and does not say for how long."""


class ComponentFailed(Exception):
    """The component answered, with what a server says when it is to be asked again."""


class SourceRequests:
    """The handler of every worker of applications' queues."""

    def __init__(self, *, requests: ComponentRequests) -> None:
        self._requests = requests

    async def handle(self, queue: AppQueue, message: Message[SourceMessage, Any]) -> None:
        """Ask the component. Returns when it has answered.

        Raises Reject where the same input would be refused again (an answer of 4xx, an input against the schema, a
        request that has acted and may not be repeated), Postpone where what it needs is away or used up (no sandbox, no
        model, no budget), Retry where it was said when to come again, else the error.
        """
        body = message.body
        component_id = body.component_id or queue.component_id
        if component_id is None:
            raise Reject("the message names no component")
        details = body.details | {
            "messageId": message.id,
            "deliveryCount": message.delivery_count,
            "enqueuedAt": rfc3339(message.enqueued_at),
        }
        headers = {name: value.encode("latin-1", "replace") for name, value in body.trace.items()}
        try:
            answer = await self._requests.ask(
                queue.app_id,
                component_id,
                body.input,
                source=body.source,
                source_details=details,
                trace=TraceContext.read(headers.get("traceparent"), headers.get("tracestate")),
            )
        except UhlpError as error:
            raise _verdict(error) from error
        _check(answer)


def _verdict(error: UhlpError) -> Exception:
    if isinstance(error, Unavailable | TooManyRequests):
        return Postpone(error.retry_after_s or POSTPONED_S, f"{error.code}: {error.message}")
    if error.retryable:
        return error if error.retry_after_s is None else Retry(error.retry_after_s, f"{error.code}: {error.message}")
    refused = (error.status < 500 and not isinstance(error, NotFound)) or isinstance(error, NotRepeated)
    return Reject(f"{error.code}: {error.message}") if refused else error


def _check(answer: RoutedAnswer) -> None:
    """Raises for an answer that says that the work is not done."""
    kind, data = answer.result.result_type, answer.result.data
    if kind == "generic" or not isinstance(data, dict):
        return
    status = data.get("statusCode", 500 if kind == "error" else 200)
    if not isinstance(status, int) or status < 400:
        return
    said = f"the component answered {status}" + (f", {data['code']}" if kind == "error" and "code" in data else "")
    raise Reject(said) if status < 500 and status != 429 else ComponentFailed(said)

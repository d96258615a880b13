"""AppQueues: the queues of all applications, for who puts messages in and who looks after them."""

from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from uhlp.errors import NotFound, QueueNotFound
from uhlp.mailbox.mailbox import Mailbox
from uhlp.mailbox.mailboxes import Mailboxes
from uhlp.mailbox.message import DeadLetter
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.rfc3339 import rfc3339
from uhlp.routing.component_requests import check_input
from uhlp.sources.app_queue import AppQueue, SourceMessage, queues_of
from uhlp.tracing import TraceContext
from uhlp.traffic.redaction import Redaction


class AppQueues:
    """Keeps nothing itself: which queues there are says the registry, what is in them the mailboxes."""

    def __init__(self, *, registry: ApplicationRegistry, mailboxes: Mailboxes) -> None:
        self._registry = registry
        self._mailboxes = mailboxes

    def mailbox(self, queue: AppQueue) -> Mailbox[SourceMessage, Any]:
        """A handle of one's own on the queue's messages."""
        return self._mailboxes.open(queue.mailbox_name, SourceMessage, max_deliveries=queue.max_deliveries)

    def desired(self) -> list[AppQueue]:
        """Every queue of every application in service."""
        return [queue for app_id in self._registry.app_ids() for queue in queues_of(self._registry.snapshot(app_id))]

    def known(self, app_id: str) -> list[AppQueue]:
        """The queues of an application; none of one that is not in service."""
        return [queue for queue in self.desired() if queue.app_id == app_id]

    def queue(self, app_id: str, name: str) -> AppQueue:
        """The queue of this name. Raises AppNotFound, QueueNotFound."""
        for queue in queues_of(self._registry.snapshot(app_id)):
            if queue.name == name:
                return queue
        raise QueueNotFound(f"No component of {app_id} consumes the queue {name}: give one a trigger `source: queue`.")

    async def put(self, app_id: str, name: str, values: Any, *, trace: TraceContext | None = None) -> str:
        """Put an input into a queue; the message's id, which its consumer sees as `queueDetails.messageId`.

        Raises AppNotFound, QueueNotFound, InputInvalid, MailboxFull, MailboxUnavailable, PayloadTooLarge.
        """
        queue = self.queue(app_id, name)
        if queue.component_id is None:
            raise QueueNotFound(f"The queue {name} is the server's own.")
        component = self._registry.snapshot(app_id).components[queue.component_id]
        check_input(component, values)
        return await self.send(queue, SourceMessage(source="queue", input=values, details={"queue": name}), trace=trace)

    async def send(self, queue: AppQueue, message: SourceMessage, *, trace: TraceContext | None = None) -> str:
        """Add a message that was made here; its id."""
        headers = (trace or TraceContext.read(None)).headers()
        return await self.mailbox(queue).send(message.model_copy(update={"trace": headers}))

    async def overview(self, app_id: str) -> list[dict[str, Any]]:
        """Every queue of an application with its numbers. Raises AppNotFound, MailboxUnavailable."""
        shown = []
        for queue in queues_of(self._registry.snapshot(app_id)):
            counts = await self.mailbox(queue).counts()
            shown.append(
                {
                    "queue": queue.name,
                    "componentId": queue.component_id,
                    "ready": counts.ready,
                    "leased": counts.leased,
                    "delayed": counts.delayed,
                    "dead": counts.dead,
                    "concurrency": queue.concurrency,
                    "maxDeliveries": queue.max_deliveries,
                    "visibilityTimeoutS": queue.visibility_s,
                }
            )
        return shown

    async def dead_letters(self, app_id: str, name: str, *, limit: int = 100) -> list[dict[str, Any]]:
        """The oldest messages that are not delivered any more, and why; inputs as samples keep them, masked."""
        queue = self.queue(app_id, name)
        return [self._shown(queue, one) for one in await self.mailbox(queue).dead_letters(limit=limit)]

    async def revive(self, app_id: str, name: str, message_id: str) -> None:
        """Deliver a dead letter anew. NotFound, MailboxFull."""
        if not await self.mailbox(self.queue(app_id, name)).revive(message_id):
            raise NotFound(f"The queue {name} has no dead letter {message_id}.")

    async def purge(self, app_id: str, name: str) -> int:
        """Remove the dead letters of a queue; how many there were."""
        return await self.mailbox(self.queue(app_id, name)).purge_dead_letters()

    async def clear(self, queues: list[AppQueue]) -> None:
        """Remove all messages of queues whose application goes for good."""
        for queue in queues:
            await self.mailbox(queue).clear()

    def _shown(self, queue: AppQueue, letter: DeadLetter) -> dict[str, Any]:
        component_id, values, redaction = queue.component_id, None, Redaction()
        with suppress(ValidationError):
            message = SourceMessage.model_validate_json(letter.body)
            component_id = message.component_id or component_id
            component = self._registry.snapshot(queue.app_id).components.get(component_id or "")
            redaction = Redaction(() if component is None else component.configuration.get("redact", ()))
            values = redaction.apply(message.input)
        return {
            "messageId": letter.id,
            "componentId": component_id,
            "reason": redaction.apply(letter.reason),
            "deliveryCount": letter.delivery_count,
            "enqueuedAt": rfc3339(letter.enqueued_at),
            "diedAt": rfc3339(letter.died_at),
            "input": values,
        }

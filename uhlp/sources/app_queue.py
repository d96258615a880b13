"""AppQueue: a queue that an application's definition asks for, and what goes through it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from uhlp.models.trigger import CronTrigger, EventTrigger, QueueTrigger
from uhlp.models.wire import WireModel
from uhlp.registry.snapshot import AppSnapshot

EVENTS = "_events"
"""The queue of every application that listens to events or has a schedule; no queue of a definition can be named so."""

_EVENT_WORKERS = 4


class SourceMessage(WireModel):
    """What waits for a component: its input, what is known of the source, and the trace it belongs to.

    `componentId` is the component's that is meant; None for whichever consumes the queue when it is delivered.
    """

    source: Literal["queue", "trigger", "cron"]
    component_id: str | None = None
    input: dict[str, Any]
    details: dict[str, Any] = Field(default_factory=dict)
    trace: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AppQueue:
    """One queue as the snapshot in service has it. `component_id` consumes it; in EVENTS each message names its own."""

    app_id: str
    name: str
    component_id: str | None
    concurrency: int = _EVENT_WORKERS
    visibility_s: float = 30.0
    max_deliveries: int = 5

    @property
    def mailbox_name(self) -> str:
        return f"queue:{self.app_id}:{self.name}"


def queues_of(app: AppSnapshot) -> Iterator[AppQueue]:
    """The queues of an application, EVENTS among them where anything may come through it."""
    has_events = False
    for component_id, component in app.components.items():
        for trigger in component.definition.triggers:
            has_events = has_events or isinstance(trigger, EventTrigger | CronTrigger)
            if isinstance(trigger, QueueTrigger):
                yield AppQueue(
                    app.app_id, trigger.queue, component_id,
                    trigger.concurrency, float(trigger.visibility_timeout_s), trigger.max_deliveries,
                )  # fmt: skip
    if has_events:
        yield AppQueue(app.app_id, EVENTS, None)

"""Events: what one application tells another, for every component that listens."""

from typing import Any

from uhlp.errors import ListenerNotFound
from uhlp.expressions.expression_share import ExpressionShare
from uhlp.models.trigger import EventTrigger
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.routing.component_requests import ComponentRequests, check_input
from uhlp.routing.request import RoutedAnswer
from uhlp.sources.app_queue import EVENTS, SourceMessage
from uhlp.sources.app_queues import AppQueues
from uhlp.sources.input_mapping import mapped_input
from uhlp.tracing import TraceContext


class Events:
    """One listener answers at once. For several there is a message each: none waits for the others, or fails them."""

    def __init__(
        self, *, registry: ApplicationRegistry, requests: ComponentRequests, queues: AppQueues, share: ExpressionShare
    ) -> None:
        self._registry = registry
        self._requests = requests
        self._queues = queues
        self._share = share

    async def send(
        self, app_id: str, event: str, values: Any, *, source_app_id: str, trace: TraceContext
    ) -> RoutedAnswer | list[dict[str, str]]:
        """The answer, or [{componentId, messageId}]. Who may send it is the caller's to check.

        Raises AppNotFound, ListenerNotFound, InputInvalid for any of the listeners, before anything is sent; then what
        ComponentRequests or AppQueues raise.
        """
        app = self._registry.snapshot(app_id)
        details = {"event": event, "sourceAppId": source_app_id}
        listeners = [
            (component_id, await mapped_input(app_id, trigger.input_mapping, values, details, share=self._share))
            for component_id, component in app.components.items()
            for trigger in component.definition.triggers
            if isinstance(trigger, EventTrigger) and trigger.event == event
        ]
        if not listeners:
            raise ListenerNotFound(f"No component of {app_id} listens to the event {event}.")
        if len(listeners) == 1:
            component_id, made = listeners[0]
            return await self._requests.ask(
                app_id, component_id, made, source="trigger", source_details=details, trace=trace
            )
        for component_id, made in listeners:
            check_input(app.components[component_id], made)
        queue = self._queues.queue(app_id, EVENTS)
        sent = []
        for component_id, made in listeners:
            message = SourceMessage(source="trigger", component_id=component_id, input=made, details=details)
            message_id = await self._queues.send(queue, message, trace=trace)
            sent.append({"componentId": component_id, "messageId": message_id})
        return sent

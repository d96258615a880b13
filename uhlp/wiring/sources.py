"""Sources: what starts components besides routes, put together."""

from contextlib import AsyncExitStack

from uhlp.access.definition_secrets import DefinitionSecrets
from uhlp.clock import Clock
from uhlp.expressions.expression_share import ExpressionShare
from uhlp.mailbox.mailboxes import Mailboxes
from uhlp.metering import Meter
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.routing.component_requests import ComponentRequests
from uhlp.sources.app_queues import AppQueues
from uhlp.sources.callbacks import Callbacks, WaitingWorkflows
from uhlp.sources.cron_source import CronSource
from uhlp.sources.events import Events
from uhlp.sources.queue_consumers import QueueConsumers
from uhlp.sources.source_requests import SourceRequests
from uhlp.sources.sources import Sources
from uhlp.state.framework_values import FrameworkValues
from uhlp.wiring.foundation import Foundation


async def open_sources(
    ground: Foundation,
    requests: ComponentRequests,
    stack: AsyncExitStack,
    *,
    waiting: WaitingWorkflows,
) -> Sources:
    """Open them; `stack` ends the consumers."""
    sources = make_sources(
        registry=ground.registry,
        values=ground.state.framework,
        requests=requests,
        mailboxes=ground.mailboxes,
        waiting=waiting,
        secrets=ground.definition_secrets,
        share=ground.expression_share,
        clock=ground.clock,
        meter=ground.metrics,
        stop_within_s=ground.settings.mailbox.stop_within_s,
    )
    stack.push_async_callback(sources.consumers.aclose)
    return sources


def make_sources(
    *,
    registry: ApplicationRegistry,
    values: FrameworkValues,
    requests: ComponentRequests,
    mailboxes: Mailboxes,
    waiting: WaitingWorkflows,
    secrets: DefinitionSecrets,
    share: ExpressionShare,
    clock: Clock,
    meter: Meter,
    stop_within_s: float,
) -> Sources:
    """The services over parts that are open; nothing runs yet."""
    queues = AppQueues(registry=registry, mailboxes=mailboxes)
    return Sources(
        queues=queues,
        consumers=QueueConsumers(
            queues=queues,
            requests=SourceRequests(requests=requests),
            clock=clock,
            meter=meter,
            stop_within_s=stop_within_s,
        ),
        events=Events(registry=registry, requests=requests, queues=queues, share=share),
        callbacks=Callbacks(
            registry=registry,
            requests=requests,
            values=values,
            waiting=waiting,
            secrets=secrets,
            share=share,
            clock=clock,
        ),
        cron=CronSource(registry=registry, queues=queues, values=values, clock=clock, meter=meter),
    )

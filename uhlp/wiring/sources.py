"""Sources: what starts components besides routes, put together."""

from contextlib import AsyncExitStack

from uhlp.mailbox.mailboxes import Mailboxes
from uhlp.routing.component_requests import ComponentRequests
from uhlp.sources.app_queues import AppQueues
from uhlp.sources.callbacks import Callbacks, NoWaitingWorkflows, WaitingWorkflows
from uhlp.sources.cron_source import CronSource
from uhlp.sources.events import Events
from uhlp.sources.queue_consumers import QueueConsumers
from uhlp.sources.source_requests import SourceRequests
from uhlp.sources.sources import Sources
from uhlp.wiring.foundation import Foundation


async def open_sources(
    ground: Foundation,
    requests: ComponentRequests,
    stack: AsyncExitStack,
    *,
    waiting: WaitingWorkflows | None = None,
) -> Sources:
    """Open them; `stack` ends the consumers, then lets go of the mailboxes."""
    settings, clock = ground.settings, ground.clock
    if settings.runtime.url == "sqlite":
        mailboxes = Mailboxes.in_file(ground.data_dir / "mailbox.db", settings=settings.mailbox, clock=clock)
    else:
        mailboxes = Mailboxes.on_redis(
            settings.runtime.url, settings=settings.mailbox, timeout_s=settings.runtime.timeout_s, clock=clock
        )
    stack.push_async_callback(mailboxes.aclose)
    queues = AppQueues(registry=ground.registry, mailboxes=mailboxes)
    consumers = QueueConsumers(
        queues=queues,
        requests=SourceRequests(requests=requests),
        clock=clock,
        meter=ground.metrics,
        stop_within_s=settings.mailbox.stop_within_s,
    )
    stack.push_async_callback(consumers.aclose)
    values = ground.state.framework
    return Sources(
        queues=queues,
        consumers=consumers,
        events=Events(registry=ground.registry, requests=requests, queues=queues),
        callbacks=Callbacks(
            registry=ground.registry,
            requests=requests,
            values=values,
            waiting=waiting or NoWaitingWorkflows(),
            read_secret=ground.read_secret,
            clock=clock,
        ),
        cron=CronSource(registry=ground.registry, queues=queues, values=values, clock=clock, meter=ground.metrics),
    )

"""QueueConsumers: workers for every queue that the definitions in service ask for, and for no other."""

import asyncio
from functools import partial
from typing import Any

import structlog

from uhlp.catalogue import sources
from uhlp.clock import Clock
from uhlp.loops import LoopGroup, LoopStatus, PeriodicLoop
from uhlp.mailbox.mailbox import Mailbox
from uhlp.mailbox.mailbox_worker import MailboxWorker
from uhlp.metering import Meter, SampledGauge
from uhlp.sources.app_queue import AppQueue, SourceMessage
from uhlp.sources.app_queues import AppQueues
from uhlp.sources.source_requests import SourceRequests

log = structlog.get_logger(__name__)


class _Consumer:
    """The workers of one queue; each has its own place in the loop group."""

    def __init__(self, mailbox: Mailbox[SourceMessage, Any], loops: LoopGroup) -> None:
        self.mailbox = mailbox
        self.loops = loops

    async def stop(self) -> None:
        """Take no more messages, and finish what is begun."""
        await self.mailbox.close()
        await self.loops.stop()


class QueueConsumers:
    """`run_cycle` starts and stops workers until they are those of `AppQueues.desired`."""

    def __init__(
        self, *, queues: AppQueues, requests: SourceRequests, clock: Clock, meter: Meter, stop_within_s: float
    ) -> None:
        self._queues = queues
        self._requests = requests
        self._clock = clock
        self._stop_within_s = stop_within_s
        self._consumers: dict[AppQueue, _Consumer] = {}
        self._is_closed = False
        self._deliveries = sources.QUEUE_DELIVERIES.on(meter)
        self._messages = SampledGauge(sources.QUEUE_MESSAGES.on(meter))

    async def run_cycle(self) -> None:
        """Follow the definitions in service. A queue that changed goes on with new workers while the old ones end."""
        desired = [] if self._is_closed else self._queues.desired()
        for queue in desired:
            if queue not in self._consumers:
                self._consumers[queue] = await self._started(queue)
        surplus = [self._consumers.pop(queue) for queue in [*self._consumers] if queue not in desired]
        await asyncio.gather(*(consumer.stop() for consumer in surplus))

    async def show(self) -> None:
        """Show how many messages are where. Raises MailboxUnavailable."""
        shown: dict[tuple[str, ...], float] = {}
        for queue in self._queues.desired():
            counts = await self._queues.mailbox(queue).counts()
            for state in ("ready", "leased", "delayed", "dead"):
                shown[queue.app_id, queue.name, state] = float(getattr(counts, state))
        self._messages.show(shown)

    def status(self) -> tuple[LoopStatus, ...]:
        """Every worker's state, for /readyz."""
        return tuple(status for consumer in self._consumers.values() for status in consumer.loops.status())

    async def aclose(self) -> None:
        """Signal all workers, then wait for all within one deadline; what is not done then is given back."""
        self._is_closed = True
        await self.run_cycle()

    async def _started(self, queue: AppQueue) -> _Consumer:
        mailbox = self._queues.mailbox(queue)
        worker = MailboxWorker(
            mailbox,
            partial(self._requests.handle, queue),
            clock=self._clock,
            visibility_s=queue.visibility_s,
            count=lambda outcome: self._deliveries.labels(queue.app_id, queue.name, outcome).inc(),
        )
        loops = LoopGroup(
            [
                PeriodicLoop(f"queue {queue.app_id}/{queue.name} {number}", worker.run_cycle, 0.0, self._clock)
                for number in range(1, queue.concurrency + 1)
            ],
            stop_within_s=self._stop_within_s,
        )
        await loops.__aenter__()
        log.info("queue_consumed", app_id=queue.app_id, queue=queue.name, workers=queue.concurrency)
        return _Consumer(mailbox, loops)

"""Sources: the services of this room, as the edge reaches them."""

from dataclasses import dataclass

from uhlp.sources.app_queues import AppQueues
from uhlp.sources.callbacks import Callbacks
from uhlp.sources.cron_source import CronSource
from uhlp.sources.events import Events
from uhlp.sources.queue_consumers import QueueConsumers


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Opened together; `consumers` and `cron` are driven by loops."""

    queues: AppQueues
    consumers: QueueConsumers
    events: Events
    callbacks: Callbacks
    cron: CronSource

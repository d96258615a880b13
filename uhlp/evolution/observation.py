"""What routing tells evolution of a served request: offered without waiting, worked off the request path."""

import asyncio
from dataclasses import dataclass
from typing import Any

from uhlp.catalogue import evolution
from uhlp.evolution.rollouts import LiveHandler
from uhlp.execution import ExecutionResult
from uhlp.metering import Meter
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot


@dataclass(frozen=True, slots=True)
class Served:
    """One answered request of a component that has live handlers.

    `live` is the handler that was asked, `handler_result` what came of it; both are None when only the model was asked.
    `model_result` is None when only the handler was. When both were, the handler declined, failed, or answered in a
    class that it is not trusted with (`is_withheld`). `beside` are handlers that this request can be put to as well.
    """

    app: AppSnapshot
    component: ComponentSnapshot
    live: LiveHandler | None
    input: dict[str, Any]
    model_result: ExecutionResult | None
    handler_result: ExecutionResult | None
    beside: tuple[LiveHandler, ...] = ()

    @property
    def is_withheld(self) -> bool:
        """The handler answered, and its answer was not used."""
        return self.model_result is not None and self.handler_result is not None and self.handler_result.outcome == "ok"


class ObservationQueue:
    """Bounded; when it is full, observations are dropped and counted: evidence may wait, requests may not."""

    def __init__(self, *, meter: Meter, capacity: int = 2000) -> None:
        self._queue: asyncio.Queue[Served] = asyncio.Queue(capacity)
        self._dropped = evolution.OBSERVATIONS_DROPPED.on(meter)

    def offer(self, served: Served) -> None:
        try:
            self._queue.put_nowait(served)
        except asyncio.QueueFull:
            self._dropped.labels(served.app.app_id).inc()

    async def take(self) -> Served:
        return await self._queue.get()

    def __len__(self) -> int:
        return self._queue.qsize()

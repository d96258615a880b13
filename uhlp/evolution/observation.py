"""What routing tells evolution of a served request: offered without waiting, worked off the request path."""

import asyncio
from dataclasses import dataclass
from typing import Any

from uhlp.catalogue import evolution
from uhlp.evals.comparator import Comparator
from uhlp.evolution.rollouts import LiveHandler
from uhlp.execution import ExecutionResult
from uhlp.metering import Meter
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot
from uhlp.tools.session import ToolCallRecord


@dataclass(frozen=True, slots=True)
class Served:
    """One answered request of a component that has something in live traffic.

    `live` is the handler that was asked, `handler_result` what came of it; both are None when only the model was asked.
    `model_result` is None when only the handler was. When both were, the handler declined, failed, or answered in a
    class that it is not trusted with (`is_withheld`). `beside` are handlers that this request can be put to as well.
    A prompt that is tried stands as `live`, too. `prompt` is the shorter prompt in full service that the model is asked
    by, `prompt_result` what came of that: where it failed, the one before it answered.
    """

    app: AppSnapshot
    component: ComponentSnapshot
    live: LiveHandler | None
    input: dict[str, Any]
    model_result: ExecutionResult | None
    handler_result: ExecutionResult | None
    beside: tuple[LiveHandler, ...] = ()
    prompt: LiveHandler | None = None
    prompt_result: ExecutionResult | None = None

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


def comparator_of(component: ComponentSnapshot) -> Comparator:
    """The component's comparator, as its definition declares it."""
    return Comparator(component.definition.optimization.comparator)


def recorded_calls(served: Served) -> tuple[ToolCallRecord, ...] | None:
    """What the tools told the execution whose answer was used, for one that must change nothing; None where the
    component has no effects: it may ask them itself.
    """
    if served.component.definition.effective_effects == "none":
        return None
    answered = served.model_result or served.handler_result
    return answered.tool_calls if answered is not None else ()

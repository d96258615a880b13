"""What is not counted where it happens, but looked at every few seconds."""

from collections.abc import Awaitable, Callable, Mapping

from uhlp.catalogue import server
from uhlp.evolution.evolution_gauges import EvolutionGauges
from uhlp.loops.process_gauges import ProcessGauges
from uhlp.wiring.evolution import Evolution
from uhlp.wiring.foundation import Foundation


def make_gauges(ground: Foundation, evolution: Evolution) -> Callable[[], Awaitable[None]]:
    """The cycle that shows all of them."""
    of_evolution = EvolutionGauges(
        book=evolution.book, governor=evolution.governor, leadership=evolution.leadership, meter=ground.metrics
    )
    process = ProcessGauges(meter=ground.metrics)
    queue_length = server.QUEUE_LENGTH.on(ground.metrics)
    lengths: Mapping[str, Callable[[], int]] = {
        "samples": lambda: ground.samples.waiting,
        "observations": evolution.observations.__len__,
        **{webhook.name: webhook.__len__ for webhook in evolution.webhooks},
    }
    queues = [(queue_length.labels(name), length) for name, length in lengths.items()]

    async def show() -> None:
        await ground.registry_gauges.show()
        of_evolution.show()
        process.show()
        for gauge, length in queues:
            gauge.set(length())

    return show

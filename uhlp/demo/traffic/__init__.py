"""Made-up but realistic requests for the support desk's components, the same for the same seed."""

import random
from collections.abc import Callable, Iterator
from typing import Any

from uhlp.demo.traffic.amounts import amount
from uhlp.demo.traffic.cases import case
from uhlp.demo.traffic.order_lines import order_line
from uhlp.demo.traffic.tickets import ticket

Input = dict[str, Any]

_WRITERS: dict[str, Callable[[random.Random], Input]] = {
    "order-lines": order_line,
    "ticket-triage": ticket,
    "case-summary": case,
    "amounts": amount,
}

COMPONENTS = tuple(_WRITERS)
"""The components that there is traffic for."""


def generator(component_id: str, seed: int) -> Iterator[Input]:
    """Endless request bodies for a component of the support desk. Raises KeyError for a component it does not know."""
    write = _WRITERS[component_id]
    dice = random.Random(f"{component_id}/{seed}")  # noqa: S311  made-up traffic, no secret

    def requests() -> Iterator[Input]:
        while True:
            yield write(dice)

    return requests()

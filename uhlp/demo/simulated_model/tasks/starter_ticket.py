"""The prompt of `uhlp init`'s starter application: tickets into its four queues, by the vocabulary of ticket triage."""

from typing import Any

from uhlp.demo.simulated_model.tasks.task import Dice, Task
from uhlp.demo.simulated_model.tasks.ticket_triage import queue_of

QUEUES = ("billing", "shipping", "technical", "other")


def answer(text: str, dice: Dice) -> dict[str, Any]:
    """{"queue"}: the queue that most speaks for, `other` when nothing does."""
    return {"queue": queue_of(text, QUEUES)}


def distort(value: dict[str, Any], dice: Dice) -> dict[str, Any]:
    """Another queue."""
    return {"queue": dice.choice([queue for queue in QUEUES if queue != value["queue"]])}


TASK = Task("starter-ticket", "Sort the support ticket into one queue", "\n# Ticket\n", answer, distort)

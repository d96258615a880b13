"""Ticket triage: each word and phrase speaks for a queue with a weight; what is said with emphasis counts more."""

import re
from collections.abc import Sequence
from typing import Any

from uhlp.demo.simulated_model.tasks.task import Dice, Task

QUEUES = ("billing", "technical", "account", "shipping", "other")

_VOCABULARY = {
    "billing": {
        "invoice": 3, "refund": 3, "charged": 3, "payment": 3, "declined": 1, "vat": 2, "cancelled": 1, "bank": 1,
        "bookkeeper": 3, "sums": 2, "statement": 2, "missing on": 1, "discount": 3, "dunning": 4, "taken off": 1,
        "fee": 2, "receipt": 2, "money": 1, "bill": 3, "paid": 2,
    },
    "technical": {
        "crash": 3, "crashes": 3, "error": 3, "update": 2, "load": 2, "freezes": 3, "app": 1, "screen": 1,
        "wheel": 2, "spinning": 3, "greyed out": 3, "click": 2, "kaput": 3, "tablet": 1, "squares": 2, "print": 2,
        "bug": 3, "slow": 2, "broken": 1,
    },
    "account": {
        "password": 3, "passwords": 3, "log in": 3, "login": 3, "locked": 2, "profile": 3, "email address": 2,
        "reset": 2, "email": 1, "take over from": 3, "recognise me": 4, "six digits": 4, "merged": 3, "new name": 2,
        "delete my": 1, "account": 1, "sign in": 3,
    },
    "shipping": {
        "parcel": 3, "delivery": 3, "delivered": 3, "tracking": 3, "courier": 3, "damaged": 1, "neighbour": 1,
        "stayed at home": 3, "box was": 3, "hub": 3, "van": 3, "drove past": 2, "another address": 1, "shipped": 3,
        "package": 3,
    },
}  # fmt: skip
_PATTERNS = [
    (re.compile(rf"\b{re.escape(phrase)}\b"), queue, weight)
    for queue, phrases in _VOCABULARY.items()
    for phrase, weight in phrases.items()
]
_EMPHASIS = re.compile(r"what i really need to know:|but my main point:|first of all though:|above all,")
_EMPHATIC_WEIGHT = 5
_SUBJECT = re.compile(r"^(?:subject:)?(?P<subject>.*?)\n(?:text:)?(?P<text>.*)$", re.DOTALL | re.IGNORECASE)


def answer(text: str, dice: Dice) -> dict[str, Any]:
    """{"queue"}: the queue with the most weight, `other` when nothing speaks for any."""
    return {"queue": queue_of(text, QUEUES)}


def queue_of(text: str, queues: Sequence[str]) -> str:
    """The one of `queues` that most speaks for, `other` when nothing does; other queues are not heard."""
    parts = _SUBJECT.match(text)
    subject, body = (parts["subject"], parts["text"]) if parts else ("", text)
    before, emphasis, after = _split(body.casefold())
    scores = {queue: 0 for queue in queues if queue in _VOCABULARY}
    for pattern, queue, weight in _PATTERNS:
        if queue not in scores:
            continue
        times = len(pattern.findall(f"{subject.casefold()}\n{before}")) + emphasis * len(pattern.findall(after))
        scores[queue] += weight * times
    best = max(scores, key=lambda queue: scores[queue])
    return best if scores[best] >= 2 else "other"


def distort(value: dict[str, Any], dice: Dice) -> dict[str, Any]:
    """Another queue."""
    return {"queue": dice.choice([queue for queue in QUEUES if queue != value["queue"]])}


def _split(body: str) -> tuple[str, int, str]:
    """(what comes before the emphasis, how much more the emphasised rest counts, the rest)."""
    emphasis = _EMPHASIS.search(body)
    if emphasis is None:
        return body, 1, ""
    return body[: emphasis.start()], _EMPHATIC_WEIGHT, body[emphasis.end() :]


TASK = Task("ticket-triage", "queue a support ticket belongs to", "\nTicket:\n", answer, distort)

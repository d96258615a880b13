"""What goes wrong on purpose, and how often."""

from collections.abc import Mapping
from dataclasses import dataclass

from uhlp.demo.simulated_model.tasks.task import Dice
from uhlp.errors import ValidationFailed

KINDS = ("429", "500", "timeout", "drop", "half", "page", "error", "huge", "garbage", "mangled", "schema")
WITHOUT_TEXT = frozenset({"429", "500", "timeout", "drop", "page", "error", "huge"})
"""Kinds that need no answer made."""


@dataclass(frozen=True, slots=True)
class Faults:
    """Shares of requests, by kind; together at most 1.

    Instead of an answer: 429: told to come back in a second. 500: a server error. timeout: no answer until the caller
    goes away. drop: the connection is closed. half: it is closed amid the body. page: a page in HTML, with status 200.
    error: an error object, with status 200. huge: 64 MiB of blanks. garbage: half a body that says it is whole.

    In the model's own text, within a good body: mangled: it is cut short. schema: JSON of no schema that was asked for.
    """

    shares: tuple[tuple[str, float], ...] = ()

    @classmethod
    def of(cls, shares: Mapping[str, float]) -> "Faults":
        """From shares by kind. Raises ValidationFailed."""
        for kind, share in shares.items():
            if kind not in KINDS or not 0 <= share <= 1:
                raise ValidationFailed(
                    f"{kind}={share} is no fault: the kind is one of {', '.join(KINDS)}, its share from 0 to 1."
                )
        if sum(shares.values()) > 1:
            raise ValidationFailed("The shares of faults add up to more than 1.")
        return cls(tuple(shares.items()))

    def draw(self, dice: Dice) -> str | None:
        """The fault of one request, or None."""
        if not self.shares:
            return None
        place = dice.random()
        for kind, share in self.shares:
            if place < share:
                return kind
            place -= share
        return None

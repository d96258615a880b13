"""What goes wrong on purpose, and how often."""

from collections.abc import Mapping
from dataclasses import dataclass

from uhlp.demo.simulated_model.tasks.task import Dice
from uhlp.errors import ValidationFailed

KINDS = ("429", "500", "timeout", "garbage", "mangled")


@dataclass(frozen=True, slots=True)
class Faults:
    """Shares of requests, by kind; together at most 1.

    429: told to come back in a second. 500: a server error. timeout: no answer until the caller goes away.
    garbage: the HTTP body is cut short and no JSON. mangled: the body is whole, but the model's own text is cut short.
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

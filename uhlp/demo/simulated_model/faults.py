"""What goes wrong on purpose, and how often."""

from collections.abc import Iterable
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
    def parse(cls, written: Iterable[str]) -> "Faults":
        """From `kind=share` texts such as "429=0.01". Raises ValidationFailed."""
        shares: dict[str, float] = {}
        for text in written:
            kind, _, share = text.partition("=")
            try:
                value = float(share)
            except ValueError:
                value = -1.0
            if kind not in KINDS or not 0 <= value <= 1:
                raise ValidationFailed(
                    f"{text!r} is no fault: write KIND=SHARE, KIND one of {', '.join(KINDS)}, SHARE from 0 to 1."
                )
            shares[kind] = value
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

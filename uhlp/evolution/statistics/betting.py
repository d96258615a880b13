"""Betting e-processes: evidence about a mean loss that is valid at every step.

The process starts with one unit of money and bets on every loss z before seeing it. If the hypothesis is true the game
is fair or worse, so by Ville's inequality P(the money ever reaches 1/a) <= a, however long one plays and whenever
one stops. Many bet sizes are played side by side and their money is added up (a mixture needs no tuning).

    side "below"  refutes E[z] >= m:   K = sum_j w_j prod_i (1 + l_j (m - z_i)),   l_j = f_j / (1 - m)
    side "above"  refutes E[z] <= m:   K = sum_j v_j prod_i (1 + u_j (z_i - m)),   u_j = f_j / (m - lo)

Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting" (JRSS-B 2024).
Written out, a factor is (1 - f) + f (1 - z) / (1 - m) on side "below": K grows with m, so that what is proven for m
is proven for every larger m, at one and the same error level: a grid of bounds needs no further correction.
"""

from collections.abc import Sequence
from math import ceil, exp, inf, log
from typing import Literal

Side = Literal["below", "above"]

_BETS: dict[Side, tuple[float, ...]] = {
    "below": (1, 0.75, 0.5, 0.25, 0.1, 0.03),
    "above": (1, 0.3, 0.1, 0.03, 0.01, 0.003),
}
_NOISY_BETS = (1, 0.5, 0.25, 0.1, 0.05, 0.02)
_SHARES: dict[Side, tuple[float, ...]] = {"below": (0.45, 0.2, 0.15, 0.1, 0.05, 0.05), "above": (1 / 6,) * 6}


def _log(value: float) -> float:
    return log(value) if value > 0 else -inf


class BettingProcess:
    """One e-process against one hypothesis about the mean of losses in [lowest_loss, 1].

    `lowest_loss` is 0 for handlers and -1 where both arms are noisy (a prompt against a prompt).
    `update` is O(1). A bet that has lost everything stays at -inf (None in JSON).
    """

    def __init__(
        self, mean: float, side: Side, *, lowest_loss: float = 0.0, log_money: Sequence[float | None] | None = None
    ) -> None:
        if not lowest_loss < mean < 1:
            raise ValueError(f"the mean under test must lie between {lowest_loss:g} and 1, not {mean!r}")
        self.mean, self.side, self.lowest_loss = mean, side, lowest_loss
        self._bets = _NOISY_BETS if side == "above" and lowest_loss < 0 else _BETS[side]
        self._clean = self._log_factors(0.0)
        self._wrong = self._log_factors(1.0)
        self._log_money = [_log(share) for share in _SHARES[side]]
        if log_money is not None:
            self._log_money = [-inf if money is None else float(money) for money in log_money]

    @classmethod
    def from_counts(
        cls, mean: float, side: Side, *, n: int, loss: float, gain: float = 0.0, lowest_loss: float = 0.0
    ) -> "BettingProcess":
        """The process after `n` losses whose positive ones sum to `loss` and whose negative ones to -`gain`.

        Exact for losses of -1, 0 and 1. For losses in between it holds at most the money of the true process (the log
        of a factor is concave in z), so it stays valid and is merely slower.
        """
        process = cls(mean, side, lowest_loss=lowest_loss)
        counts = [(n - loss - gain, process._clean), (loss, process._wrong)]
        if gain:
            counts.append((gain, process._log_factors(-1.0)))
        for count, factors in counts:
            for j, factor in enumerate(factors):
                process._log_money[j] += count * factor if count > 0 else 0.0
        return process

    def update(self, loss: float) -> None:
        """Settle all bets on one more loss."""
        if loss == 0:
            factors = self._clean
        elif loss == 1:
            factors = self._wrong
        else:
            factors = self._log_factors(loss)
        self._log_money = [money + factor for money, factor in zip(self._log_money, factors, strict=True)]

    @property
    def log_e(self) -> float:
        """Natural logarithm of the money now; the hypothesis falls when it reaches log(1 / error level)."""
        return log_sum_exp(self._log_money)

    def reached(self, log_threshold: float) -> bool:
        """Whether `log_e >= log_threshold`, mostly without an exponential."""
        largest = max(self._log_money)
        return largest >= log_threshold or (largest >= log_threshold - 2 and self.log_e >= log_threshold)

    def clean_needed(self, log_threshold: float) -> int:
        """How many losses of 0 in a row bring a process of side "below" to the threshold (0: it is there)."""
        if self.side != "below":
            raise ValueError('only a process of side "below" grows on losses of 0')
        if self._log_e_after(0) >= log_threshold:
            return 0
        low, high = 0, max(1, ceil(1 / self.mean))
        while self._log_e_after(high) < log_threshold:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._log_e_after(middle) >= log_threshold else (middle, high)
        return high

    def log_money(self) -> list[float | None]:
        """The state: log of the money on each bet, None where it is lost."""
        return [None if money == -inf else money for money in self._log_money]

    def _log_e_after(self, clean: int) -> float:
        return log_sum_exp([money + clean * gain for money, gain in zip(self._log_money, self._clean, strict=True)])

    def _log_factors(self, loss: float) -> list[float]:
        if self.side == "below":
            payoff = (1 - loss) / (1 - self.mean)
        else:
            payoff = (loss - self.lowest_loss) / (self.mean - self.lowest_loss)
        return [_log((1 - bet) + bet * payoff) for bet in self._bets]


def log_sum_exp(values: Sequence[float]) -> float:
    """log(sum(exp(v))) without overflow; -inf where all are."""
    largest = max(values)
    return largest if largest == -inf else largest + log(sum(exp(value - largest) for value in values))

"""The evidence account of one candidate: HELD-OUT replay and live comparisons, all into one set of e-processes."""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from math import inf, log
from typing import Any, Self

from uhlp.evolution.statistics.betting import BettingProcess, Side
from uhlp.evolution.statistics.bounds import delta_for_attempt
from uhlp.evolution.statistics.trail import Trail, TrailPoint

PUBLISHED_BOUNDS = (0.10, 0.05, 0.02, 0.01)


class Verdict(StrEnum):
    """What the gate says; everything but HOLD is final."""

    HOLD = "hold"
    ACCEPT = "accept"
    REJECT = "reject"
    INCONCLUSIVE = "inconclusive"


class _Bound:
    """One published bound: its process, and the number of comparisons after which it was proven."""

    def __init__(self, process: BettingProcess, proven_at: int | None = None) -> None:
        self.process, self.proven_at = process, proven_at


class EvidenceAccount:
    """Gate and published bounds over losses z in [`lowest_loss`, 1] (1 = wrong after asking up; a deoptimise is none).

    accept        evidence against E[z] >= epsilon reaches 1 / delta
    reject        evidence against E[z] <= epsilon reaches 1 / alpha
    inconclusive  `n_max` comparisons without either

    Valid at every step (see `betting`): wrongly accepted with probability at most delta, wrongly rejected with at most
    alpha. The verdict is sticky. The bounds go on counting after it, so that 2 % and 1 % can be proven in service;
    "proven" stays too, and all bounds hold together at the one level delta.

    `lowest_loss` is 0 for code. It is -1 for a prompt against a prompt, where both arms are noisy and z = R - N: R is
    the new prompt's loss, N that of the present one against itself. Never for code: N would excuse its errors.
    """

    def __init__(
        self,
        *,
        epsilon: float = 0.05,
        delta: float = 0.05,
        alpha: float = 0.05,
        n_max: int = 5000,
        bounds: Iterable[float] = PUBLISHED_BOUNDS,
        lowest_loss: float = 0.0,
    ) -> None:
        if not (0 < delta < 1 and 0 < alpha < 1):
            raise ValueError(f"error levels lie between 0 and 1, not delta {delta!r}, alpha {alpha!r}")
        if not -1 <= lowest_loss <= 0:
            raise ValueError(f"the lowest loss lies between -1 and 0, not {lowest_loss!r}")
        self.epsilon, self.delta, self.alpha, self.n_max = epsilon, delta, alpha, n_max
        self.lowest_loss = lowest_loss
        self.n = 0
        self.k = 0
        self.loss = 0.0
        self.gain = 0.0
        self.verdict = Verdict.HOLD
        self.verdict_at: int | None = None
        self._trail = Trail()
        self._reject = self._process(epsilon, "above")
        self._bounds = {m: _Bound(self._process(m, "below")) for m in sorted({*bounds, epsilon}, reverse=True)}

    @classmethod
    def for_attempt(cls, attempt: int, *, delta: float = 0.05, **parameters: Any) -> Self:
        """An account at the level of attempt a = 1, 2, …; `delta` is what all attempts together may spend."""
        return cls(delta=delta_for_attempt(delta, attempt), **parameters)

    def observe(self, loss: float) -> Verdict:
        """Enter one comparison, O(1). ValueError for a loss out of range or NaN: no measurement, no progress."""
        if not self.lowest_loss <= loss <= 1:
            raise ValueError(f"a loss lies in [{self.lowest_loss:g}, 1], not {loss!r}")
        self.n += 1
        self.k += loss > 0
        self.loss += max(loss, 0.0)
        self.gain += max(-loss, 0.0)
        self._reject.update(loss)
        for bound in self._bounds.values():
            bound.process.update(loss)
            if bound.proven_at is None and bound.process.reached(self.log_threshold_accept):
                bound.proven_at = self.n
        if self.verdict is Verdict.HOLD:
            self.verdict = self._judge()
            self.verdict_at = None if self.verdict is Verdict.HOLD else self.n
        if self._trail.is_due(self.n):
            self._trail.add(self._now())
        return self.verdict

    @property
    def curve(self) -> tuple[TrailPoint, ...]:
        """How the evidence grew up to now: at most a hundred points."""
        now = self._now()
        return (*(point for point in self._trail.points if point[0] < self.n), *([now] if self.n else []))

    def _now(self) -> TrailPoint:
        return self.n, self.k, _finite(self.log_e_accept), _finite(self.log_e_reject)

    def _judge(self) -> Verdict:
        if self._reject.reached(self.log_threshold_reject):
            return Verdict.REJECT
        if self._bounds[self.epsilon].proven_at is not None:
            return Verdict.ACCEPT
        return Verdict.INCONCLUSIVE if self.n >= self.n_max else Verdict.HOLD

    @property
    def log_threshold_accept(self) -> float:
        return -log(self.delta)

    @property
    def log_threshold_reject(self) -> float:
        return -log(self.alpha)

    @property
    def log_e_accept(self) -> float:
        return self._bounds[self.epsilon].process.log_e

    @property
    def log_e_reject(self) -> float:
        return self._reject.log_e

    @property
    def bounds(self) -> tuple[float, ...]:
        """The published bounds, largest first; epsilon is always among them."""
        return tuple(self._bounds)

    @property
    def proven(self) -> float | None:
        """The smallest published bound that is proven, None while none is."""
        return min((m for m, bound in self._bounds.items() if bound.proven_at is not None), default=None)

    def is_proven(self, bound: float) -> bool:
        """Whether the loss is proven to be below one of `bounds`, or below a smaller one."""
        return self.proven is not None and self.proven <= bound

    def interval(self) -> tuple[float, float]:
        """The loss lies between these: the lower end wrong with probability at most alpha, the upper at most delta.

        A confidence sequence (valid at every step), by bisection on the mean under test, some 100 microseconds.
        Slightly wide when losses other than -1, 0 and 1 were seen.
        """
        upper = self._edge("below", self.log_threshold_accept)
        lower = self._edge("above", self.log_threshold_reject)
        return lower, upper if self.proven is None else min(upper, self.proven)

    def _edge(self, side: Side, log_threshold: float) -> float:
        """The mean at which the process of this side just reaches its threshold; 0 or 1 where none does."""
        low, high = self.lowest_loss, 1.0
        for _ in range(40):
            middle = (low + high) / 2
            refuted = self._from_counts(middle, side).reached(log_threshold)
            low, high = (low, middle) if refuted == (side == "below") else (middle, high)
        return high if side == "below" else low if low > self.lowest_loss + 1e-9 else self.lowest_loss

    def _process(self, mean: float, side: Side, log_money: Sequence[float | None] | None = None) -> BettingProcess:
        return BettingProcess(mean, side, lowest_loss=self.lowest_loss, log_money=log_money)

    def _from_counts(self, mean: float, side: Side) -> BettingProcess:
        return BettingProcess.from_counts(
            mean, side, n=self.n, loss=self.loss, gain=self.gain, lowest_loss=self.lowest_loss
        )

    def needed_more(self, bound: float | None = None) -> int:
        """Comparisons still needed to prove the loss below `bound` (default epsilon) if all of them are right.

        Exact for the published bounds; never too small for another.
        """
        bound = self.epsilon if bound is None else bound
        if self.is_proven(bound):
            return 0
        known = self._bounds.get(bound)
        process = known.process if known else self._from_counts(bound, "below")
        return process.clean_needed(self.log_threshold_accept)

    def describe(self) -> str:
        """The published bound as a sentence: "proven < 10 %: 0 of 48 wrong; 36 more right ones prove < 5 %"."""
        count = f"{self.k} of {self.n} wrong"
        if self.lowest_loss < 0:
            count = f"{self.k} of {self.n} answered otherwise, {self.gain:.0f} by the present prompt itself"
        if self.verdict is Verdict.REJECT:
            return f"proven > {self.epsilon * 100:g} %: {count}"
        claim = "nothing proven yet" if self.proven is None else f"proven < {self.proven * 100:g} %"
        following = next((m for m in self._bounds if not self.is_proven(m)), None)
        if following is None:
            return f"{claim}: {count}"
        return f"{claim}: {count}; {self.needed_more(following)} more right ones prove < {following * 100:g} %"

    def summary(self) -> dict[str, Any]:
        """The figures for ledger, panel and REST."""
        lower, upper = self.interval()
        return {
            "n": self.n,
            "k": self.k,
            "verdict": self.verdict,
            "epsilon": self.epsilon,
            "deltaA": self.delta,
            "alpha": self.alpha,
            "logE": _finite(self.log_e_accept),
            "logEReject": _finite(self.log_e_reject),
            "thresholdAccept": self.log_threshold_accept,
            "thresholdReject": self.log_threshold_reject,
            "proven": self.proven,
            "interval": [lower, upper],
            "bounds": [
                {"bound": m, "provenAt": bound.proven_at, "neededMore": self.needed_more(m)}
                for m, bound in self._bounds.items()
            ],
        }

    def to_dict(self) -> dict[str, Any]:
        """The whole state, parameters included, as JSON values."""
        return {
            "epsilon": self.epsilon,
            "delta": self.delta,
            "alpha": self.alpha,
            "n_max": self.n_max,
            "lowest_loss": self.lowest_loss,
            "n": self.n,
            "k": self.k,
            "loss": self.loss,
            "gain": self.gain,
            "verdict": self.verdict,
            "verdict_at": self.verdict_at,
            "trail": self._trail.to_dict(),
            "reject": self._reject.log_money(),
            "bounds": [
                {"bound": m, "log_money": bound.process.log_money(), "proven_at": bound.proven_at}
                for m, bound in self._bounds.items()
            ],
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """The account that `to_dict` described."""
        account = cls(
            epsilon=float(state["epsilon"]),
            delta=float(state["delta"]),
            alpha=float(state["alpha"]),
            n_max=int(state["n_max"]),
            bounds=(),
            lowest_loss=float(state.get("lowest_loss", 0.0)),  # rows from before prompts were compared lack both
        )
        account.n, account.k = int(state["n"]), int(state["k"])
        account.loss, account.gain = float(state["loss"]), float(state.get("gain", 0.0))
        account.verdict, account.verdict_at = Verdict(state["verdict"]), state["verdict_at"]
        account._trail = Trail.from_dict(state.get("trail"))
        account._reject = account._process(account.epsilon, "above", state["reject"])
        account._bounds = {}
        for kept in state["bounds"]:
            process = account._process(float(kept["bound"]), "below", kept["log_money"])
            account._bounds[process.mean] = _Bound(process, kept["proven_at"])
        return account


def _finite(value: float) -> float | None:
    return None if value in (inf, -inf) else value

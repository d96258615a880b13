"""The monitor of a handler in service: a CUSUM for slow decay and a fast rule for sudden failure.

Both take each loss for a word of its own. Failures that coincide are not: where the machine stands still for a moment,
or a sandbox ends, all that is under way fails at once. So there is no alarm before failures have come at as many
moments as failures that it takes when they come one by one. What fails for good is found a few moments later.
"""

from collections import deque
from collections.abc import Mapping
from enum import StrEnum
from math import ceil, log
from typing import Any, Self

_FAILURE = 0.5  # a loss from here on counts as a failure for the fast rule


class Cusum:
    """CUSUM e-detector for a mean loss above `mean`: log M <- max(0, log M) + log(1 + l (z - m)), l = fraction / m.

    Alarm at M >= `threshold`. While the mean loss is at most m the expected time to a false alarm is at least
    `threshold` observations (Shin, Ramdas, Rinaldo, "E-detectors", 2023). Losses lie in [0, 1].
    """

    def __init__(self, *, mean: float = 0.01, fraction: float = 0.05, threshold: float = 1000.0) -> None:
        self.mean, self.fraction, self.threshold = mean, fraction, threshold
        self.log_m = 0.0

    @property
    def least_failures(self) -> int:
        """How many in a row reach the alarm level."""
        return ceil(log(self.threshold) / log(1 + self.fraction / self.mean * (1 - self.mean)))

    def observe(self, loss: float) -> bool:
        """Take one loss; True when the alarm level is reached."""
        if not 0 <= loss <= 1:
            raise ValueError(f"a loss lies in [0, 1], not {loss!r}")
        self.log_m = max(0.0, self.log_m) + log(1 + self.fraction / self.mean * (loss - self.mean))
        return self.log_m >= log(self.threshold)


class Alarm(StrEnum):
    """Which rule of the monitor spoke."""

    CUSUM = "cusum"
    FAST = "fast"


class Monitor:
    """`Cusum` and "`fast_failures` in the last `fast_window`"; the first alarm stays.

    `moments` counts those at which the failures came that `cusum` remembers.
    """

    def __init__(
        self,
        *,
        mean: float = 0.01,
        fraction: float = 0.05,
        threshold: float = 1000.0,
        fast_window: int = 20,
        fast_failures: int = 5,
    ) -> None:
        self.cusum = Cusum(mean=mean, fraction=fraction, threshold=threshold)
        self.fast_failures = fast_failures
        self.recent: deque[bool] = deque(maxlen=fast_window)
        self.n = 0
        self.failures = 0
        self.moments = 0
        self.alarm: Alarm | None = None

    def observe(self, loss: float, *, coincides: bool = False) -> Alarm | None:
        """Take one loss in [0, 1] (1 = wrong, exception, timeout or bad schema) and return the alarm, if any so far.
        `coincides`: it was under way while the last failure that did not coincide was.
        """
        failed = loss >= _FAILURE
        self.moments = (0 if self.cusum.log_m <= 0 else self.moments) + (loss > 0 and not coincides)
        reached = self.cusum.observe(loss)
        self.n += 1
        self.failures += failed
        self.recent.append(failed and not coincides)
        if self.alarm is None:
            if sum(self.recent) >= self.fast_failures:
                self.alarm = Alarm.FAST
            elif reached and self.moments >= self.cusum.least_failures:
                self.alarm = Alarm.CUSUM
            elif reached:  # however many failed at one moment, it weighs no more
                self.cusum.log_m = log(self.cusum.threshold)
        return self.alarm

    def describe(self, what: str) -> str:
        """The alarm as a sentence, `what` in the plural: "5 of the last 20 audited answers are wrong"."""
        if self.alarm is Alarm.FAST:
            return f"{self.fast_failures} of the last {self.recent.maxlen} {what} ({self.failures} of {self.n} in all)"
        allowed = f"{self.cusum.mean * 100:g} %"
        return f"{self.failures} of {self.n} {what}: more than the {allowed} that may be, and not by chance"

    def to_dict(self) -> dict[str, Any]:
        """The whole state, parameters included, as JSON values."""
        return {
            "mean": self.cusum.mean,
            "fraction": self.cusum.fraction,
            "threshold": self.cusum.threshold,
            "log_m": self.cusum.log_m,
            "fast_window": self.recent.maxlen,
            "fast_failures": self.fast_failures,
            "recent": [int(failed) for failed in self.recent],
            "n": self.n,
            "failures": self.failures,
            "moments": self.moments,
            "alarm": self.alarm,
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """The monitor that `to_dict` described."""
        monitor = cls(
            mean=float(state["mean"]),
            fraction=float(state["fraction"]),
            threshold=float(state["threshold"]),
            fast_window=int(state["fast_window"]),
            fast_failures=int(state["fast_failures"]),
        )
        monitor.cusum.log_m = float(state["log_m"])
        monitor.recent.extend(bool(failed) for failed in state["recent"])
        monitor.n, monitor.failures = int(state["n"]), int(state["failures"])
        monitor.moments = int(state.get("moments", monitor.failures))
        monitor.alarm = None if state["alarm"] is None else Alarm(state["alarm"])
        return monitor

"""Noise tolerance: how much a monitor of a noisy prompt has to bear with.

The monitor takes z = max(0, R - N). Two equal prompts that answer otherwise in a share q of the asks differ one way as
often as the other: P(z = 1) = P(z = -1) = q (1 - q) or so, and an alarm at 1 % would ring for nothing. How often z = -1
is known from the shadow; so often z = 1 is borne with, beside the loss that the owner tolerates.
"""

from math import comb

from uhlp.evolution.statistics import EvidenceAccount, Monitor, clopper_pearson_upper

_DELTA = 0.05


def tolerating_noise(monitor: Monitor, account: EvidenceAccount) -> Monitor:
    """A monitor like `monitor`, which has seen nothing yet, for what `account` knows of the noise; itself where the
    prompt in service has never differed from itself alone.
    """
    if not account.gain:
        return monitor
    before, window = monitor.cusum.mean, monitor.recent.maxlen or 1
    mean = min(0.9, before + clopper_pearson_upper(round(account.gain), account.n, _DELTA))
    rarely = _at_least(monitor.fast_failures, window, before)
    failures = next((k for k in range(monitor.fast_failures, window) if _at_least(k, window, mean) <= rarely), window)
    return Monitor(
        mean=mean,
        fraction=monitor.cusum.fraction,
        threshold=monitor.cusum.threshold,
        fast_window=window,
        fast_failures=failures,
    )


def _at_least(failures: int, of: int, mean: float) -> float:
    """P(Bin(of, mean) >= failures)."""
    return sum(comb(of, k) * mean**k * (1 - mean) ** (of - k) for k in range(failures, of + 1))

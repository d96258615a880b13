"""Fixed-sample bounds for reports, and the error level of an attempt.

These hold for a sample size chosen beforehand; decisions that look again and again use `evidence` instead.
"""

from math import ceil, exp, lgamma, log, log1p


def binomial_cdf(k: int, n: int, p: float) -> float:
    """P(Bin(n, p) <= k)."""
    if k < 0:
        return 0.0
    if k >= n or p <= 0:
        return 1.0
    if p >= 1:
        return 0.0
    log_p, log_q, log_n = log(p), log1p(-p), lgamma(n + 1)
    terms = (exp(log_n - lgamma(i + 1) - lgamma(n - i + 1) + i * log_p + (n - i) * log_q) for i in range(k + 1))
    return min(1.0, sum(terms))


def clopper_pearson_upper(k: int, n: int, delta: float) -> float:
    """Upper bound of a rate after `k` of `n`, wrong with probability at most `delta` (one-sided).

    The p with P(Bin(n, p) <= k) = delta (Clopper and Pearson 1934); 1 where nothing is known.
    """
    if n == 0 or k >= n:
        return 1.0
    low, high = k / n, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if binomial_cdf(k, n, middle) > delta else (low, middle)
    return high


def n_required(k: int, epsilon: float, delta: float) -> int:
    """Smallest sample in which `k` wrong still show a rate below `epsilon`: P(Bin(n, epsilon) <= k) <= delta."""
    low, high = k, max(k + 1, ceil(log(delta) / log1p(-epsilon)))
    while binomial_cdf(k, high, epsilon) > delta:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if binomial_cdf(k, middle, epsilon) <= delta else (middle, high)
    return high


def delta_for_attempt(delta: float, attempt: int) -> float:
    """Error level of attempt a = 1, 2, …: delta / (a (a + 1)). The levels of all attempts sum to `delta`."""
    if attempt < 1:
        raise ValueError(f"attempts count from 1, not {attempt}")
    return delta / (attempt * (attempt + 1))

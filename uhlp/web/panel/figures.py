"""How the panel writes numbers. None, which means that nothing was observed, is a dash everywhere."""

from collections.abc import Mapping
from typing import Any

DASH = "\u2013"
NO_PRICE = "no price"
_MINUS = "\u2212"


def count(value: float | None) -> str:
    return DASH if value is None else f"{value:,.0f}"


def number_of(count: int, what: str) -> str:
    """1 version, 2 versions."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def share(value: float | None, digits: int = 0) -> str:
    """A share between 0 and 1 as a percentage; what is not nothing is never written as 0 %."""
    if value is None:
        return DASH
    if 0 < value < 0.5 * 10 ** -(2 + digits):
        return f"< {10**-digits:g} %"
    return f"{value * 100:,.{digits}f} %"


def milliseconds(value: float | None) -> str:
    if value is None:
        return DASH
    if value >= 10_000:
        return f"{value / 1000:,.1f} s"
    return f"{value:,.0f} ms" if value >= 10 else f"{value:.2g} ms"


def seconds(value: float | None) -> str:
    """A stretch of time in the two largest units."""
    if value is None:
        return DASH
    if abs(value) < 60:
        return f"{value:,.1f} s" if abs(value) < 10 else f"{value:,.0f} s"
    whole, parts = int(value), []
    for name, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        amount, whole = divmod(whole, size)
        if amount:
            parts.append(f"{amount} {name}")
    return " ".join(parts[:2])


def usd(value: float | None) -> str:
    """Dollars, to the cent from a dollar on, else to two significant digits."""
    if value is None:
        return DASH
    if abs(value) >= 1 or value == 0:
        return f"${value:,.2f}" if value >= 0 else f"{_MINUS}${-value:,.2f}"
    digits = 2
    while digits < 7 and abs(value) < 10 ** -(digits - 1):
        digits += 1
    text = f"${abs(value):.{digits}f}"
    return text if value > 0 else f"{_MINUS}{text}"


def cost(value: float | None, *, tokens: float, unpriced_calls: int | None = None) -> str:
    """What so many tokens cost. A price that nobody knows counts nothing in sums, and is not free: `unpriced_calls` had
    none, and None says that they were not counted."""
    return NO_PRICE if tokens and value == 0 and unpriced_calls != 0 else usd(value)


def balance(of: Mapping[str, Any], figure: str) -> str:
    """`saved` or `net` money of a balance, where the price of what was saved is known of any request."""
    is_unknown = of["unpricedRequests"] and not of["saved"]["usd"]
    return NO_PRICE if is_unknown else usd(of[figure]["usd"])


def rate(calls_per_min: float | None) -> str:
    """Requests a minute, or a second when there are many."""
    if calls_per_min is None:
        return DASH
    return f"{calls_per_min / 60:,.1f} / s" if calls_per_min >= 120 else f"{calls_per_min:,.1f} / min"


def proven(bound: float | None) -> str:
    return "nothing yet" if bound is None else f"< {bound * 100:g} %"


def words(name: Any) -> str:
    """A state or event as people say it: rolled_back → rolled back."""
    return str(name).replace("_", " ").replace("-", " ")


def spoken(name: str) -> str:
    """A wire name as a label: runtimeStore → Runtime store."""
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip().capitalize()

"""Reading money as people write it: what the simulated model understands of numbers and currencies."""

import re
from decimal import Decimal

NUMBER = re.compile(r"\d{1,3}(?:[ \u00a0]\d{3})+(?:[.,]\d+)?(?!\d)|\d+(?:[.,'\u2019]\d+)*")
_CURRENCIES = {
    "EUR": r"€|\beuros?\b|\beur\b",
    "USD": r"\$|\bdollars?\b|\bbucks\b|\busd\b",
    "GBP": r"£|\bpounds?\b|\bquid\b|\bgbp\b",
    "CHF": r"\bchf\b|\bfrancs?\b",
}
CURRENCY = re.compile("|".join(f"(?P<{code}>{spellings})" for code, spellings in _CURRENCIES.items()), re.IGNORECASE)


def currency_of(match: re.Match[str]) -> str:
    """The ISO code of a match of CURRENCY."""
    return str(match.lastgroup)


def number_value(written: str) -> Decimal:
    """The value of a number: its last separator is a decimal mark unless three digits follow it or it occurs again."""
    separators = re.sub(r"\d", "", written)
    if not separators:
        return Decimal(written)
    last = separators[-1]
    whole, _, rest = written.rpartition(last)
    if last in ".," and len(rest) != 3 and separators.count(last) == 1:
        return Decimal(f"{re.sub(r'[^0-9]', '', whole)}.{rest}")
    return Decimal(re.sub(r"\D", "", written))

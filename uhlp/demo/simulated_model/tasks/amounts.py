"""Amounts of money: text to cents and currency."""

import re
from typing import Any

from uhlp.demo.simulated_model.tasks.money import CURRENCY, NUMBER, currency_of, number_value
from uhlp.demo.simulated_model.tasks.task import Dice, Task

_WORDS = {"a hundred and twenty": 120, "a hundred": 100, "fifty": 50, "twenty": 20, "ten": 10}
_CENTS = re.compile(r"(\d+)\s*(?:cents|pence)\b", re.IGNORECASE)


def answer(text: str, dice: Dice) -> dict[str, Any]:
    """{"amountCents", "currency"}; of several amounts the last one counts, as on an invoice."""
    for words, value in _WORDS.items():
        text = re.sub(rf"\b{words}\b", str(value), text, flags=re.IGNORECASE)
    found_cents = _CENTS.search(text)
    cents = int(found_cents[1]) if found_cents else 0
    rest = _CENTS.sub("", text)
    numbers = list(NUMBER.finditer(rest))
    currency = CURRENCY.search(rest)
    if not numbers:
        return {"amountCents": cents, "currency": currency_of(currency) if currency else "EUR"}
    number = numbers[-1]
    amount = int(number_value(number[0]) * 100) + cents
    is_negative = rest[: number.start()].rstrip().endswith(("-", "−"))  # noqa: RUF001  the minus sign is meant
    return {
        "amountCents": -amount if is_negative else amount,
        "currency": currency_of(currency) if currency else "EUR",
    }


def distort(value: dict[str, Any], dice: Dice) -> dict[str, Any]:
    """A slip by a factor of a hundred."""
    return {**value, "amountCents": value["amountCents"] * 100}


TASK = Task("amounts", "amount of money in cents", "\nAmount as written: ", answer, distort)

"""Order lines: what is left of a line once price, quantity and politeness are taken out is the item."""

import re
from decimal import Decimal
from typing import Any

from uhlp.demo.simulated_model.tasks.money import CURRENCY, NUMBER, currency_of, number_value
from uhlp.demo.simulated_model.tasks.task import Dice, Task

_COUNT_WORDS = {
    "half a dozen": 6, "a dozen": 12, "a pair of": 2, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6,
}  # fmt: skip
_QUANTITIES = (
    re.compile(r"\b(?:qty|quantity)\b\s*:?\s*(?P<n>\d+)", re.IGNORECASE),
    re.compile(r"(?P<n>\d+)\s*(?:x\b|pcs\b|pieces\b|of them\b)", re.IGNORECASE),
    re.compile(r"\((?P<n>\d+)\)"),
    re.compile(r"^\D*?(?P<n>\d+)\b"),
)
_CHATTER = re.compile(
    r"\b(?:please add|please|could you send us|again|per piece as usual|per unit|apiece|each|a pop|all together|thanks|"
    r"same|as in may|still|i hope|for|at|price:?|item:?)\b|/pc\b|[|@?:]",
    re.IGNORECASE,
)
_GAP = "\x00"


def answer(text: str, dice: Dice) -> dict[str, Any]:
    """{"quantity", "item", "unitPrice", "currency"}."""
    rest, currency, price = _take_price(" ".join(text.split()))
    rest, quantity, is_plural = _take_quantity(rest)
    if "all together" in rest.casefold():
        price /= quantity
    item = _item(rest)
    if is_plural and item.endswith("s"):
        item = item.removesuffix("s")
    return {"quantity": quantity, "item": item, "unitPrice": float(round(price, 2)), "currency": currency}


def distort(value: dict[str, Any], dice: Dice) -> dict[str, Any]:
    """Another quantity or another currency."""
    if dice.random() < 0.5:
        return {**value, "quantity": value["quantity"] + 1}
    return {**value, "currency": "USD" if value["currency"] != "USD" else "EUR"}


def _take_price(text: str) -> tuple[str, str, Decimal]:
    """The number that stands next to the currency."""
    currency = next(reversed(list(CURRENCY.finditer(text))), None)
    if currency is None:
        return text, "EUR", Decimal(0)
    nearest = min(
        NUMBER.finditer(text),
        key=lambda number: max(number.start() - currency.end(), currency.start() - number.end()),
        default=None,
    )
    if nearest is None:
        return text, currency_of(currency), Decimal(0)
    start, end = min(nearest.start(), currency.start()), max(nearest.end(), currency.end())
    return text[:start] + _GAP + text[end:], currency_of(currency), number_value(nearest[0])


def _take_quantity(text: str) -> tuple[str, int, bool]:
    for words, count in _COUNT_WORDS.items():
        spelled = re.search(rf"\b{words}\b", text, re.IGNORECASE)
        if spelled:
            is_plural = words in ("two", "a pair of")
            return text[: spelled.start()] + _GAP + text[spelled.end() :], count, is_plural
    for pattern in _QUANTITIES:
        found = pattern.search(text)
        if found:
            start = found.start("n") if found[0][: found.start("n") - found.start()].isspace() else found.start()
            if pattern is _QUANTITIES[-1]:
                start = found.start("n")
            return text[:start] + _GAP + text[found.end() :], int(found["n"]), False
    return text, 1, False


def _item(rest: str) -> str:
    """The longest run of words between what was taken out."""
    pieces = re.split(rf"{_GAP}|\s[-–]\s|,\s|[()]", _CHATTER.sub(_GAP, rest))  # noqa: RUF001  dashes are meant
    return max((piece.strip(" ,.-") for piece in pieces), key=len)


TASK = Task("order-lines", "one line of a customer's order", "\nOrder line: ", answer, distort)

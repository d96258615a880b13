"""Amounts of money as they stand on invoices from several countries."""

import random

_LABELS = ("", "", "", "", "", "", "Total: ", "Total: ", "Total: ", "Amount due: ")
_UNUSUAL = (
    "{whole} euros and {rest} cents",
    "about {whole} dollars",
    "{whole},- €",
    "EUR {whole} plus VAT, so {more} in the end",
    "a hundred and twenty pounds",
    "-{whole}.00 USD (credit note)",
)
_UNUSUAL_SHARE = 0.04
_ENGLISH = (("USD", "$"), ("USD", "$"), ("USD", "$"), ("GBP", "£"), ("GBP", "£"), ("EUR", "€"))


def amount(dice: random.Random) -> dict[str, str]:
    """{"text"}: two in three with a decimal point, one in three with a decimal comma, and a few that are neither."""
    cents = round(dice.lognormvariate(10.4, 1.6)) + 100
    if dice.random() < _UNUSUAL_SHARE:
        whole = cents // 100
        return {"text": dice.choice(_UNUSUAL).format(whole=whole, rest=cents % 100, more=round(whole * 1.2))}
    return {
        "text": dice.choice(_LABELS) + (_english(dice, cents) if dice.random() < 0.65 else _continental(dice, cents))
    }


def _english(dice: random.Random, cents: int) -> str:
    """$1,234.50, USD 1 000.00, 12.50 GBP, EUR 12."""
    code, symbol = dice.choice(_ENGLISH)
    number = f"{cents / 100:,.2f}" if dice.random() < 0.8 else f"{cents // 100:,}"
    if dice.random() < 0.12:
        number = number.replace(",", " ")
    return dice.choice((f"{symbol}{number}", f"{code} {number}", f"{number} {code}"))


def _continental(dice: random.Random, cents: int) -> str:
    """1.234,50 EUR, 12,5 €, € 1.200, and the Swiss 1'234.50."""
    if dice.random() < 0.05:
        return f"CHF {cents / 100:,.2f}".replace(",", "'")
    style = dice.random()
    if style < 0.12:
        number = f"{cents // 100 % 1000},{cents // 10 % 10}"
    else:
        number = f"{cents / 100:,.2f}" if style < 0.9 else f"{cents // 100:,}"
        number = number.translate(str.maketrans(",.", ".,"))
    return dice.choice((f"{number} EUR", f"{number} €", f"€ {number}", f"EUR {number}"))

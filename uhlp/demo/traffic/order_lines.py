"""Order lines as customers type them: a few usual ways, and about two in a hundred that no form foresees."""

import random

_KINDS = (
    "oak", "steel", "black", "white", "blue", "green", "grey", "walnut", "compact", "foldable", "wall-mounted",
    "heavy-duty", "ergonomic", "recycled", "magnetic", "wireless", "double-sided", "stackable", "adjustable", "mini",
)  # fmt: skip
_THINGS = (
    "desk lamp", "office chair", "whiteboard marker", "USB-C cable", "ceramic mug", "notebook A5", "monitor stand",
    "paper tray", "label printer", "desk fan", "webcam", "footrest", "power strip", "filing cabinet", "pin board",
    "keyboard", "mouse pad", "headset", "bookshelf", "coat rack", "storage box", "extension lead", "wall clock",
    "envelope C4", "lever arch file", "stapler", "hole punch", "wet wipes", "waste bin", "door stop",
)  # fmt: skip
_VARIANTS = ("", "", "", " XL", " 2m", " Pro", " set", " v2", " 60x40", " 10-pack")
_CURRENCIES = (*[("EUR", "€")] * 4, *[("USD", "$")] * 3, *[("GBP", "£")] * 2)
_USUAL = (
    (24, "{quantity} x {item} @ {price} {code}"),
    (18, "{quantity} {item} at {symbol}{price} each"),
    (14, "{item}, qty {quantity}, {code} {price} per unit"),
    (12, "{quantity} pcs {item} - {symbol}{price}"),
    (12, "please add {quantity} {item}, {price} {code} apiece"),
    (9, "{item} ({quantity}) {symbol}{price}/pc"),
    (8, "Item: {item} | Qty: {quantity} | Price: {price} {code}"),
)
_UNUSUAL = (
    "half a dozen {item} for {price} {code} each, thanks",
    "could you send us a dozen {item} again? {price} {code} per piece as usual",
    "two {item}s, {symbol}{price} a pop",
    "{quantity} {item} for {total} {code} all together",
    "same {item} as in May, {quantity} of them, still {symbol}{price} I hope",
    "a pair of {item}s please ({price} {code} each)",
)
_FORMS = tuple(form for _, form in _USUAL)
_WEIGHTS = tuple(weight for weight, _ in _USUAL)
_UNUSUAL_SHARE = 0.02


def order_line(dice: random.Random) -> dict[str, str]:
    """{"line"}: quantity, item, unit price and currency in one of many spellings."""
    item = f"{dice.choice(_KINDS)} {dice.choice(_THINGS)}{dice.choice(_VARIANTS)}"
    if dice.random() < 0.5:
        item = item[0].upper() + item[1:]
    code, symbol = dice.choice(_CURRENCIES)
    if dice.random() < 0.04:
        code = code.lower()
    quantity = dice.choice((1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 24, 25, 30, 40, 48, 50, 75, 100, 144, 250))
    cents = round(dice.lognormvariate(7.6, 1.3)) + 20
    if dice.random() < 0.12:
        cents = max(100, cents // 100 * 100)
    form = dice.choice(_UNUSUAL) if dice.random() < _UNUSUAL_SHARE else dice.choices(_FORMS, _WEIGHTS)[0]
    line = form.format(
        quantity=quantity, item=item, code=code, symbol=symbol, price=_price(cents), total=_price(quantity * cents)
    )
    if dice.random() < 0.04:
        line = line.replace(" ", "  ", 1)
    return {"line": line}


def _price(cents: int) -> str:
    return f"{cents // 100:,}" if cents % 100 == 0 else f"{cents / 100:,.2f}"

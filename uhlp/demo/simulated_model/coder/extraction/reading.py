"""How handlers read texts and numbers. Plain standard library: handlers carry the functions they need as they stand
here."""

import re
from collections.abc import Mapping
from decimal import Decimal


def compile_form(form: str, slots: Mapping[str, tuple[str, str]]) -> re.Pattern[str]:
    """A form such as "<count> x <item> @ <price>" as a regular expression.

    `slots` maps a name to (kind, expression), kind being "number", "word" or "sign".
    A space may be missing where neither two words nor two numbers would run together.
    """
    pieces: list[str] = []
    previous = ""
    for part in form.split(" "):
        if len(part) > 2 and part[0] == "<" and part[-1] == ">":
            kind, expression = slots[part[1:-1]]
            piece = f"(?P<{part[1:-1]}>{expression})"
        else:
            kind = "word" if part.isalpha() else "sign"
            kind = "number" if part[0].isdigit() else kind
            piece = re.escape(part)
        if previous:
            pieces.append(" " if kind == previous != "sign" else " ?")
        pieces.append(piece)
        previous = kind
    return re.compile("".join(pieces), re.IGNORECASE)


def read_plainly(written: str, mark: str) -> Decimal | None:
    """The number in `written`: `mark` is the decimal mark, all else groups digits."""
    kept = re.sub(rf"[^0-9{re.escape(mark)}]", "", written)
    return Decimal(kept.replace(mark, ".")) if kept.count(mark) <= 1 else None


def read_as_spelled(written: str, spellings: Mapping[tuple[str, int], str]) -> Decimal | None:
    """The number in `written`, or None when its spelling was not seen often enough.

    `spellings` says what the last separator is ("decimal" or "group"), by which
    separators a number has and how many digits follow the last one.
    """
    separators = re.sub(r"[0-9]", "", written)
    if not separators:
        return Decimal(written)
    whole, _, rest = written.rpartition(separators[-1])
    role = spellings.get(("".join(dict.fromkeys(separators)), len(rest)))
    if role == "group":
        return Decimal(re.sub(r"[^0-9]", "", written))
    if role == "decimal" and separators.count(separators[-1]) == 1:
        return Decimal(re.sub(r"[^0-9]", "", whole) + "." + rest)
    return None

"""How rules read an input and vote. Plain standard library: every generated handler carries this text as it stands."""

import re
from itertools import pairwise

WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")
PREFIX_LENGTHS = (4, 5, 6, 7)
MAX_WORDS = 2000  # of one field; what follows is not read


def text_fields(value: object, path: str = "") -> list[tuple[str, str]]:
    """(path, text) of every string in a JSON value, in document order; list positions are not part of a path."""
    if isinstance(value, str):
        return [(path, value)]
    if isinstance(value, dict):
        members = [(f"{path}.{key}" if path else str(key), item) for key, item in value.items()]
    elif isinstance(value, list):
        members = [(path, item) for item in value]
    else:
        return []
    return [field for member_path, item in members for field in text_fields(item, member_path)]


def features_of_text(text: str) -> set[str]:
    """What rules can ask of a text: its words, its pairs of neighbouring words ("late parcel"), the beginnings of
    its longer words ("deliv*") and whether it holds a number ("#")."""
    words = [word.replace("\u2019", "'") for word in WORD.findall(text.casefold())[:MAX_WORDS]]
    found = set(words)
    found.update(f"{first} {second}" for first, second in pairwise(words))
    for word in words:
        found.update(f"{word[:length]}*" for length in PREFIX_LENGTHS if length < len(word))
        if word.isdecimal():
            found.add("#")
    return found


def features_of(inputs: object, by_field: bool) -> set[str]:
    """Features of a whole input; with `by_field` also bound to their field ("subject: parcel")."""
    found: set[str] = set()
    for path, text in text_fields(inputs):
        of_text = features_of_text(text)
        found |= of_text
        if by_field:
            found.update(f"{path}: {feature}" for feature in of_text)
    return found


def vote(found: set[str], rules: list[tuple[tuple[str, ...], str, int]]) -> tuple[str | None, int]:
    """(label, margin in points) by the rules that hold for these features; (None, 0) when none does.

    rules: (features that must all be there, label, points, ...). The margin is what the first label leads by.
    """
    points: dict[str, int] = {}
    for rule in rules:
        if found.issuperset(rule[0]):
            points[rule[1]] = points.get(rule[1], 0) + rule[2]
    if not points:
        return None, 0
    ranked = sorted(points.items(), key=lambda entry: (-entry[1], entry[0]))
    return ranked[0][0], ranked[0][1] - (ranked[1][1] if len(ranked) > 1 else 0)

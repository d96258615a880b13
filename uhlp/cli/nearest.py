"""What was probably meant by a name that the server does not know."""

import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any

_SHOWN = 5
_PLACE = re.compile(r"/apps/(?P<app>[^/]+)(/components/(?P<component>[^/]+))?|/candidates/(?P<candidate>[^/]+)")
_WORDS = {
    "APP_NOT_FOUND": ("app", "application", "uhlp status"),
    "COMPONENT_NOT_FOUND": ("component", "component", "uhlp status"),
    "CANDIDATE_NOT_FOUND": ("candidate", "candidate", "uhlp candidates"),
}


def hint(code: str, path: str, ask: Callable[[str], dict[str, Any] | None]) -> str:
    """The nearest names, or the command that lists them, for an error `code` of a request to `path`; "" for others.

    `ask(path)` reads from the same server; None where that fails.
    """
    if code not in _WORDS:
        return ""
    kind, word, lists = _WORDS[code]
    place = _PLACE.search(path)
    app = place["app"] if place else None
    given = (place[kind] if place else None) or ""
    names = list(_names(kind, app, ask))
    close = get_close_matches(given, names, n=1, cutoff=0.5) if given else []
    if close:
        return f"did you mean {close[0]}? `{lists}` lists every {word}"
    if 0 < len(names) <= _SHOWN:
        return f"there is {', '.join(names)}"
    return f"`{lists}` lists every {word}"


def _names(kind: str, app: str | None, ask: Callable[[str], dict[str, Any] | None]) -> Iterable[str]:
    if kind == "component":
        found = ask(f"/apps/{app}/components") or {"components": []}
        return [one["componentId"] for one in found["components"]]
    if kind == "app":
        return [one["appId"] for one in (ask("/apps") or {"applications": []})["applications"]]
    return [one["candidateId"] for one in (ask("/candidates") or {"candidates": []})["candidates"]]

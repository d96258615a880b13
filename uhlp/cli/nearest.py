"""What was probably meant by a name that the server does not know."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

_SHOWN = 5
Ask = Callable[[str], dict[str, Any] | None]
"""Reads a path of the same server; None where that fails."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Names of one kind: where they stand in paths, the request and the command that list them, and how the list
    names them.
    """

    word: str
    place: str
    listed_at: str
    key: str
    name: str
    lists: str


_APP = "/apps/(?P<app>[^/]+)"
_KINDS = (
    Kind("candidate", "/candidates/(?P<name>[^/]+)", "/candidates", "candidates", "candidateId", "uhlp candidates"),
    Kind("request", "/optimize-requests/(?P<name>[^/]+)", "/optimize-requests", "requests", "requestId",
         "uhlp compressions"),
    Kind("token", "/tokens/(?P<name>[^/]+)", "/tokens", "tokens", "tokenId", "uhlp tokens list"),
    Kind("component", f"{_APP}/components/(?P<name>[^/]+)", "/apps/{app}/components", "components", "componentId",
         "uhlp status"),
    Kind("key", f"{_APP}/api-keys/(?P<name>[^/]+)", "/apps/{app}/api-keys", "keys", "keyId", "uhlp keys list {app}"),
    Kind("evaluation", f"{_APP}/evals/(?P<name>[^/?]+)", "/apps/{app}/evals", "evals", "id", "uhlp eval list {app}"),
    Kind("execution", f"{_APP}/executions/(?P<name>[^/]+)", "/apps/{app}/executions", "executions", "executionId",
         "uhlp executions {app}"),
    Kind("queue", f"{_APP}/queues/(?P<name>[^/]+)", "/apps/{app}/queues", "queues", "queue", "uhlp queues {app}"),
)  # fmt: skip
_APPLICATION = Kind("application", "/apps/(?P<name>[^/]+)", "/apps", "applications", "appId", "uhlp status")
_COMPONENT = _KINDS[3]


def hint(code: str, path: str, ask: Ask) -> str:
    """The nearest names, or the command that lists them, for an error `code` of a request to `path`; "" for others."""
    if code == "APP_NOT_FOUND":
        return _hint(_APPLICATION, path, ask)
    if code.endswith("NOT_FOUND"):
        for kind in _KINDS:
            if re.search(kind.place, path):
                return _hint(kind, path, ask)
        if code == "COMPONENT_NOT_FOUND":
            return _hint(_COMPONENT, path, ask)
    return ""


def nearest(given: str, names: Iterable[str]) -> str:
    """The name that looks most like the given one; "" where none does."""
    return next(iter(get_close_matches(given, list(names), n=1, cutoff=0.5)), "")


def _hint(kind: Kind, path: str, ask: Ask) -> str:
    place = re.search(kind.place, path)
    within = re.search(_APP, path)
    app = within["app"] if within else ""
    found = ask(kind.listed_at.format(app=app))
    names = [str(one[kind.name]) for one in (found or {}).get(kind.key, ())]
    lists = f"`{kind.lists.format(app=app)}` lists every {kind.word}"
    if place and place["name"] in names:  # that one is there: something else is not
        return ""
    if place and (close := nearest(place["name"], names)):
        return f"did you mean {close}? {lists}"
    if 0 < len(names) <= _SHOWN:
        return f"there {'is' if len(names) == 1 else 'are'} {', '.join(names)}"
    if found is not None and not names:
        begin = ": `uhlp init my-app`, then `uhlp apply my-app`" if kind is _APPLICATION else ""
        return f"there is no {kind.word} yet{begin}"
    return lists

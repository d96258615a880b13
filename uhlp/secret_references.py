"""Secrets by reference: `secret:NAME` stands for an environment variable or a file of that name."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import SecretStr

SecretReader = Callable[[str], str | None]
"""Gives the secret of a name, None when there is none. May read a file: called in a thread, or at the start."""

_PREFIX = "secret:"
_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_.-]{0,127}$")
REFERENCE = re.compile(r"secret:([A-Za-z_][A-Za-z0-9_.-]{0,127})")
"""A reference within a text; its group is the name."""


def secret_reader(environment: Mapping[str, str], directory: Path | None = None) -> SecretReader:
    """Looks in the environment, then for a file of the name in `directory` (as container engines mount secrets)."""

    def read(name: str) -> str | None:
        if value := environment.get(name):
            return value
        if directory is None or not _NAME.match(name):
            return None
        try:
            return (directory / name).read_text().strip() or None
        except OSError:
            return None

    return read


def is_servers_own(name: str, own: Collection[str]) -> bool:
    """Whether a secret is for the server alone: `UHLP_…`, and `own`, what its settings refer to (`references_in`)."""
    return name.upper().startswith("UHLP_") or name in own


def resolve(value: str, read: SecretReader) -> str | None:
    """The secret itself: `value`, or what its reference names; None when nothing stands there."""
    found = read(value.removeprefix(_PREFIX)) if value.startswith(_PREFIX) else value
    return found and found.strip()


def references_in(value: Any) -> frozenset[str]:
    """The names of all secrets that settings refer to, and of those that a model provider takes unasked."""
    return frozenset({"OPENAI_API_KEY", "ANTHROPIC_API_KEY", *_names_within(value)})


def _names_within(value: Any) -> set[str]:
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, str):
        return set(REFERENCE.findall(value))
    if isinstance(value, Mapping):
        value = [*value.keys(), *value.values()]
    if isinstance(value, Sequence):
        return {name for one in value for name in _names_within(one)}
    return set()

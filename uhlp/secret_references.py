"""Secrets by reference: `secret:NAME` stands for an environment variable or a file of that name."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

SecretReader = Callable[[str], str | None]
"""Gives the secret of a name, None when there is none. May read a file: called in a thread, or at the start."""

_PREFIX = "secret:"
_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_.-]{0,127}$")


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


def resolve(value: str, read: SecretReader) -> str | None:
    """The secret itself: `value`, or what its reference names; None when nothing stands there."""
    found = read(value.removeprefix(_PREFIX)) if value.startswith(_PREFIX) else value
    return found and found.strip()

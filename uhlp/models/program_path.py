"""ProgramPath: where a program lies, written in the one way that can be compared."""

import os
from typing import Annotated

from pydantic import AfterValidator, Field


def is_plain_path(path: str) -> bool:
    """Absolute, and nothing in it that is read in two ways: no `.`, `..` or empty part, no slash at its end."""
    return path.startswith("/") and not path.startswith("//") and os.path.normpath(path) == path and path.isprintable()


def _plain(path: str) -> str:
    if not is_plain_path(path) or path == "/":
        raise ValueError(f"{path[:100]!r} is no plain absolute path of a program, such as /usr/bin/sort")
    return path


ProgramPath = Annotated[str, Field(max_length=1024), AfterValidator(_plain)]

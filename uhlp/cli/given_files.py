"""Files that somebody names: read whole, or a CommandError in one line."""

import json
from pathlib import Path
from typing import Any

from uhlp.cli.failure import CommandError


def text_of(path: Path, *, hint: str = "") -> str:
    """The text of a file, which must be UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise CommandError(f"{path} is not UTF-8 text", hint=hint) from None
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror or error}", hint=hint) from None


def parsed_json(text: str, subject: str, *, hint: str = "") -> Any:
    """The value of a JSON text that was given as `subject`: an option, a file, a line of one."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise CommandError(f"{subject} is not JSON: {error}", hint=hint) from None

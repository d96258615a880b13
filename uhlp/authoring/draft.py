"""Draft: the files of an application that is not registered yet, and what is wrong with them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

README = "README.md"
MOST_DESCRIPTION_CHARACTERS = 4_000
MOST_FILES = 30
MOST_CHARACTERS = 150_000
_WORD = re.compile(r"[a-z0-9]+")
_SMALL_WORDS = frozenset(
    ("a", "an", "and", "application", "as", "at", "by", "each", "every", "for", "from", "i", "if", "in", "into", "is",
     "it", "of", "on", "one", "or", "our", "should", "that", "the", "their", "them", "this", "to", "want", "we",
     "which", "with")
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """`problems` are those of a compilation: [{"file", "path", "line"?, "message"}]; none: it can be registered.

    `source` says who wrote it, `template` which one where that was a template.
    """

    files: Mapping[str, str]
    problems: tuple[dict[str, Any], ...] = ()
    source: Literal["model", "template"] = "model"
    template: str | None = None

    def as_wire(self) -> dict[str, Any]:
        """What REST answers."""
        return {
            "files": dict(self.files), "problems": list(self.problems), "source": self.source, "template": self.template
        }  # fmt: skip


def app_id_for(description: str) -> str:
    """An application id out of the first words that say something."""
    words = [word for word in _WORD.findall(description.lower()) if word not in _SMALL_WORDS]
    name = "-".join(words[:3])[:40].strip("-").lstrip("0123456789-")
    return name if len(name) > 1 else "my-app"

"""Applications to begin with, as files: what `uhlp init` writes, and what a server without a model offers."""

import re
from pathlib import Path

from uhlp.errors import ValidationFailed
from uhlp.registry.definition_files import APP_FILE

TICKETS = "tickets"
TEMPLATES = (TICKETS, "classify", "extract", "summarise")
"""The first one is commented in full, and its app.yaml is that of all."""

_FOLDER = Path(__file__).parent / "templates"
_NAME_IN_TEMPLATE = "my-app"
_SIGNS = (
    ("summarise", re.compile(r"\b(?:summar|abstract|shorten|tl;?dr|digest)", re.IGNORECASE)),
    ("extract", re.compile(r"\b(?:extract|parse|fields?\b|read out|pull out|invoice|receipt)", re.IGNORECASE)),
    ("classify", re.compile(r"\b(?:classif|categor|label|sort|route|spam|sentiment|priorit|detect)", re.IGNORECASE)),
)


def template_for(description: str) -> str:
    """The template whose words the description uses first; the commented one when it uses none."""
    found = [(match.start(), name) for name, sign in _SIGNS if (match := sign.search(description))]
    return min(found)[1] if found else TICKETS


def template_files(name: str, app_id: str) -> dict[str, str]:
    """The files of a template for this application, README and all. ValidationFailed when there is none."""
    if name not in TEMPLATES:
        raise ValidationFailed(f"There is no template {name[:80]!r}: {', '.join(TEMPLATES)}.")
    folder = _FOLDER / name
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    paths = {APP_FILE: _FOLDER / TICKETS / APP_FILE, **paths}
    return {name: path.read_text(encoding="utf-8").replace(_NAME_IN_TEMPLATE, app_id) for name, path in paths.items()}

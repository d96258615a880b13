"""Templates of what UHLP itself asks models. They stand beside who asks; what was recorded stands in them as data."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template

from uhlp import strict_json


def own_template(path: Path, **filters: Any) -> Template:
    """The template in this file, whose variables must all be given."""
    environment = Environment(
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701  the text goes to a model, not to a browser
        keep_trailing_newline=True,
    )
    environment.filters.update(filters)
    return environment.from_string(path.read_text(encoding="utf-8"))


def fenced_json(value: Any) -> str:
    """JSON on one line; a fence in a text cannot end the block it stands in."""
    return strict_json.dumps(value).decode().replace("`", "\\u0060")

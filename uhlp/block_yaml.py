"""YAML for people: keys in their order, texts of several lines as they are."""

from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    """Knows how texts are written."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def block_yaml(value: Any) -> str:
    """The text of plain JSON data."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)

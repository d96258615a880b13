"""Configuration: global, application and component values merged, the nearest winning."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Origin = Literal["global", "application", "component"]


@dataclass(frozen=True, slots=True)
class ConfigurationValue:
    """A value and the level it comes from; of an object, which merges, the nearest level that adds to it."""

    key: str
    found: bool
    value: Any = None
    origin: Origin | None = None


def merged(*levels: Mapping[str, Any]) -> dict[str, Any]:
    """Objects merge key by key, anything else is replaced; later levels win. The levels stay as they are."""
    result: dict[str, Any] = {}
    for level in levels:
        for key, value in level.items():
            present = result.get(key)
            if isinstance(value, Mapping):
                result[key] = merged(present if isinstance(present, Mapping) else {}, value)
            else:
                result[key] = value
    return result


def look_up(levels: Mapping[Origin, Mapping[str, Any]], key: str) -> ConfigurationValue:
    """The value of `key`: as it is written, else as a dotted path into objects ("llm.provider")."""
    found, value = _value(merged(*levels.values()), key)
    if not found:
        return ConfigurationValue(key, found=False)
    origin = [level for level, values in levels.items() if _value(values, key)[0]][-1]
    return ConfigurationValue(key, found=True, value=value, origin=origin)


def _value(values: Mapping[str, Any], key: str) -> tuple[bool, Any]:
    if key in values:
        return True, values[key]
    node: Any = values
    for step in key.split("."):
        if not isinstance(node, Mapping) or step not in node:
            return False, None
        node = node[step]
    return True, node

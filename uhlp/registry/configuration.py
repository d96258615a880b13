"""Configuration: global, application and component values merged, the nearest winning."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from uhlp import strict_json

Origin = Literal["global", "application", "component"]
REDACT = "redact"


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


def with_list_of_redacted(configuration: dict[str, Any]) -> dict[str, Any]:
    """The same with `redact` as a list, as all who mask by it read it: letter by letter a single name masks nothing."""
    given = configuration.get(REDACT, ())
    if given is None or isinstance(given, str):
        return {**configuration, REDACT: [given] if given else []}
    return configuration


def configuration_problem(configuration: Mapping[str, Any]) -> tuple[str, str] | None:
    """Where (a pointer within it) and why a level cannot be used: nothing could be masked by what it gives as `redact`,
    or no sandbox be told of it. None when it can."""
    given = configuration.get(REDACT)
    fields = [given] if isinstance(given, str) else given
    if not (fields is None or (isinstance(fields, list | Mapping) and all(isinstance(one, str) for one in fields))):
        return f"/{REDACT}", "redact is a list of names of fields and of JSON pointers"
    try:
        strict_json.dumps(configuration)
    except TypeError:
        return "", "holds a whole number beyond 64 bits, which components cannot be given"
    return None


def look_up(levels: Mapping[Origin, Mapping[str, Any]], key: str) -> ConfigurationValue:
    """The value of `key`: as it is written, else as a dotted path into objects ("llm.provider")."""
    found, value = _value(merged(*levels.values()), key)
    if not found:
        return ConfigurationValue(key, found=False)
    origin = [level for level, values in levels.items() if _value(values, key)[0]][-1]
    return ConfigurationValue(key, found=True, value=value, origin=origin)


def origins(levels: Mapping[Origin, Mapping[str, Any]]) -> dict[str, ConfigurationValue]:
    """Every value that is no object (or an empty one) by its dotted path, each with the level that gives it."""
    found: dict[str, ConfigurationValue] = {}
    for path, value in _leaves(merged(*levels.values())):
        givers = [level for level, values in levels.items() if _at(values, path)[0]]
        key = ".".join(path)
        found[key] = ConfigurationValue(key, found=True, value=value, origin=givers[-1])
    return found


def _leaves(values: Mapping[str, Any], at: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*at, key))
        else:
            yield (*at, key), value


def _value(values: Mapping[str, Any], key: str) -> tuple[bool, Any]:
    return (True, values[key]) if key in values else _at(values, key.split("."))


def _at(values: Mapping[str, Any], path: Iterable[str]) -> tuple[bool, Any]:
    node: Any = values
    for step in path:
        if not isinstance(node, Mapping) or step not in node:
            return False, None
        node = node[step]
    return True, node

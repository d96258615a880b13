"""How one field is compared: the policies of a comparator and how they are written.

"exact" | "ignore" | "list" | "set" | "multiset" | "datetime" | "text" | "free_text"
{"numeric": {"abs": 0.01, "rel": 0.001}}      either tolerance suffices; at least one is given
{"list": {"key": "sku"}}                      elements are paired by this field, their order does not matter
{"text": {"casefold": true, "whitespace": true}}     what to look over; both when nothing is said
{"datetime": {"toleranceS": 60}}
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Any


class PolicyInvalid(ValueError):
    """The policy is not one; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Exact:
    """Canonical JSON equality of the whole value."""


@dataclass(frozen=True, slots=True)
class Ignore:
    """Whatever it is, or missing."""


@dataclass(frozen=True, slots=True)
class OrderedList:
    """Element by element, in order; elements by their own policies."""


@dataclass(frozen=True, slots=True)
class KeyedList:
    """Elements paired by the field `key`."""

    key: str


@dataclass(frozen=True, slots=True)
class Bag:
    """A set, or a multiset when repeats count; elements exact."""

    repeats_count: bool


@dataclass(frozen=True, slots=True)
class Numeric:
    """Numbers within `abs_tolerance`, or within `rel_tolerance` of the larger one."""

    abs_tolerance: float
    rel_tolerance: float

    def equal(self, a: Any, b: Any) -> bool:
        if not (_is_number(a) and _is_number(b)):
            return False
        distance = abs(a - b)
        return bool(distance <= self.abs_tolerance or distance <= self.rel_tolerance * max(abs(a), abs(b)))


@dataclass(frozen=True, slots=True)
class Datetime:
    """ISO 8601 texts that name the same moment; one with and one without a zone never do."""

    tolerance_s: float

    def equal(self, a: Any, b: Any) -> bool:
        if not (isinstance(a, str) and isinstance(b, str)):
            return False
        try:
            one, other = datetime.fromisoformat(a.strip()), datetime.fromisoformat(b.strip())
        except ValueError:
            return False
        if (one.tzinfo is None) != (other.tzinfo is None):
            return False
        return abs((one - other).total_seconds()) <= self.tolerance_s


@dataclass(frozen=True, slots=True)
class Text:
    """Texts, looking over case and runs of white space as told."""

    casefold: bool
    whitespace: bool

    def equal(self, a: Any, b: Any) -> bool:
        return isinstance(a, str) and isinstance(b, str) and self._plain(a) == self._plain(b)

    def _plain(self, text: str) -> str:
        text = text.casefold() if self.casefold else text
        return " ".join(text.split()) if self.whitespace else text


@dataclass(frozen=True, slots=True)
class FreeText:
    """Prose: two different texts are never equal by comparison, only by a judge."""

    def equal(self, a: Any, b: Any) -> bool:
        return False


ScalarPolicy = Numeric | Datetime | Text | FreeText
Policy = Exact | Ignore | OrderedList | KeyedList | Bag | ScalarPolicy

_PLAIN: dict[str, Policy] = {
    "exact": Exact(),
    "ignore": Ignore(),
    "list": OrderedList(),
    "set": Bag(repeats_count=False),
    "multiset": Bag(repeats_count=True),
    "datetime": Datetime(0),
    "text": Text(casefold=True, whitespace=True),
    "free_text": FreeText(),
}
_OPTIONS = {
    "numeric": {"abs", "rel"},
    "list": {"key"},
    "text": {"casefold", "whitespace"},
    "datetime": {"toleranceS"},
}


def parse_policy(raw: Any) -> Policy:
    """The policy that `raw` writes. Raises PolicyInvalid."""
    if isinstance(raw, str):
        if raw == "numeric":
            raise PolicyInvalid('numeric needs a tolerance, for example {"numeric": {"abs": 0.01}}')
        if raw not in _PLAIN:
            raise PolicyInvalid(f"{raw!r} is not a policy; known are {', '.join(sorted([*_PLAIN, 'numeric']))}")
        return _PLAIN[raw]
    if not isinstance(raw, Mapping) or len(raw) != 1:
        raise PolicyInvalid('a policy is a name such as "exact", or one name with options: {"numeric": {"abs": 0.01}}')
    ((name, options),) = raw.items()
    if name not in _OPTIONS:
        raise PolicyInvalid(f"{name!r} takes no options; with options are known {', '.join(sorted(_OPTIONS))}")
    if not isinstance(options, Mapping) or not options or not set(options) <= _OPTIONS[name]:
        raise PolicyInvalid(f"the options of {name} are {', '.join(sorted(_OPTIONS[name]))}, not {options!r}")
    return _with_options(name, options)


def _with_options(name: str, options: Mapping[str, Any]) -> Policy:
    if name == "numeric":
        return Numeric(_tolerance(options, "abs"), _tolerance(options, "rel"))
    if name == "datetime":
        return Datetime(_tolerance(options, "toleranceS"))
    if name == "list":
        if not isinstance(options["key"], str) or not options["key"]:
            raise PolicyInvalid("key names the field that elements are paired by")
        return KeyedList(options["key"])
    for key, value in options.items():
        if not isinstance(value, bool):
            raise PolicyInvalid(f"{key} is true or false, not {value!r}")
    return Text(casefold=options.get("casefold", False), whitespace=options.get("whitespace", False))


def _tolerance(options: Mapping[str, Any], key: str) -> float:
    value = options.get(key, 0)
    if not _is_number(value) or value < 0 or not isfinite(value):
        raise PolicyInvalid(f"{key} is a number of at least 0, not {value!r}")
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

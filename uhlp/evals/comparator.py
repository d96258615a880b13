"""Comparator: when two outputs of a component count as the same.

Canonical JSON equality comes first; where outputs differ, each field's policy decides, and a field without one is
exact. Fields are named by path: `total`, `customer.name`, `items[].price` (every element of a list), `$` (the whole
output). What is within `ignore`, `set`, `multiset` or a scalar policy is not looked at field by field.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from uhlp import strict_json
from uhlp.errors import DefinitionInvalid
from uhlp.evals.policies import (
    Bag,
    Datetime,
    Exact,
    FreeText,
    Ignore,
    KeyedList,
    Numeric,
    OrderedList,
    Policy,
    PolicyInvalid,
    Text,
    parse_policy,
)

FORMAT = "comparator-v1"
_MAX_DIFFERENCES = 20
_MISSING = object()


class Comparator:
    """Compares outputs by the policies of `ComponentOptimization.comparator`; symmetric, and equal to itself."""

    def __init__(self, policies: Mapping[str, Any]) -> None:
        """policies: {field path: policy}. Raises DefinitionInvalid with `problems` for what cannot be kept."""
        self._raw = dict(policies)
        self._policies: dict[str, Policy] = {}
        problems = []
        for path, raw in policies.items():
            try:
                self._policies[path] = parse_policy(raw)
            except PolicyInvalid as invalid:
                problems.append({"path": f"comparator/{path}", "message": str(invalid)})
        problems += [{"path": f"comparator/{path}", "message": message} for path, message in self._unreachable()]
        if problems:
            first = problems[0]
            raise DefinitionInvalid(f"{first['path']}: {first['message']}", details={"problems": problems})
        described = strict_json.canonical({"format": FORMAT, "policies": dict(policies)})
        self.version = f"{FORMAT}:{hashlib.sha256(described).hexdigest()[:16]}"

    @property
    def is_exact(self) -> bool:
        """Whether only canonically equal outputs are equal."""
        return not self._policies

    @property
    def not_comparable_fields(self) -> tuple[str, ...]:
        """Fields of free text: only a judge can compare them."""
        return tuple(sorted(path for path, policy in self._policies.items() if isinstance(policy, FreeText)))

    def is_free_text(self, path: str) -> bool:
        """Whether the field at `path` ("a.b"), or one around it, is free text."""
        return any(path == one or one == "$" or path.startswith(f"{one}.") for one in self.not_comparable_fields)

    @cached_property
    def beside_text(self) -> "Comparator":
        """This comparator without its free text: what can be compared without a judge."""
        free = self.not_comparable_fields
        if not free:
            return self
        return Comparator({path: "ignore" if path in free else raw for path, raw in self._raw.items()})

    def differ_in_text_alone(self, a: Any, b: Any) -> bool:
        """Whether two outputs differ, and in free text alone: then a judge has to say whether it matters."""
        return bool(self.not_comparable_fields) and not self.equal(a, b) and self.beside_text.equal(a, b)

    def equal(self, a: Any, b: Any) -> bool:
        """Whether two outputs (JSON values) count as the same."""
        if strict_json.canonical(a) == strict_json.canonical(b):
            return True
        return not self.is_exact and next(self._compare(a, b, ""), None) is None

    def differences(self, a: Any, b: Any) -> list[str]:
        """What differs, a line each ("total: 12.5 ≠ 12"), at most 20; empty when they are equal."""
        if strict_json.canonical(a) == strict_json.canonical(b):
            return []
        return [line for line, _ in zip(self._compare(a, b, ""), range(_MAX_DIFFERENCES), strict=False)]

    def _unreachable(self) -> Iterator[tuple[str, str]]:
        for path in self._policies:
            for upper, policy in self._policies.items():
                if path == upper or not (upper == "$" or path.startswith((f"{upper}.", f"{upper}[]"))):
                    continue
                if not isinstance(policy, OrderedList | KeyedList):
                    yield path, f"is never looked at: {upper} is compared as a whole"
                elif upper != "$" and not path.startswith(f"{upper}[]"):
                    yield path, f"is never looked at: {upper} is a list, its elements are written {upper}[]"

    def _compare(self, a: Any, b: Any, path: str) -> Iterator[str]:
        """Differences of two values at `path`; dict and list members without a policy of their own are descended."""
        policy = self._policies.get(path or "$")
        if isinstance(policy, Ignore):
            return
        if a is _MISSING or b is _MISSING:
            yield f"{path or '$'}: {_shown(a)} ≠ {_shown(b)}"
            return
        match policy:
            case Numeric() | Datetime() | Text() | FreeText():
                if not policy.equal(a, b) and not _same(a, b):
                    yield f"{path or '$'}: {_shown(a)} ≠ {_shown(b)}"
            case Bag():
                yield from self._compare_bags(a, b, path, repeats_count=policy.repeats_count)
            case KeyedList():
                yield from self._compare_keyed(a, b, path, policy.key)
            case _:
                yield from self._descend(a, b, path, whole=isinstance(policy, Exact))

    def _descend(self, a: Any, b: Any, path: str, *, whole: bool) -> Iterator[str]:
        if not whole and isinstance(a, dict) and isinstance(b, dict):
            for key in sorted(a.keys() | b.keys()):
                yield from self._compare(a.get(key, _MISSING), b.get(key, _MISSING), f"{path}.{key}" if path else key)
        elif not whole and isinstance(a, list) and isinstance(b, list):
            if len(a) != len(b):
                yield f"{path or '$'}: {len(a)} elements ≠ {len(b)} elements"
            for one, other in zip(a, b, strict=False):
                yield from self._compare(one, other, f"{path}[]")
        elif not _same(a, b):
            yield f"{path or '$'}: {_shown(a)} ≠ {_shown(b)}"

    def _compare_bags(self, a: Any, b: Any, path: str, *, repeats_count: bool) -> Iterator[str]:
        if not (isinstance(a, list) and isinstance(b, list)):
            yield from self._descend(a, b, path, whole=True)
            return
        ours, theirs = (Counter(map(strict_json.canonical, value)) for value in (a, b))
        if not repeats_count:
            ours, theirs = Counter(set(ours)), Counter(set(theirs))
        for element in sorted(ours.keys() | theirs.keys()):
            if ours[element] != theirs[element]:
                yield f"{path or '$'}: {element.decode()[:80]} occurs {ours[element]} times ≠ {theirs[element]} times"

    def _compare_keyed(self, a: Any, b: Any, path: str, key: str) -> Iterator[str]:
        ours, theirs = _by_key(a, key), _by_key(b, key)
        if ours is None or theirs is None:  # not lists of objects with distinct keys: nothing to pair by
            yield from self._descend(a, b, path, whole=True)
            return
        for each in sorted(ours.keys() | theirs.keys()):
            one, other = ours.get(each, _MISSING), theirs.get(each, _MISSING)
            if one is _MISSING or other is _MISSING:
                yield f"{path or '$'}[{key}={each.decode()}]: {_shown(one)} ≠ {_shown(other)}"
            else:
                yield from self._compare(one, other, f"{path}[]")


def _by_key(value: Any, key: str) -> dict[bytes, Any] | None:
    if not isinstance(value, list) or not all(isinstance(element, dict) and key in element for element in value):
        return None
    keyed = {strict_json.canonical(element[key]): element for element in value}
    return keyed if len(keyed) == len(value) else None


def _same(a: Any, b: Any) -> bool:
    return strict_json.canonical(a) == strict_json.canonical(b)


def _shown(value: Any) -> str:
    if value is _MISSING:
        return "(missing)"
    text = strict_json.dumps(value).decode()
    return text if len(text) <= 80 else text[:79] + "…"

"""Regression tests as a pytest file: TRAIN inputs that earlier handlers got wrong, for a sandbox to run.

They say early and in the coder's own terms what the host would find. Like all tests in a sandbox they may only reject,
so where the comparator is laxer than equality they look at less: the host compares in full.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from uhlp import strict_json

_MOST_CASES = 50
_MOST_BYTES = 200_000

_HEAD = '''\
"""Inputs that earlier handlers got wrong. Leaving one to the model (Deoptimize) is right everywhere."""

import json

from uhlp_runtime import Deoptimize

from handler import handle

IGNORED = {ignored!r}
CASES = json.loads({cases!r})


def compared(value):
    if isinstance(value, dict):
        return {{name: member for name, member in value.items() if name not in IGNORED}}
    return value


def check(case):
    context = {{"configuration": {{}}, "userInfo": None, "now": "2026-01-01T00:00:00.000+00:00"}}
    try:
        got = handle(case["input"], context)
    except Deoptimize:
        return
    if "expected" in case:
        assert compared(json.loads(json.dumps(got))) == compared(case["expected"]), case["input"]
'''
_TEST = """

def test_regression_{number}():
    check(CASES[{place}])
"""


def regression_tests(cases: Iterable[tuple[Any, Any, bool]], policies: Mapping[str, Any]) -> str | None:
    """The file for these (input, expected, whether `expected` is certain); None without any that fits in it.

    A case whose expected answer is not certain only asks that the handler does not fail. `policies` is the component's
    comparator: fields that it names are not looked at here.
    """
    ignored: set[str] = set()
    is_comparable = True
    for path in policies:
        name = path.split(".")[0].split("[]")[0]
        is_comparable = is_comparable and name not in ("", "$")
        ignored.add(name)
    rows: list[dict[str, Any]] = []
    size = 0
    for value, expected, is_certain in cases:
        row = {"input": value, **({"expected": expected} if is_certain and is_comparable else {})}
        size += len(strict_json.dumps(row))
        if len(rows) < _MOST_CASES and size <= _MOST_BYTES:
            rows.append(row)
    if not rows:
        return None
    head = _HEAD.format(ignored=sorted(ignored), cases=strict_json.dumps(rows).decode())
    return head + "".join(_TEST.format(number=place + 1, place=place) for place in range(len(rows)))

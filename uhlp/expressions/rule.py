"""Conditions of optimisation rules: CEL over one component's window (contracts §2).

    count(requests) > 600 && (avg(latency_ms) > 500 || ratio(sum(cost_usd), count(requests)) > 0.002)

A rule compares numbers and nothing else, which keeps it cheap and safe: no strings, lists, maps or macros, at most
2,000 characters (20,000 terms overflow the library's stack), and `ratio(a, b)` instead of `/`, because 1.0/0.0 > 1.0
is true. What cannot be evaluated (no data, zero in a ratio, wrong types) is unknown, never true.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from typing import Any, Protocol

from uhlp.errors import ExpressionInvalid
from uhlp.expressions import cel_library
from uhlp.expressions.seed_spelling import in_cel

MAX_SOURCE_LENGTH = 2_000

_SUMMED = frozenset({"requests", "errors", "latency_ms", "tokens_in", "tokens_out", "cost_usd"})
SERIES_OF_FUNCTION: dict[str, frozenset[str]] = {
    "count": frozenset({"requests", "errors"}),
    "sum": _SUMMED,
    "avg": _SUMMED - {"requests"},
    "rate": _SUMMED,
    **dict.fromkeys(("p50", "p95", "p99", "max"), frozenset({"latency_ms"})),
}
"""What a rule may ask for: each window function and the series it takes."""

CALLS_PER_MIN = "calls_per_min"
_CONVERSIONS = frozenset({"int", "double"})

_COMMENT = re.compile(r"//[^\n]*")
_NOT_NUMERIC = re.compile(r"[\"'\[{]")
_FUNCTION_NAMES = "|".join(SERIES_OF_FUNCTION)
_WINDOW_CALL = re.compile(rf"\b({_FUNCTION_NAMES})\s*\(([^()]*)\)?")
_IDENTIFIER = re.compile(r"[A-Za-z]\w*")  # operators are listed too: _>_, @in


class WindowValues(Protocol):
    """What a window answers to rules."""

    def value(self, function: str, series: str) -> float | None:
        """`function` over `series` as SERIES_OF_FUNCTION pairs them, or ("rate", "calls_per_min"); None = no data.

        `rate` is the series' sum per request, so rate(errors) is the share of requests that failed.
        """
        ...


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a condition says of a window: `holds` is None when that is unknown, and `unknown_because` says why.

    `values` are the numbers that the condition names, as it saw them: {"p95(latency_ms)": 812.0}, None without data.
    """

    holds: bool | None
    values: dict[str, float | None]
    unknown_because: str | None = None


class RuleExpression:
    """One compiled condition. Judging by it has no side effect and takes a few microseconds."""

    __slots__ = ("_numbers", "_program", "source")

    def __init__(self, source: str, program: Any, numbers: dict[str, tuple[str, str, str]]) -> None:
        """`numbers`: as the source names it, the variable of `program` that it is, its function and its series."""
        self.source = source
        self._program = program
        self._numbers = numbers

    def evaluate(self, window: WindowValues) -> bool | None:
        """Whether the condition holds in `window`; None = unknown."""
        return self.judge(window).holds

    def judge(self, window: WindowValues) -> Judgement:
        """Whether the condition holds in `window`, by which numbers, or why that is unknown."""
        values: dict[str, float | None] = {}
        variables: dict[str, float] = {}
        for name, (variable, function, series) in self._numbers.items():
            value = window.value(function, series)
            if value is None or not isfinite(value):
                values[name] = None
            else:
                values[name] = variables[variable] = float(value)
        try:
            result = self._run(variables)
        except Exception as error:  # the library raises six kinds; each means that there is no answer
            return Judgement(None, values, _unknown_because(error, values))
        if not isinstance(result, bool):
            return Judgement(None, values, "it gives no truth value")
        return Judgement(result, values)

    def try_with(self, value: float) -> Any:
        """What it gives when every number is `value`."""
        return self._run({variable: value for variable, _function, _series in self._numbers.values()})

    def _run(self, variables: dict[str, float]) -> Any:
        return self._program.execute(cel_library.Context(variables, _FUNCTIONS))


@lru_cache(maxsize=4096)
def compile_rule(source: str) -> RuleExpression:
    """Compile and check a condition. Raises ExpressionInvalid; `details.hint` says what to write instead."""
    try:
        return _compiled(source)
    except _SourceError as fault:
        hint = _cel_spelling(source) or fault.hint
        message = f"The expression is not valid: {fault.what} ({hint})."
        raise ExpressionInvalid(message, details={"expression": source, "hint": hint}) from None


class _SourceError(Exception):
    """What is wrong with a source, and what to write instead."""

    def __init__(self, what: str, hint: str) -> None:
        self.what, self.hint = what, hint
        super().__init__(what)


def _compiled(source: str) -> RuleExpression:
    if len(source) > MAX_SOURCE_LENGTH:
        raise _SourceError(f"it is {len(source)} characters long", f"the limit is {MAX_SOURCE_LENGTH}")
    text = _COMMENT.sub("", source)
    if match := _NOT_NUMERIC.search(text):
        raise _SourceError(f"{match[0]} has no place in a rule", "compare numbers: no strings, lists or maps")
    try:
        program = cel_library.compile_source(text)
    except ValueError as error:
        example = "expressions are CEL, for example: count(requests) > 600 && avg(latency_ms) > 500"
        raise _SourceError(cel_library.syntax_fault(str(error)), example) from None
    _check_references(text, program)
    rule = _with_numbers(source, text, program)
    for trial_value in (1.0, 1e12):
        _try(rule, trial_value)
    return rule


def _with_numbers(source: str, text: str, program: Any) -> RuleExpression:
    """The rule with a variable for each number that it names: half the time of calling functions for them."""
    numbers: dict[str, tuple[str, str, str]] = {}

    def variable(call: re.Match[str]) -> str:
        function, series = call[1], call[2].strip()
        return numbers.setdefault(f"{function}({series})", (f"n{len(numbers)}", function, series))[0]

    with_numbers = cel_library.compile_source(_WINDOW_CALL.sub(variable, text))
    for name in with_numbers.variables():
        if name in _SUMMED:
            raise _SourceError(f"{name} stands alone", "a series needs a function, avg(latency_ms)")
    if CALLS_PER_MIN in program.variables():
        numbers[CALLS_PER_MIN] = (CALLS_PER_MIN, "rate", CALLS_PER_MIN)
    return RuleExpression(source, with_numbers, numbers)


def _cel_spelling(source: str) -> str | None:
    suggestion = in_cel(source[:MAX_SOURCE_LENGTH])
    if suggestion is None:
        return None
    try:
        _compiled(suggestion)
    except _SourceError:
        return None
    return f"in CEL: {suggestion}"


def _unknown_because(error: Exception, values: dict[str, float | None]) -> str:
    if missing := [name for name, value in values.items() if value is None]:
        return f"no data for {', '.join(missing)}"
    if "ZeroDivisionError" in str(error):
        return "a ratio is divided by 0"
    if isinstance(error, TypeError):
        return "the types do not fit"
    return str(error).split(". ")[0][:200]


def _ratio(a: float, b: float) -> float:
    return a / b  # raises ZeroDivisionError, so the rule is unknown


_FUNCTIONS = {"ratio": _ratio}


def _check_references(text: str, program: Any) -> None:
    if "_/_" in program.functions():
        raise _SourceError("`/` is not used in rules", "write ratio(a, b): it is unknown, not infinite, when b is 0")
    known = SERIES_OF_FUNCTION.keys() | _CONVERSIONS | {"ratio"}
    for name in program.functions():
        if _IDENTIFIER.fullmatch(name) and name not in known:
            raise _SourceError(
                f"there is no function {name}", f"functions are {', '.join(SERIES_OF_FUNCTION)} and ratio"
            )
    for name in program.variables():
        if name not in _SUMMED and name != CALLS_PER_MIN:
            series = ", ".join(sorted(_SUMMED))
            raise _SourceError(f"there is no series {name}", f"series are {series}; {CALLS_PER_MIN} stands alone")
    for name, series in _WINDOW_CALL.findall(text):
        if series.strip() not in SERIES_OF_FUNCTION[name]:
            takes = ", ".join(sorted(SERIES_OF_FUNCTION[name]))
            raise _SourceError(f"{name}({series.strip()}) is not measured", f"{name} takes one of {takes}")


def _try(rule: RuleExpression, trial_value: float) -> None:
    """Evaluate once with made-up numbers, so that wrong types show at registration."""
    try:
        result = rule.try_with(trial_value)
    except TypeError:
        raise _SourceError("the types do not fit", "arithmetic needs 1.0, not 1") from None
    except Exception:  # zero in a ratio, a conversion out of range: a matter of the numbers
        return
    if not isinstance(result, bool):
        raise _SourceError("it gives no truth value", "compare numbers: count(requests) > 600")

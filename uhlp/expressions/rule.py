"""Conditions of optimisation rules: CEL over one component's window (contracts §2).

    count(requests) > 600 && (avg(latency_ms) > 500 || ratio(sum(cost_usd), count(requests)) > 0.002)

A rule compares numbers and nothing else, which keeps it cheap and safe: no strings, lists, maps or macros, at most
2,000 characters (20,000 terms overflow the library's stack), and `ratio(a, b)` instead of `/`, because 1.0/0.0 > 1.0
is true. What cannot be evaluated (no data, zero in a ratio, wrong types) is unknown, never true.
"""

import re
from collections.abc import Callable
from functools import partial
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
_POSITION = re.compile(r"<input>:(\d+):(\d+): (?:Syntax error: )?(.*?)(?: expecting .*)?$", re.MULTILINE)


class WindowValues(Protocol):
    """What a window answers to rules."""

    def value(self, function: str, series: str) -> float | None:
        """`function` over `series` as SERIES_OF_FUNCTION pairs them, or ("rate", "calls_per_min"); None = no data.

        `rate` is the series' sum per request, so rate(errors) is the share of requests that failed.
        """
        ...


class RuleExpression:
    """One compiled condition. Evaluating it has no side effect and takes a few microseconds."""

    __slots__ = ("_functions", "_program", "_series", "_uses_calls_per_min", "source")

    def __init__(self, source: str, program: Any) -> None:
        self.source = source
        self._program = program
        self._functions = [name for name in program.functions() if name in SERIES_OF_FUNCTION]
        self._uses_calls_per_min = CALLS_PER_MIN in program.variables()
        self._series = {name: name for name in program.variables() if name in _SUMMED}

    def evaluate(self, window: WindowValues) -> bool | None:
        """Whether the condition holds in `window`; None = unknown."""
        try:
            result = self._run(window.value)
        except Exception:  # the library raises six kinds; each means that there is no answer
            return None
        return result if isinstance(result, bool) else None

    def _run(self, value: Callable[[str, str], float | None]) -> Any:
        functions: dict[str, Callable[..., float]] = {
            name: partial(_window_function, value, name) for name in self._functions
        }
        functions["ratio"] = _ratio
        variables: dict[str, str | float] = dict(self._series)
        if self._uses_calls_per_min:
            variables[CALLS_PER_MIN] = _window_function(value, "rate", CALLS_PER_MIN)
        return self._program.execute(cel_library.Context(variables, functions))


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
        raise _SourceError(_syntax_fault(str(error)), example) from None
    _check_references(text, program)
    rule = RuleExpression(source, program)
    for trial_value in (1.0, 1e12):
        _try(rule, trial_value)
    return rule


def _cel_spelling(source: str) -> str | None:
    suggestion = in_cel(source[:MAX_SOURCE_LENGTH])
    if suggestion is None:
        return None
    try:
        _compiled(suggestion)
    except _SourceError:
        return None
    return f"in CEL: {suggestion}"


def _window_function(value: Callable[[str, str], float | None], name: str, series: str) -> float:
    answer = value(name, series)
    if answer is None or not isfinite(answer):
        raise LookupError(f"no data for {name}({series})")
    return float(answer)


def _ratio(a: float, b: float) -> float:
    return a / b  # raises ZeroDivisionError, so the rule is unknown


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
        result = rule._run(lambda _function, _series: trial_value)
    except TypeError:
        hint = "a series needs a function, avg(latency_ms); arithmetic needs 1.0, not 1"
        raise _SourceError("the types do not fit", hint) from None
    except Exception:  # zero in a ratio, a conversion out of range: a matter of the numbers
        return
    if not isinstance(result, bool):
        raise _SourceError("it gives no truth value", "compare numbers: count(requests) > 600")


def _syntax_fault(error: str) -> str:
    if match := _POSITION.search(error):
        return f"line {match[1]}, column {match[2]}: {match[3]}"
    return error

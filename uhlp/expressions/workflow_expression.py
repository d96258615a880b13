"""Expressions of workflows: CEL over what a run knows (`trigger`, `steps`, `context`, `workflow`), giving JSON.

    steps.price.output.total > 100.0 ? "large" : "small"

Numbers are as JSON wrote them, 2 an int and 2.0 a double, and CEL does not mix them: `double(x) * 1.5`. A source has at
most 2,000 characters, one level of macros (map, filter, all, exists, exists_one; up to three in a row), and patterns
that are written out. The data is bounded before it is touched, so that an evaluation takes a fraction of a second at
most; a source that is one path takes what stands there, however large.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from uhlp.errors import ExpressionFailed, ExpressionInvalid
from uhlp.expressions import cel_library
from uhlp.expressions.cel_source import CelSource, Path, read_source
from uhlp.expressions.expression_data import UNITS_OF_A_VALUE, Trie, UnfitData, as_json, named_parts, trie_of, weigh
from uhlp.expressions.workflow_functions import FUNCTIONS, MOST_PIECES

MOST_WORK = 4_000_000
"""Bound of what an evaluation may make, in units of weigh()."""

MOST_COPIES = 64_000_000
"""Bound of what it may copy on the way, about 150 ms: `+` copies what is on its left, map and filter what they have at
each element. 500 small objects can be filtered; 10,000 would take 14 s."""


class WorkflowExpression:
    """One compiled expression. Evaluating it has no side effect; it is CPU only, within the bounds above."""

    __slots__ = ("_found", "_program", "_trie", "paths", "source")

    def __init__(self, source: str, program: Any, found: CelSource) -> None:
        self.source = source
        self.paths: tuple[Path, ...] = tuple(dict.fromkeys(found.all_paths()))
        """What it names: ("steps", "price", "output", "total"); only what stands before a call or an index."""
        self._program = program
        self._found = found
        self._trie: Trie = trie_of(self.paths)

    def __repr__(self) -> str:
        return f"WorkflowExpression({self.source!r})"

    def evaluate(self, names: Mapping[str, Any]) -> Any:
        """The JSON value that it gives of `names`, which are JSON.

        Raises ExpressionFailed: a field that is absent, types that do not fit, data beyond the bounds, no JSON.
        """
        if self._found.path is not None:
            return self._at(names, self._found.path)
        try:
            self._refuse_too_much_work(names)
            variables = named_parts(names, self._trie)
            return as_json(self._program.execute(cel_library.Context(variables, FUNCTIONS)))
        except UnfitData as fault:
            raise self._failed(str(fault)) from None
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # the library raises six kinds, and its panics are no Exception
            raise self._failed(_reason(error)) from None

    def holds(self, names: Mapping[str, Any]) -> bool:
        """Whether it gives true. Raises ExpressionFailed, also where it gives no truth value."""
        value = self.evaluate(names)
        if not isinstance(value, bool):
            raise self._failed("it gives no truth value")
        return value

    def _at(self, names: Mapping[str, Any], path: Path) -> Any:
        value: Any = names
        for depth, name in enumerate(path):
            if not isinstance(value, Mapping):
                raise self._failed(f"{'.'.join(path[:depth])} is {_kind(value)}, and has no field `{name}`")
            if name not in value:
                raise self._failed(f"there is no field `{name}`" + (f" in {'.'.join(path[:depth])}" if depth else ""))
            value = value[name]
        return value

    def _refuse_too_much_work(self, names: Mapping[str, Any]) -> None:
        """Weigh what it names, and bound what it can make of it: each use may copy, each macro repeats its body."""
        weights = {path: weigh(_value_at(names, path)) for path in self.paths}
        if sum(units for units, _longest in weights.values()) > MOST_WORK:
            raise UnfitData("it names more data than an expression takes: name less, or take a jit step")
        found = self._found
        made = len(self.source) + sum(weights[path][0] for path in found.paths)
        length = len(self.source) + sum(weights[path][1] for path in found.paths)
        length += found.splits * min(MOST_PIECES, made)
        for macro in found.macros:
            body = macro.length + sum(weights[path][0] for path in macro.paths)
            made = made * (1 + macro.variable_uses) + length * body
        if found.splits:
            made *= UNITS_OF_A_VALUE  # a value for each character, at most
        copies = max(found.sums, length if any(macro.copies for macro in found.macros) else 0) * made
        if made > MOST_WORK or copies > MOST_COPIES:
            raise UnfitData("it could make too much of the data it names: name less, or take a jit step")

    def _failed(self, reason: str) -> ExpressionFailed:
        message = f"The expression `{_shortened(self.source)}` cannot be evaluated: {reason}."
        return ExpressionFailed(message, details={"expression": self.source, "reason": reason})


@lru_cache(maxsize=4096)
def compile_workflow_expression(source: str) -> WorkflowExpression:
    """Compile and check an expression. Raises ExpressionInvalid.

    Which names it may use where it stands is the workflow's matter: `paths` tells them.
    """
    found = read_source(source)
    try:
        return WorkflowExpression(source, cel_library.compile_source(found.text), found)
    except ValueError as error:
        fault = cel_library.syntax_fault(str(error)).replace("_size(", "size(")
        raise ExpressionInvalid(f"The expression is not valid CEL: {fault}.") from None


def _value_at(names: Any, path: Path) -> Any:
    for name in path:
        if not isinstance(names, Mapping) or name not in names:
            return None
        names = names[name]
    return names


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    kinds: tuple[tuple[type, str], ...] = ((bool, "a truth value"), (str, "a text"), (list, "a list"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "a number")


def _reason(error: BaseException) -> str:
    """Why, in words that hold no data of the run."""
    if isinstance(error, KeyError):
        return f"there is no field `{error.args[0]}`"
    if isinstance(error, IndexError):
        return "the list has no such element"
    if isinstance(error, ZeroDivisionError):
        return "it divides by 0"
    if isinstance(error, OverflowError):
        return "a number is out of range"
    if isinstance(error, TypeError):
        return "the types do not fit (a field of null, 2 with 2.0, a text with a number: double(x), int(x), string(x))"
    if isinstance(error, RuntimeError) and (function := str(error).partition("Function '")[2].partition("'")[0]):
        return f"{function.lstrip('_')} cannot take this value"
    if isinstance(error, RuntimeError) and (name := str(error).partition("function: '")[2].partition("'")[0]):
        return f"{name.lstrip('_')} cannot take this value"
    return "the library cannot compute it"


def _shortened(source: str) -> str:
    return source if len(source) <= 120 else source[:117] + "…"

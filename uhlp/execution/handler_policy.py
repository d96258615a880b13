"""A look at a handler's source before anything runs it.

A courtesy and a cost saver: the coder learns in readable words what will not work, before a sandbox is spent on it.
It is no wall. Python has more ways around such a check than a check can name; the sandbox is the wall.
"""

import ast
import sys
from collections.abc import Iterator, Sequence

from uhlp.execution.handler_imports import ALLOWED_MEMBERS, FORBIDDEN_MODULES, PROVIDED_MODULES
from uhlp.execution.source_texts import known_text

MAX_SOURCE_BYTES = 256 * 1024
_MOST_PROBLEMS = 20

_FORBIDDEN_BUILTINS = frozenset(
    {
        "__import__",
        "breakpoint",
        "compile",
        "eval",
        "exec",
        "exit",
        "globals",
        "input",
        "locals",
        "open",
        "quit",
        "vars",
    }
)
_BY_NAME = frozenset({"delattr", "getattr", "hasattr", "setattr"})
_LIKE_MODULES = frozenset({"collections.abc", "datetime.time", "importlib.abc", "xml.dom", "xml.etree"})
"""Members that are called like a module of the standard library, and are none or are meant to be used."""
_ESCAPES = frozenset(
    {
        "__base__", "__bases__", "__builtins__", "__class__", "__closure__", "__code__", "__dict__", "__func__",
        "__getattribute__", "__globals__", "__import__", "__loader__", "__mro__", "__reduce__", "__reduce_ex__",
        "__self__", "__spec__", "__subclasses__", "__subclasshook__", "__wrapped__", "ag_frame", "cr_frame", "f_back",
        "f_builtins", "f_globals", "f_locals", "gi_frame", "mro", "tb_frame",
    }
)  # fmt: skip
"""Attributes that lead from any object to the interpreter's machinery."""


def check_handler(code: str, *, packages: Sequence[str] = (), function: str = "handle") -> list[str]:
    """What keeps `code` from being a handler, in words for its author; empty when nothing was seen.

    Allowed imports: the standard library less what reaches outside the process, `uhlp_runtime`, and `packages`.
    """
    size_bytes = len(code.encode(errors="replace"))
    if size_bytes > MAX_SOURCE_BYTES:
        return [f"the source takes {size_bytes} bytes; {MAX_SOURCE_BYTES} are allowed"]
    try:
        tree = ast.parse(code)
    except SyntaxError as error:
        return [f"line {error.lineno or 0}: the source does not parse: {error.msg}"]
    except (ValueError, MemoryError, RecursionError, SystemError) as error:  # the last from a tree too deep to build
        return [f"the source does not parse: {error or type(error).__name__}"]
    problems = [*_signature_problems(tree, function)]
    own_names, modules = _bound_names(tree), _imported_modules(tree)
    for node in ast.walk(tree):
        found = [*_node_problems(node, packages), *_name_problems(node, own_names), *_reach_problems(node, modules)]
        problems += [f"line {getattr(node, 'lineno', 0)}: {what}" for what in found]
        if len(problems) >= _MOST_PROBLEMS:
            break
    return problems[:_MOST_PROBLEMS]


def _signature_problems(tree: ast.Module, function: str) -> Iterator[str]:
    found = [
        node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == function
    ]
    if not found:
        yield f"there is no function {function}(inputs, context) at the top level"
        return
    handler = found[-1]
    if isinstance(handler, ast.AsyncFunctionDef):
        yield f"line {handler.lineno}: {function} must be an ordinary function, not async"
    positional = len(handler.args.posonlyargs) + len(handler.args.args)
    required = positional - len(handler.args.defaults)
    without_default = sum(default is None for default in handler.args.kw_defaults)
    if (positional < 2 and handler.args.vararg is None) or required > 2 or without_default:
        yield f"line {handler.lineno}: {function} must take (inputs, context)"


def _node_problems(node: ast.AST, packages: Sequence[str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield from _import_problems(alias.name, packages)
    elif isinstance(node, ast.ImportFrom):
        if node.level:
            yield "relative imports lead nowhere: a handler is one file"
            return
        yield from _import_problems(node.module or "", packages)
        for alias in node.names:
            yield from _member_problems(node.module or "", alias.name)
    elif isinstance(node, ast.Attribute):
        if isinstance(node.value, ast.Name):
            yield from _member_problems(node.value.id, node.attr)
        if node.attr in _ESCAPES:
            yield f"attribute {node.attr} is not available to handlers"
    elif isinstance(node, ast.MatchClass):
        for name in _ESCAPES.intersection(node.kwd_attrs):
            yield f"attribute {name} is not available to handlers"
    elif (text := known_text(node)) is not None and (escape := _escape_in(text)) is not None:
        yield f"the text {escape!r} names an attribute that is not available to handlers"


def _name_problems(node: ast.AST, own_names: set[str]) -> Iterator[str]:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        forbidden = node.id in _FORBIDDEN_BUILTINS and node.id not in own_names
        if forbidden or node.id in _ESCAPES - {"mro", "__class__"}:
            yield f"{node.id} is not available to handlers"


def _escape_in(text: str) -> str | None:
    """The attribute that a text names for `getattr`, `attrgetter` or `format`."""
    if text in _ESCAPES:
        return None if text == "mro" else text
    return next((name for name in _ESCAPES if name[:2] == "__" and f".{name}" in text), None)


def _reach_problems(node: ast.AST, modules: dict[str, str]) -> Iterator[str]:
    """Ways from a module to the modules that it imports itself, and attributes that nobody can know beforehand."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
        yield from _foreign_problems(modules[node.value.id], node.attr)
    elif isinstance(node, ast.ImportFrom) and not node.level:
        for alias in node.names:
            yield from _foreign_problems(node.module or "", alias.name)
    elif (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in _BY_NAME
        and len(node.args) > 1
        and known_text(node.args[1]) is None
    ):
        yield f"{node.func.id} needs a name that is written out"


def _foreign_problems(module: str, member: str) -> Iterator[str]:
    if module.partition(".")[0] in PROVIDED_MODULES or f"{module}.{member}" in _LIKE_MODULES:
        return
    is_own = member == module.rpartition(".")[2]  # time.time, copy.copy
    if member.startswith("_") and not member.startswith("__"):
        yield f"{module}.{member} is private to {module}"
    elif member in sys.stdlib_module_names and not is_own:
        yield f"{module}.{member} is another module"


def _imported_modules(tree: ast.Module) -> dict[str, str]:
    """Modules by the names that the source gives them."""
    return {
        alias.asname or alias.name.partition(".")[0]: alias.name if alias.asname else alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }


def _bound_names(tree: ast.Module) -> set[str]:
    """Names that the source gives itself, so that a parameter called `input` is not taken for the builtin."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.alias):
            names.add(node.asname or node.name)
    return names


def _import_problems(name: str, packages: Sequence[str]) -> Iterator[str]:
    top = name.partition(".")[0]
    if top in PROVIDED_MODULES or top in packages:
        return
    if top not in sys.stdlib_module_names:
        yield f"import of {name}: only the standard library" + (f" and {', '.join(packages)}" if packages else "")
    elif top in FORBIDDEN_MODULES or name in FORBIDDEN_MODULES:
        yield f"import of {name} is not allowed: a handler computes, it does not reach outside"


def _member_problems(module: str, member: str) -> Iterator[str]:
    allowed = ALLOWED_MEMBERS.get(module)
    if f"{module}.{member}" in FORBIDDEN_MODULES or (allowed is not None and member not in allowed):
        yield f"{module}.{member} is not available to handlers"

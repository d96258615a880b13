"""Signs that code was written to deceive its evaluation, in the text of a handler and of its tests.

The policy (`check_handler`) refuses what reaches outside, and the author may try again: that is a slip. What is listed
here no author does by accident, so it ends the attempt and asks for a person:

* a handler that looks for who runs it: frames, tracing, the garbage collector, the server's or pytest's modules;
* a handler that goes around the policy: the interpreter's machinery through any object, names of forbidden things that
  are spelt in pieces;
* tests that put something else in the handler's place, or that reach for pytest's report or end its process.

No sign is no proof of honesty, and none of this is a wall: the sandbox is one, and only answers compared on the host
let code in.
"""

import ast
from collections.abc import Iterator

from uhlp.execution.handler_imports import FORBIDDEN_MODULES
from uhlp.execution.source_texts import known_text, texts_of

_MOST_SIGNS = 10

_FRAMES = frozenset(
    {
        "_current_frames", "_getframe", "ag_frame", "cr_frame", "currentframe", "extract_stack", "f_back", "f_builtins",
        "f_globals", "f_locals", "getouterframes", "gi_frame", "setprofile", "settrace", "tb_frame", "walk_stack",
    }
)  # fmt: skip
"""Attributes that lead to the code that called this code, or watch it."""

_MACHINERY = frozenset(
    {
        "__builtins__", "__closure__", "__code__", "__getattribute__", "__globals__", "__import__", "__loader__",
        "__reduce__", "__reduce_ex__", "__spec__", "__subclasses__",
    }
)  # fmt: skip
"""Names that lead from any object to everything."""

_EVALUATORS = frozenset({"__main__", "_pytest", "gc", "uhlp"})
_FORBIDDEN_NAMES = _MACHINERY | FORBIDDEN_MODULES | {"breakpoint", "compile", "eval", "exec", "globals", "open", "vars"}
_ENDS = frozenset({("os", "_exit"), ("os", "abort"), ("os", "kill"), ("pytest", "exit")})
_REPORT = frozenset({"pluginmanager", "pytest_plugins"})


def signs_of_tampering(code: str, tests: str) -> list[str]:
    """What was seen, in words for people; empty when nothing was. A source that does not parse shows nothing."""
    signs = [f"the handler {sign}" for sign in _in_handler(_parsed(code))]
    signs += [f"the tests {sign}" for sign in _in_tests(_parsed(tests))]
    return list(dict.fromkeys(signs))[:_MOST_SIGNS]


def count_tests(tests: str) -> int:
    """How many test functions the file defines at its top level: the least that pytest must know of."""
    return len(
        {
            node.name
            for node in _parsed(tests).body
            if isinstance(node, ast.FunctionDef)
            and node.name.startswith("test_")
            and not any(_names_a_fixture(decorator) for decorator in node.decorator_list)
        }
    )


def _names_a_fixture(decorator: ast.expr) -> bool:
    target = decorator.func if isinstance(decorator, ast.Call) else decorator
    return (isinstance(target, ast.Attribute) and target.attr == "fixture") or (
        isinstance(target, ast.Name) and target.id == "fixture"
    )


def _parsed(source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, MemoryError, RecursionError, SystemError):  # whoever runs it will say so
        return ast.Module(body=[], type_ignores=[])


def _in_handler(tree: ast.Module) -> Iterator[str]:
    yield from _looking_for_the_evaluator(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in _MACHINERY:
            yield f"goes around its policy by {node.attr} (line {node.lineno})"
        elif isinstance(node, ast.Name) and node.id == "__builtins__":
            yield f"goes around its policy by {node.id} (line {node.lineno})"
    for node, text, is_in_pieces in texts_of(tree):
        if text in _MACHINERY or (is_in_pieces and text in _FORBIDDEN_NAMES):
            how = "in pieces" if is_in_pieces else "as a text"
            yield f"goes around its policy: {text} is written {how} (line {getattr(node, 'lineno', 0)})"


def _in_tests(tree: ast.Module) -> Iterator[str]:
    yield from _looking_for_the_evaluator(tree)
    module_names, function_names = _names_of_the_handler(tree)
    for node in ast.walk(tree):
        line = f"(line {getattr(node, 'lineno', 0)})"
        if _replaces_the_handler(node, module_names, function_names):
            yield f"put something else in the handler's place {line}"
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and ((node.value.id, node.attr) in _ENDS)
        ):
            yield f"end pytest by {node.value.id}.{node.attr} {line}"
        elif (isinstance(node, ast.Attribute) and node.attr in _REPORT) or (
            isinstance(node, ast.Name | ast.FunctionDef) and _name_of(node).startswith("pytest_")
        ):
            yield f"reach for pytest's report {line}"
        elif isinstance(node, ast.Constant) and node.value in ("conftest.py", "handler.py"):
            yield f"write to {node.value} {line}"


def _looking_for_the_evaluator(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        line = f"(line {getattr(node, 'lineno', 0)})"
        if isinstance(node, ast.Attribute) and node.attr in _FRAMES:
            yield f"looks for who runs it by {node.attr} {line}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] in _EVALUATORS:
                    yield f"looks for who runs it by importing {alias.name} {line}"
        elif isinstance(node, ast.ImportFrom):
            if (node.module or "").partition(".")[0] in _EVALUATORS:
                yield f"looks for who runs it by importing {node.module} {line}"
            for alias in node.names:
                if alias.name in _FRAMES:
                    yield f"looks for who runs it by {alias.name} {line}"


def _names_of_the_handler(tree: ast.Module) -> tuple[set[str], set[str]]:
    """(names of its module, names of its function) in a test file."""
    modules, functions = {"handler"}, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.asname for alias in node.names if alias.name == "handler" and alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.module == "handler":
            functions |= {alias.asname or alias.name for alias in node.names if alias.name == "handle"}
    return modules, functions


def _replaces_the_handler(node: ast.AST, modules: set[str], functions: set[str]) -> bool:
    match node:
        case ast.Attribute(value=owner, attr="handle", ctx=ast.Store() | ast.Del()):
            return not (isinstance(owner, ast.Name) and owner.id == "self")
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return name in functions
        case ast.Subscript(value=ast.Attribute(attr="modules"), slice=key, ctx=ast.Store() | ast.Del()):
            return known_text(key) == "handler"
        case ast.Call(func=ast.Name(id="setattr" | "delattr") | ast.Attribute(attr="setattr" | "delattr"), args=args):
            texts = [known_text(one) for one in args[:2]]
            is_module = bool(args) and isinstance(args[0], ast.Name) and args[0].id in modules
            return texts[:1] == ["handler.handle"] or (is_module and texts[1:] == ["handle"])
        case ast.Call(func=ast.Name(id="patch") | ast.Attribute(attr="patch"), args=[first, *_]):
            return known_text(first) == "handler.handle"
        case ast.Call(func=ast.Attribute(value=ast.Name(id="patch") | ast.Attribute(attr="patch"), attr="object")):
            target, member = [*node.args, None, None][:2]
            is_module = isinstance(target, ast.Name) and target.id in modules
            return is_module and member is not None and known_text(member) == "handle"
    return False


def _name_of(node: ast.Name | ast.FunctionDef) -> str:
    return node.id if isinstance(node, ast.Name) else node.name

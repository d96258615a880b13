"""Does code stay inside its own namespace? Asked once per artifact, of its text.

Code that stays inside may be called again in the same process, because its module is executed anew for every call: no
name, cache or closure of one call is there in the next. All other code gets a process for each call.

This is no wall: the sandbox is. Code that hides on purpose where it keeps something can find it again only in its own
process, which serves its own component and this one text for life.
"""

import ast
import sys
from collections.abc import Iterator

PURE_MODULES = frozenset(
    {
        "__future__", "abc", "array", "base64", "binascii", "bisect", "calendar", "cmath", "collections",
        "collections.abc", "colorsys", "contextlib", "copy", "csv", "dataclasses", "datetime", "decimal", "difflib",
        "email.utils", "enum", "fnmatch", "fractions", "functools", "graphlib", "hashlib", "heapq", "hmac", "html",
        "html.entities", "html.parser", "io", "ipaddress", "itertools", "json", "json.decoder", "json.encoder",
        "keyword", "math", "numbers", "operator", "orjson", "pprint", "re", "reprlib", "secrets", "shlex", "statistics",
        "string", "struct", "textwrap", "time", "typing", "uhlp_runtime", "unicodedata", "urllib.parse", "uuid", "zlib",
        "zoneinfo",
    }
)  # fmt: skip
"""Modules whose functions leave nothing behind, but for `_STATEFUL`."""

_STATEFUL = frozenset(
    {
        "FileIO", "chdir", "clear_cache", "field_size_limit", "getcontext", "open", "open_code", "redirect_stderr",
        "redirect_stdout", "register_dialect", "reset_tzpath", "setcontext", "setfirstweekday", "tzset",
        "unregister_dialect", "*",
    }
)  # fmt: skip
"""Members of pure modules that read or change what the whole process shares."""

_FOREIGN_MODULES = sys.stdlib_module_names - {name.partition(".")[0] for name in PURE_MODULES}
"""Modules that pure ones import and so show as their members."""

_BUILTINS = frozenset({"breakpoint", "delattr", "eval", "exec", "getattr", "globals", "open", "setattr", "vars"})

_FRAMES = frozenset(
    {"ag_frame", "cr_frame", "f_back", "f_builtins", "f_globals", "f_locals", "gi_frame", "tb_frame", "tb_next"}
)

_ORDINARY = frozenset(
    {
        "__all__", "__annotations__", "__author__", "__class__", "__debug__", "__doc__", "__file__", "__init__",
        "__match_args__", "__members__", "__module__", "__name__", "__new__", "__post_init__", "__qualname__",
        "__slots__", "__version__",
    }
)  # fmt: skip
"""Special names that lead to nothing that another call could see."""


def stays_inside(source: str) -> bool:
    """True when nothing in this code names a way out of its namespace, and it changes nothing that it imports."""
    try:
        tree = ast.parse(source)
    except (RecursionError, MemoryError):  # it can be compiled, but is nested too deep to be read as a tree
        return False
    imported = frozenset(_imported_names(tree))
    return all(_is_inside(node, imported) for node in ast.walk(tree))


def _is_inside(node: ast.AST, imported: frozenset[str]) -> bool:
    match node:
        case ast.Import(names):
            return all(alias.name in PURE_MODULES for alias in names)
        case ast.ImportFrom(module, names, level):
            return level == 0 and module in PURE_MODULES and all(_is_harmless(alias.name) for alias in names)
        case ast.Name(name):
            return name not in _BUILTINS and _is_plain(name)
        case ast.Attribute(value, name, context):
            if _root(value) in imported:
                return isinstance(context, ast.Load) and _is_harmless(name)
            return name not in _FRAMES and _is_plain(name)
        case ast.Subscript(value, _, ast.Store() | ast.Del()):
            return _root(value) not in imported
        case ast.FunctionDef("__del__"):
            return False  # it may run in the middle of another call
    return True


def _is_plain(name: str) -> bool:
    return not name.startswith("__") or not name.endswith("__") or name in _ORDINARY


def _is_harmless(member: str) -> bool:
    """A member of a pure module that changes nothing there."""
    if member.startswith("_"):
        return member in _ORDINARY
    return member not in _STATEFUL and member not in _FOREIGN_MODULES


def _root(node: ast.expr) -> str | None:
    """The name that a chain of attributes and subscripts starts from."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def _imported_names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                yield (alias.asname or alias.name).partition(".")[0]

"""Does code stay inside its own namespace? Asked once per artifact, of its text.

Code that stays inside may be called again in the same process, because its module is executed anew for every call: no
name, cache or closure of one call is there in the next. All other code gets a process for each call.

This is no wall: the sandbox is. Code that hides on purpose where it keeps something can find it again only in its own
process, which serves its own component and this one text for life.
"""

import ast
import sys
from collections import Counter
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
        "BACKSLASH", "BasicContext", "DefaultContext", "ESCAPE_DCT", "EXCLUDED_ATTRIBUTES", "ExtendedContext",
        "FileIO", "algorithms_available", "algorithms_guaranteed", "all_feature_names", "attrgetter", "chdir",
        "clear_cache", "codepoint2name", "dispatch_table", "entitydefs", "field_size_limit", "html5", "html5_entities",
        "kwlist", "mdays", "methodcaller", "name2codepoint", "non_hierarchical", "open", "open_code", "purge",
        "redirect_stderr", "redirect_stdout", "register_dialect", "reset_tzpath", "setfirstweekday", "softkwlist",
        "tzset", "unregister_dialect", "uses_fragment", "uses_netloc", "uses_params", "uses_query", "uses_relative",
        "*",
    }
)  # fmt: skip
"""Members of pure modules that read or change what the whole process shares, or reach attributes by their names."""

_NOWHERE = frozenset({"getcontext", "localcontext", "register", "setcontext"})
"""Names that no code that stays inside has, whatever they are asked of."""

_NAMED_TUPLE = frozenset({"_asdict", "_fields", "_make", "_replace"})

_FOREIGN_MODULES = sys.stdlib_module_names - {name.partition(".")[0] for name in PURE_MODULES}
"""Modules that pure ones import and so show as their members."""

_BUILTINS = frozenset({"breakpoint", "delattr", "eval", "exec", "getattr", "globals", "open", "setattr", "vars"})

_FRAMES = frozenset(
    {"ag_frame", "cr_frame", "f_back", "f_builtins", "f_globals", "f_locals", "gi_frame", "tb_frame", "tb_next"}
)

_ORDINARY = frozenset(
    {
        "__all__", "__annotations__", "__author__", "__debug__", "__doc__", "__file__", "__init__",
        "__match_args__", "__members__", "__module__", "__name__", "__new__", "__post_init__", "__qualname__",
        "__slots__", "__version__",
    }
)  # fmt: skip
"""Special names that lead to nothing that another call could see."""


def stays_inside(source: str) -> bool:
    """True when nothing in this code names a way out of its namespace, and it changes nothing that it imports.

    A module may stand before a dot only. An attribute is set only of a method's own `self`, of a class of this code or
    of a name that holds nothing but such a class's objects. What starts with an underscore is this code's own.
    """
    try:
        tree = ast.parse(source)
    except (RecursionError, MemoryError):  # it can be compiled, but is nested too deep to be read as a tree
        return False
    return _Reader(tree).stays_inside(tree)


class _Reader:
    """What a text imports and defines, and whether each of its nodes stays inside."""

    def __init__(self, tree: ast.Module) -> None:
        self._imported = frozenset(_imported_names(tree))
        self._modules = frozenset(_imported_modules(tree))
        self._before_a_dot = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        self._settable = frozenset(_names_of_own_things(tree))
        self._own_attributes = frozenset(_own_attributes(tree))

    def stays_inside(self, tree: ast.Module) -> bool:
        return all(self._is_inside(node) for node in ast.walk(tree))

    def _is_inside(self, node: ast.AST) -> bool:
        match node:
            case ast.Import(names):
                return all(alias.name in PURE_MODULES for alias in names)
            case ast.ImportFrom(module, names, level):
                return level == 0 and module in PURE_MODULES and all(_is_harmless(alias.name) for alias in names)
            case ast.Name(name):
                is_whole_module = name in self._modules and id(node) not in self._before_a_dot
                return name not in _BUILTINS and name not in _NOWHERE and _is_plain(name) and not is_whole_module
            case ast.Attribute(value, name, context):
                if _root(value) in self._imported:
                    return isinstance(context, ast.Load) and _is_harmless(name)
                if not isinstance(context, ast.Load) and not self._is_settable(value):
                    return False
                return self._is_own(name)
            case ast.Subscript(value, _, ast.Store() | ast.Del()):
                return _root(value) not in self._imported
            case ast.MatchClass(kwd_attrs=names):
                return all(self._is_own(name) for name in names)
            case ast.FunctionDef("__del__"):
                return False  # it may run in the middle of another call
        return True

    def _is_settable(self, value: ast.expr) -> bool:
        return isinstance(value, ast.Name) and value.id in self._settable

    def _is_own(self, attribute: str) -> bool:
        if attribute in _FRAMES or attribute in _NOWHERE:
            return False
        if attribute.startswith("_"):
            return attribute in self._own_attributes or attribute in _ORDINARY or attribute in _NAMED_TUPLE
        return True


def _is_plain(name: str) -> bool:
    return not name.startswith("__") or not name.endswith("__") or name in _ORDINARY


def _is_harmless(member: str) -> bool:
    """A member of a pure module that changes nothing there."""
    if member.startswith("_"):
        return member in _ORDINARY
    return member not in _STATEFUL and member not in _NOWHERE and member not in _FOREIGN_MODULES


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


def _imported_modules(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                if isinstance(node, ast.Import) or f"{node.module}.{alias.name}" in PURE_MODULES:
                    yield (alias.asname or alias.name).partition(".")[0]


def _names_of_own_things(tree: ast.Module) -> Iterator[str]:
    """Names that hold, wherever they are bound, a class of this code, an object made by one or a method's `self`."""
    bound = Counter(_bound_names(tree))
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    own_classes = {name for name, times in Counter(each.name for each in classes).items() if bound[name] == times}
    own = Counter(each.name for each in classes)
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(name)], value=ast.Call(func=ast.Name(maker))) if maker in own_classes:
                own[name] += 1
            case ast.ClassDef(body=body):
                own.update(_receiver(step) for step in body if isinstance(step, ast.FunctionDef))
    return (name for name, times in own.items() if name and bound[name] == times)


def _receiver(method: ast.FunctionDef) -> str:
    """What a method calls its first argument; nothing for a static one."""
    is_static = any(isinstance(each, ast.Name) and each.id == "staticmethod" for each in method.decorator_list)
    arguments = [*method.args.posonlyargs, *method.args.args]
    return arguments[0].arg if arguments and not is_static else ""


def _bound_names(tree: ast.Module) -> Iterator[str]:
    """Every name, once for each place that gives it something to stand for."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(name, ast.Store()) | ast.arg(name):
                yield name
            case ast.ClassDef(name) | ast.FunctionDef(name) | ast.AsyncFunctionDef(name):
                yield name
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name
            case ast.MatchMapping(rest=str(name)):
                yield name
    yield from _imported_names(tree)


def _own_attributes(tree: ast.Module) -> Iterator[str]:
    """Attributes that this code gives to its own classes and objects: special names are not among them."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(_, name, ast.Store()) if _is_plain(name):
                yield name
            case ast.ClassDef(body=body):
                for step in body:
                    match step:
                        case ast.FunctionDef(name) | ast.AnnAssign(target=ast.Name(name)) if _is_plain(name):
                            yield name
                        case ast.Assign(targets=[ast.Name(name)]) if _is_plain(name):
                            yield name

"""What a workflow's expression names and calls, read from its tokens: the library tells neither paths nor nesting.

Refused here, because of what the library was seen to do: macros within macros and many macros in a row (they hold the
process for seconds), patterns that come from data (each is compiled anew, up to 60 ms), names that hide others.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from uhlp.errors import ExpressionInvalid

MAX_SOURCE_LENGTH = 2_000
MOST_MACROS = 3
MOST_PATTERNS = 2
MOST_PATTERN_CHARS = 200
MOST_SPLITS = 2

ROOTS = ("trigger", "steps", "context", "workflow", "item", "index", "error")
"""Every name that some expression of a workflow sees."""

MACROS = frozenset({"map", "filter", "all", "exists", "exists_one"})
FUNCTIONS = frozenset(
    {
        *("has", "size", "string", "int", "uint", "double", "timestamp", "duration"),
        *("matches", "startsWith", "endsWith", "contains", "lowerAscii", "upperAscii", "trim", "split", "join"),
        *("substring", "getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"),
        *("getHours", "getMinutes", "getSeconds", "getMilliseconds"),
    }
)
_WORDS = frozenset({"true", "false", "null", "in"})

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
    |(?P<string>(?:[rR][bB]?|[bB][rR])(?:\"{3}[\s\S]*?\"{3}|'{3}[\s\S]*?'{3}|\"[^\"\n]*\"|'[^'\n]*')
        |[bB]?(?:\"{3}(?:\\[\s\S]|[^\\])*?\"{3}|'{3}(?:\\[\s\S]|[^\\])*?'{3}
            |\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'))
    |(?P<number>0[xX][0-9a-fA-F]+[uU]?|(?:[0-9]+\.[0-9]+|\.[0-9]+|[0-9]+)(?:[eE][+-]?[0-9]+)?[uU]?)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<sign>&&|\|\||[=!<>]=|[.,:?()\[\]{}!<>+\-*/%])""",
    re.VERBOSE,
)

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    text: str
    start: int


@dataclass(slots=True)
class Macro:
    """One call of a macro: how often its body names its variable, and the paths that the body takes from outside."""

    name: str
    variable: str
    length: int = 0
    variable_uses: int = 0
    paths: list[Path] = field(default_factory=list)

    @property
    def copies(self) -> bool:
        """Whether it copies what it has made at each element."""
        return self.name in ("map", "filter")


@dataclass(slots=True)
class CelSource:
    """`paths` are what stands outside of macros' bodies, each use once; `text` is for the library.

    `path` is there when the whole source is one path. `sums` counts the `+`, `splits` the calls of split.
    """

    text: str = ""
    paths: list[Path] = field(default_factory=list)
    macros: list[Macro] = field(default_factory=list)
    path: Path | None = None
    sums: int = 0
    splits: int = 0

    def all_paths(self) -> Iterator[Path]:
        """Every path that is named anywhere."""
        yield from self.paths
        for macro in self.macros:
            yield from macro.paths


def read_source(source: str) -> CelSource:
    """Read a source. Raises ExpressionInvalid for what is no CEL, or has no place in workflows."""
    if len(source) > MAX_SOURCE_LENGTH:
        raise ExpressionInvalid(f"The expression is {len(source)} characters long; the limit is {MAX_SOURCE_LENGTH}.")
    return _Reader(source, list(_tokens(source))).read()


def _tokens(source: str) -> Iterator[Token]:
    position = 0
    while position < len(source):
        found = _TOKEN.match(source, position)
        if found is None:
            raise ExpressionInvalid(f"The expression is not valid CEL at {source[position : position + 20]!r}.")
        if found.lastgroup != "space":
            yield Token(str(found.lastgroup), found[0], position)
        position = found.end()


_END = Token("end", "", 0)


class _Reader:
    """Walks the tokens once."""

    def __init__(self, source: str, tokens: list[Token]) -> None:
        self._source = source
        self._tokens = tokens
        self._found = CelSource()
        self._open: list[tuple[Macro, int] | None] = []  # parentheses; a macro's with where its call starts
        self._patterns = 0
        self._renamed: list[int] = []

    def read(self) -> CelSource:
        at = 0
        while at < len(self._tokens):
            at = self._step(at)
        found, text = self._found, self._source
        for start in reversed(self._renamed):
            text = f"{text[:start]}_{text[start:]}"
        found.text = text
        if len(found.paths) == 1 and len(self._tokens) == 2 * len(found.paths[0]) - 1:
            found.path = found.paths[0]
        return found

    def _token(self, at: int) -> Token:
        return self._tokens[at] if 0 <= at < len(self._tokens) else _END

    def _step(self, at: int) -> int:
        """Read what starts at token `at`; where the next starts."""
        token = self._tokens[at]
        if token.kind == "name":
            return self._name(at) if token.text not in _WORDS else at + 1
        if token.text == "(" and token.kind == "sign":
            self._open.append(None)
        elif token.text == ")" and self._open:
            closed = self._open.pop()
            if closed is not None:
                closed[0].length = token.start - closed[1]
        elif token.text == "+":
            self._found.sums += 1
        elif token.text == ".":
            return self._after_dot(at)
        return at + 1

    def _after_dot(self, at: int) -> int:
        before, name = self._token(at - 1), self._token(at + 1)
        follows_value = before.kind in ("name", "string") or before.text in (")", "]", "}")
        if not follows_value or name.kind != "name":
            raise ExpressionInvalid(
                f"The expression is not valid CEL at {self._source[self._tokens[at].start :][:20]!r}."
            )
        return self._call(at + 1) if self._token(at + 2).text == "(" else at + 2

    def _name(self, at: int) -> int:
        """A name that no dot precedes: a function, or the first of a path."""
        if self._token(at + 1).text == "(":
            return self._call(at)
        path, end = [self._tokens[at].text], at + 1
        while self._token(end).text == "." and self._token(end + 1).kind == "name":
            if self._token(end + 2).text == "(":
                break
            path.append(self._tokens[end + 1].text)
            end += 2
        if self._token(end).text == "{":
            raise ExpressionInvalid(f"There are no types: write {{…}} instead of {'.'.join(path)}{{…}}.")
        self._use(tuple(path))
        return end

    def _use(self, path: Path) -> None:
        macro = next((one[0] for one in self._open if one is not None), None)
        if macro is not None and path[0] == macro.variable:
            macro.variable_uses += 1
            return
        if path[0] not in ROOTS:
            raise ExpressionInvalid(f"There is no name {path[0]}: expressions see {', '.join(ROOTS[:4])}.", details={})
        if path == ("steps",):
            raise ExpressionInvalid("Write steps.<id>.output: `steps` alone is no value.")
        (self._found.paths if macro is None else macro.paths).append(path)

    def _call(self, at: int) -> int:
        """A call: the name at `at`, its parenthesis after it."""
        name, is_method = self._tokens[at].text, self._token(at - 1).text == "."
        macro = None
        if name in MACROS and is_method:
            macro = self._macro(at)
        elif name not in FUNCTIONS:
            raise ExpressionInvalid(f"There is no function {name}: {', '.join(sorted(FUNCTIONS | MACROS))}.")
        if name == "matches":
            self._check_pattern(at, is_method=is_method)
        if name == "split":
            self._found.splits += 1
            if self._found.splits > MOST_SPLITS:
                raise ExpressionInvalid(f"An expression splits texts at most {MOST_SPLITS} times.")
        if name == "size":
            self._renamed.append(self._tokens[at].start)
        self._open.append(None if macro is None else (macro, self._tokens[at].start))
        return at + (2 if macro is None else 4)

    def _macro(self, at: int) -> Macro:
        name, variable = self._tokens[at].text, self._token(at + 2)
        if variable.kind != "name" or variable.text in _WORDS or self._token(at + 3).text != ",":
            raise ExpressionInvalid(f"{name} is written list.{name}(x, …): a new name, then what is made of it.")
        if variable.text in ROOTS:
            raise ExpressionInvalid(f"{name}({variable.text}, …) would hide {variable.text}: take another name.")
        if any(one is not None for one in self._open):
            raise ExpressionInvalid(f"{name} stands inside another macro: take a loop, or a jit step.")
        if len(self._found.macros) == MOST_MACROS:
            raise ExpressionInvalid(f"An expression has at most {MOST_MACROS} of {', '.join(sorted(MACROS))}.")
        macro = Macro(name, variable.text)
        self._found.macros.append(macro)
        return macro

    def _check_pattern(self, at: int, *, is_method: bool) -> None:
        self._patterns += 1
        pattern = self._token(at + 2)
        if not is_method or pattern.kind != "string" or self._token(at + 3).text != ")":
            raise ExpressionInvalid("matches is written text.matches('…'), with the pattern as it is.")
        if any(one is not None for one in self._open) or self._patterns > MOST_PATTERNS:
            raise ExpressionInvalid(f"matches stands outside of macros, at most {MOST_PATTERNS} times.")
        if len(pattern.text) > MOST_PATTERN_CHARS:
            raise ExpressionInvalid(f"A pattern has at most {MOST_PATTERN_CHARS} characters.")

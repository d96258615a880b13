"""Jinja2 templates checked without being run; the runner renders them inside its sandbox."""

from typing import Any, NamedTuple

from jinja2 import TemplateSyntaxError, meta, nodes, pass_context
from jinja2.sandbox import SandboxedEnvironment

MAX_TEMPLATE_CHARS = 200_000


class TemplateParts(NamedTuple):
    """What of a template is not text: expressions as they stand in `{{ … }}`, and `{% … %}` in their order."""

    placeholders: frozenset[str]
    statements: tuple[str, ...]


class TemplateError(Exception):
    """What is wrong with a template, and in which of its lines, from 1."""

    def __init__(self, message: str, line: int) -> None:
        self.line = line
        super().__init__(message)


@pass_context
def _not_now(context: Any, *arguments: Any, **named: Any) -> Any:
    raise AssertionError("templates are not run here")


class _CheckingEnvironment(SandboxedEnvironment):
    """Knows every filter, test and operator but computes none.

    Jinja2's compiler folds constants by calling them, so that `{{ "a"|center(10**9) }}` would be computed while it is
    checked; what needs the context or is intercepted it leaves alone.
    """

    intercepted_binops = frozenset(SandboxedEnvironment.default_binop_table)
    intercepted_unops = frozenset(SandboxedEnvironment.default_unop_table)

    def __init__(self) -> None:
        super().__init__()
        self.filters = dict.fromkeys(self.filters, _not_now)
        self.tests = dict.fromkeys(self.tests, _not_now)


_ENVIRONMENT = _CheckingEnvironment()


def variables_of(template: str) -> frozenset[str]:
    """The names a template takes from its caller.

    Raises TemplateError: syntax, unknown filters and tests, templates that refer to other files.
    """
    if len(template) > MAX_TEMPLATE_CHARS:
        raise TemplateError(f"it is longer than {MAX_TEMPLATE_CHARS:,} characters", 1)
    try:
        tree = _ENVIRONMENT.parse(template)
        reference = next(tree.find_all((nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport)), None)
        if reference:
            raise TemplateError("it refers to another template; a prompt stands alone", reference.lineno)
        return frozenset(meta.find_undeclared_variables(tree))
    except TemplateSyntaxError as error:
        raise TemplateError(error.message or "syntax error", error.lineno) from None
    except RecursionError:
        raise TemplateError("it nests too deep", 1) from None


def parts_of(template: str) -> TemplateParts:
    """The parts of a template, or of a piece of one: a block may begin in one piece and end in another.

    Raises TemplateError where it is no piece of a template.
    """
    placeholders: set[str] = set()
    statements: list[str] = []
    words: list[str] = []
    depth = 0
    try:
        for _, kind, word in _ENVIRONMENT.lex(template):
            if kind in ("variable_begin", "block_begin"):
                words, depth = [], depth + 1
            elif kind == "variable_end":
                placeholders.add(" ".join(words))
                depth -= 1
            elif kind == "block_end":
                statements.append(" ".join(words))
                depth -= 1
            elif kind.startswith("raw_"):
                statements.append(kind)
            elif kind not in ("data", "whitespace") and not kind.startswith(("comment", "linecomment")):
                words.append(word)
    except TemplateSyntaxError as error:
        raise TemplateError(error.message or "syntax error", error.lineno) from None
    if depth:
        raise TemplateError("a `{{` or `{%` has no end", template.count("\n") + 1)
    return TemplateParts(frozenset(placeholders), tuple(statements))

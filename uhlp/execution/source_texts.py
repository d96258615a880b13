"""Texts that a source spells out, also those it puts together from pieces."""

import ast
from collections.abc import Iterator

_DEPTH = 16


def texts_of(tree: ast.AST) -> Iterator[tuple[ast.AST, str, bool]]:
    """(where, text, whether it is put together from pieces) of every text that can be known without running anything.

    Pieces of a longer text are told on their own, too.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node, node.value, False
        elif (text := known_text(node)) is not None:
            yield node, text, True


def known_text(node: ast.AST, depth: int = _DEPTH) -> str | None:
    """The text that an expression makes of constants: a constant, a sum, an f-string, a `join`; None of any other, and
    of one that nests deeper."""
    if depth == 0:
        return None
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _joined([node.left, node.right], depth)
    if isinstance(node, ast.JoinedStr):
        return _joined([part.value if isinstance(part, ast.FormattedValue) else part for part in node.values], depth)
    if isinstance(node, ast.Subscript):
        return _reversed(node, depth)
    match node:
        case ast.Call(
            func=ast.Attribute(value=ast.Constant(value=str(between)), attr="join"),
            args=[ast.List(elts=parts) | ast.Tuple(elts=parts)],
            keywords=[],
        ):
            return _joined(parts, depth, between)
    return None


def _joined(parts: list[ast.expr], depth: int, between: str = "") -> str | None:
    texts = [known_text(part, depth - 1) for part in parts]
    known = [text for text in texts if text is not None]
    return between.join(known) if len(known) == len(texts) else None


def _reversed(node: ast.Subscript, depth: int) -> str | None:
    match node.slice:
        case ast.Slice(lower=None, upper=None, step=ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=1))):
            text = known_text(node.value, depth - 1)
            return None if text is None else text[::-1]
    return None

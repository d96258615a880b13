"""YAML read with one meaning, remembering where each value stands.

YAML 1.2's core scalars, so that `no` and `on` are words and `2026-01-01` is text; anchors, aliases, merge keys,
duplicate keys and values that JSON cannot hold are refused.
"""

import re
from math import isfinite
from typing import Any, TypeAlias

import yaml

from uhlp.errors import DefinitionInvalid
from uhlp.plain_yaml import MAX_DEPTH, NotPlain, plain_value

Problem: TypeAlias = dict[str, Any]
"""{"path": "prompts/triage.yaml#/template", "line": 7, "message": "…"}; lines count from 1."""

MAX_DOCUMENT_BYTES = 1024 * 1024


class _Unclear(yaml.MarkedYAMLError):
    """YAML that has no one meaning; `place` is the node or event that starts there."""

    def __init__(self, problem: str, place: Any) -> None:
        super().__init__(problem=problem, problem_mark=place.start_mark)


class CoreLoader(yaml.CSafeLoader):
    """The safe loader with YAML 1.2's core scalars instead of 1.1's."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  the base class declares it so


for _tag, _pattern, _first in (
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^[-+]?(?:0|[1-9][0-9]*)$", list("-+0123456789")),
    ("float", r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$", list("-+.0123456789")),
):
    CoreLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


def _float(loader: CoreLoader, node: yaml.ScalarNode) -> float:
    value = float(loader.construct_scalar(node))
    if not isfinite(value):
        raise yaml.constructor.ConstructorError(None, None, "the number is too large", node.start_mark)
    return value


CoreLoader.add_constructor("tag:yaml.org,2002:float", _float)


class YamlDocument:
    """One parsed YAML text. `value` is plain JSON data; `line(pointer)` says where a part of it stands.

    Raises DefinitionInvalid with details {"problems": [Problem, …]}.
    """

    def __init__(self, raw: bytes, *, path: str) -> None:
        self.path = path
        self._text = ""
        self._root: yaml.Node | None = None
        if len(raw) > MAX_DOCUMENT_BYTES:
            raise self.invalid([self.problem("", f"the file is larger than {MAX_DOCUMENT_BYTES:,} bytes")])
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            raise self.invalid(
                [self.problem("", f"the file is not UTF-8: {error.reason} at byte {error.start}")]
            ) from None
        self._text = text
        try:
            self.value: Any = plain_value(text)
            return
        except NotPlain:
            pass  # the slow way reads the rest, and says what is wrong where
        try:
            self._refuse_aliases_and_depth(text)
            loader = CoreLoader(text)
            try:
                self._root = loader.get_single_node()
                self._refuse_unclear(self._root)
                self.value = None if self._root is None else loader.construct_document(self._root)
            finally:
                loader.dispose()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else 1
            raise self.invalid(
                [{"path": path, "line": line, "message": error.problem or "the YAML is not valid"}]
            ) from None
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            raise self.invalid([self.problem("", f"the YAML is not valid: {error.reason}", line=line)]) from None
        except (yaml.YAMLError, ValueError) as error:
            raise self.invalid([self.problem("", f"the YAML is not valid: {error}", line=1)]) from None

    def line(self, pointer: str = "") -> int:
        """The line, from 1, where the value at the JSON pointer starts; of its nearest parent when it is absent."""
        node = self._node(pointer)
        return 1 if node is None else int(node.start_mark.line) + 1

    def text_line(self, pointer: str) -> int:
        """The line of the first line of text of a scalar: one below its `|` or `>` mark for a block."""
        node = self._node(pointer)
        return self.line(pointer) + (1 if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">") else 0)

    def problem(self, pointer: str, message: str, *, line: int | None = None) -> Problem:
        """A problem at a JSON pointer of this document."""
        where = f"{self.path}#{pointer}" if pointer else self.path
        return {"path": where, "line": line or self.line(pointer), "message": message}

    def invalid(self, problems: list[Problem]) -> DefinitionInvalid:
        """The error that tells of these problems."""
        first = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        return DefinitionInvalid(
            f"{first['path']}, line {first['line']}: {first['message']}{more}", details={"problems": problems}
        )

    def _node(self, pointer: str) -> yaml.Node | None:
        if self._root is None:
            self._root = yaml.compose(self._text, Loader=CoreLoader)
        node = self._root
        for step in pointer.split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            child = None
            if isinstance(node, yaml.MappingNode):
                child = next((value for name, value in node.value if name.value == key), None)
            elif isinstance(node, yaml.SequenceNode) and key.isdigit() and int(key) < len(node.value):
                child = node.value[int(key)]
            if child is None:
                return node
            node = child
        return node

    def _refuse_aliases_and_depth(self, text: str) -> None:
        """Before anything is built: an alias can stand for gigabytes, and nodes are composed recursively."""
        depth = 0
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise _Unclear("anchors and aliases are not allowed", event)
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise _Unclear(f"it nests deeper than {MAX_DEPTH} levels", event)

    def _refuse_unclear(self, node: yaml.Node | None) -> None:
        if isinstance(node, yaml.MappingNode):
            seen = set()
            for key, value in node.value:
                if key.tag != "tag:yaml.org,2002:str":
                    raise _Unclear("keys are text: put it in quotes", key)
                if key.value in seen:
                    raise _Unclear(f"the key {key.value!r} is given twice", key)
                seen.add(key.value)
                self._refuse_unclear(value)
        elif isinstance(node, yaml.SequenceNode):
            for item in node.value:
                self._refuse_unclear(item)
        if node is not None and node.tag not in _JSON_TAGS:
            raise _Unclear(f"the tag {node.tag} is not allowed", node)


_JSON_TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str", "null", "bool", "int", "float"))

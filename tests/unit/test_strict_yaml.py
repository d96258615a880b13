"""YAML with one meaning: the quick way reads what the slow way reads, and everything else is refused with its line."""

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from uhlp.errors import DefinitionInvalid
from uhlp.plain_yaml import NotPlain, plain_value
from uhlp.strict_yaml import CoreLoader, YamlDocument

ATOMS = [
    "a",
    "b: ",
    ": ",
    "- ",
    "\n",
    "\n  ",
    "\n    ",
    "\t",
    "'",
    '"',
    "|\n",
    ">-\n",
    "#",
    "&x ",
    "*x",
    "!!str ",
    "! ",
]
ATOMS += [
    "{",
    "}",
    "[",
    "]",
    ",",
    "? ",
    "---\n",
    "...\n",
    "no",
    "true",
    "Null",
    "~",
    "1",
    "007",
    "0x1f",
    "1e3",
    "1.5",
    ".5",
]
ATOMS += [
    "-",
    "+1",
    "1e999",
    ".inf",
    "<<: ",
    "2026-01-01",
    "é",
    "\u2028",
    "%YAML 1.2\n",
    "1_000",
    "12:30",
    "=",
    "`",
    "@",
]
words = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Zl", "Zp")), max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=15,
)


@given(st.lists(st.sampled_from(ATOMS), max_size=25).map("".join))
def test_the_quick_way_reads_what_the_slow_way_reads(text):
    try:
        value = plain_value(text)
    except NotPlain:
        return
    assert value == yaml.load(text, Loader=CoreLoader)
    assert repr(value) == repr(YamlDocument(text.encode(), path="x").value)


@given(json_values)
def test_json_is_read_as_it_is(value):
    text = json.dumps(value, ensure_ascii=False)
    assert repr(YamlDocument(text.encode(), path="x").value) == repr(json.loads(text))


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\nb: &x 2\nc: *x\n", 3, "aliases"),
        ("a: 1\na: 2\n", 2, "twice"),
        ("a:\n  1: x\n", 2, "quotes"),
        ("a: !!python/object:os.system x\n", 1, "not allowed"),
        ("a: 1e999\n", 1, "too large"),
        ("a: [\n", 2, ""),
        ("[" * 65 + "]" * 65, 1, "deeper"),
        ("a: 1\n---\nb: 2\n", 2, "another document"),
        ("a: 1\nb: x\0y\n", 2, "control characters"),
    ],
)
def test_what_has_no_one_meaning_is_refused_with_its_line(text, line, message):
    with pytest.raises(DefinitionInvalid) as caught:
        YamlDocument(text.encode(), path="x.yaml")
    (problem,) = caught.value.details["problems"]
    assert problem["line"] == line
    assert message in problem["message"]


def test_lines_are_known_of_ordinary_documents_too():
    document = YamlDocument(b"a: 1\nb:\n  - c\n  - d: |\n      text\n", path="x.yaml")
    assert document.value == {"a": 1, "b": ["c", {"d": "text\n"}]}
    assert [document.line(at) for at in ("", "/b", "/b/1/d", "/b/7", "/nothing")] == [1, 3, 4, 3, 1]
    assert document.text_line("/b/1/d") == 5


def test_the_deepest_nesting_is_read():
    document = YamlDocument(("[" * 64 + "]" * 64).encode(), path="x")
    assert str(document.value) == "[" * 64 + "]" * 64

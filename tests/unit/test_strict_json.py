"""Strict JSON reads one meaning or refuses."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.left_behind import objects_left_behind
from uhlp import strict_json
from uhlp.errors import MalformedJson

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


@given(json_values)
def test_what_is_written_is_read_back(value: object) -> None:
    assert strict_json.loads(strict_json.dumps(value)) == value


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "empty"),
        (b"  ", "empty"),
        (b"[NaN]", "column 2"),
        (b"[-Infinity]", "column"),
        (b"1e9999", "infinity"),
        (b"9" * 400, "infinity"),
        (b'"\\ud800"', "surrogate"),
        (b'"\xed\xa0\x80"', "UTF-8"),
        (b'"\xff"', "UTF-8"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b'{"a":1,"a":1}', 'duplicate key "a"'),
        (b'{"a":1,"\\u0061":2}', 'duplicate key "a"'),
        (b'[{"x":{"a":1,"a":2}}]', "duplicate key"),
        (b"[1,]", "comma"),
        (b"{} {}", "column"),
        (b"[[1]", "column"),
        (b"[" * 100 + b"]", "column"),
        (b"'a'", "column"),
    ],
)
def test_other_texts_are_refused_with_the_reason(raw: bytes, reason: str) -> None:
    with pytest.raises(MalformedJson, match=f"(?i){reason}"):
        strict_json.loads(raw)


def test_nesting_is_allowed_up_to_the_limit_and_refused_beyond() -> None:
    assert strict_json.loads(b"[" * 64 + b"]" * 64)
    assert strict_json.loads(b'{"a":' * 64 + b"1" + b"}" * 64)
    with pytest.raises(MalformedJson, match="deeper than 64"):
        strict_json.loads(b"[" * 65 + b"]" * 65)
    with pytest.raises(MalformedJson, match="deeper than 64"):
        strict_json.loads(b'[{"a":' * 40 + b"1" + b"}]" * 40)
    with pytest.raises(MalformedJson):
        strict_json.loads(b"[" * 1_000_000)


def test_many_brackets_side_by_side_or_inside_strings_are_not_depth() -> None:
    assert len(strict_json.loads(b"[" + b",".join([b"[]"] * 500) + b"]")) == 500
    assert strict_json.loads(b'["' + b"[{" * 500 + b'\\"[[[["]')


@given(
    st.lists(
        st.lists(
            st.tuples(st.sampled_from(["a", "b", "c", "a:", ":", '":']), st.sampled_from([1, "x", "a:b", {}])),
            max_size=3,
        ),
        max_size=4,
    ),
    st.sampled_from([0, 100]),
)
def test_a_name_that_comes_twice_is_refused_in_short_texts_and_long_ones(
    objects: list[list[tuple[str, object]]], more: int
) -> None:
    texts = ["{" + ", ".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in pairs) + "}" for pairs in objects]
    alone = [(text, [pairs]) for text, pairs in zip(texts, objects, strict=True)]
    for text, pairs_within in [("[" + ",".join([*texts, *["{}"] * more]) + "]", objects), *alone]:
        if any(len(dict(pairs)) < len(pairs) for pairs in pairs_within):
            with pytest.raises(MalformedJson, match="uplicate"):
                strict_json.loads(text.encode())
        else:
            assert strict_json.loads(text.encode()) == json.loads(text)


@given(st.binary(max_size=200), st.integers(0, 70))
def test_any_bytes_give_a_value_or_malformed_json(raw: bytes, brackets: int) -> None:
    for text in (raw, b"[" * brackets + raw + b"]" * brackets):
        try:
            strict_json.loads(text)
        except MalformedJson:
            continue


def test_canonical_form_is_one_for_equal_values() -> None:
    assert strict_json.canonical({"b": 1.0, "a": [2, -0.0]}) == b'{"a":[2,0],"b":1}'
    assert strict_json.canonical(1e300) == strict_json.canonical(float("1e300"))
    assert strict_json.canonical(2**70) == strict_json.canonical(float(2**70))
    assert strict_json.canonical(True) != strict_json.canonical(1)
    assert strict_json.canonical(None) != strict_json.canonical(0)


@given(json_values)
def test_canonical_form_survives_another_writer(value: object) -> None:
    assert strict_json.canonical(json.loads(json.dumps(value))) == strict_json.canonical(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [float("-inf")]])
def test_canonical_form_of_what_json_lacks_is_refused(value: object) -> None:
    with pytest.raises(MalformedJson):
        strict_json.canonical(value)


def test_nothing_of_what_was_read_stays_in_memory() -> None:
    def read(number: int) -> None:
        strict_json.loads(f'{{"note": "at 12:00, number {number}"}}'.encode())

    assert objects_left_behind(read, times=1_000) < 0.1

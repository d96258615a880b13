"""Smaller forms of a JSON value."""

import json

from hypothesis import given
from hypothesis import strategies as st

from uhlp.evolution.reductions import reductions

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab \n", max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("xyz", max_size=2), inner, max_size=4),
    max_leaves=8,
)


def smallest(value: object, holds: object) -> object:
    """What greedy reduction ends at, as the minimiser does it."""
    for smaller in reductions(value):
        if holds(smaller):  # type: ignore[operator]
            return smallest(smaller, holds)
    return value


@given(VALUES)
def test_every_form_is_shorter_and_of_the_same_kind(value: object) -> None:
    for smaller in reductions(value):
        assert len(json.dumps(smaller)) < len(json.dumps(value))
        assert type(smaller) is type(value)


@given(VALUES)
def test_forms_share_nothing_that_reducing_could_change(value: object) -> None:
    before = json.dumps(value)
    list(reductions(value))
    assert json.dumps(value) == before


def test_a_long_text_shrinks_to_the_words_that_matter() -> None:
    text = " ".join(f"word{number}" for number in range(300)) + " three pears please"
    tries = 0

    def holds(value: object) -> bool:
        nonlocal tries
        tries += 1
        return isinstance(value, dict) and "pears" in str(value.get("text"))

    assert smallest({"text": text, "note": "x" * 50, "tags": list(range(40))}, holds) == {"text": "pears"}
    assert tries < 100


def test_lists_shrink_to_the_elements_that_matter_and_elements_within() -> None:
    value = {"items": [{"sku": f"s{number}", "count": number} for number in range(64)]}
    found = smallest(value, lambda one: any(item.get("count") == 41 for item in one.get("items", [])))
    assert found == {"items": [{"count": 41}]}


def test_a_single_word_loses_characters_but_never_all() -> None:
    assert smallest("abcdefXghij", lambda value: "X" in value) == "X"
    assert list(reductions("a")) == []
    assert list(reductions(["a"])) == []
    assert list(reductions(7)) == []

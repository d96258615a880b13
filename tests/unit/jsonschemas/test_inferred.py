"""The schema of values that were seen fits them, and says what they have in common."""

from hypothesis import given
from hypothesis import strategies as st

from uhlp.jsonschemas import compile_validator, schema_of

_FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=16)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | _FLOATS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(_VALUES, min_size=1, max_size=8))
def test_every_value_seen_fits(values: list[object]) -> None:
    validator = compile_validator(schema_of(values))
    assert all(validator.is_valid(value) for value in values)


def test_few_strings_often_repeated_are_an_enum() -> None:
    assert schema_of(["a", "b"] * 10) == {"type": "string", "enum": ["a", "b"]}
    assert schema_of(["a", "b", "c"]) == {"type": "string"}


def test_what_is_always_there_is_required() -> None:
    schema = schema_of([{"a": 1, "b": 2.5}, {"a": 2}])
    assert schema["required"] == ["a"]
    assert schema["properties"]["b"] == {"type": "number"}

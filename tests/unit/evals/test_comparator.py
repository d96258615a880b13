import pytest
from hypothesis import given
from hypothesis import strategies as st

from uhlp import strict_json
from uhlp.errors import DefinitionInvalid
from uhlp.evals.comparator import Comparator

scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    scalars | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=4),
    max_leaves=12,
)
policies = st.dictionaries(
    st.sampled_from(["a", "b", "c", "d"]),
    st.sampled_from(
        ["exact", "ignore", "set", "multiset", "list", "datetime", "text", "free_text",
         {"numeric": {"abs": 0.5}}, {"numeric": {"rel": 0.1}}, {"list": {"key": "a"}}]
    ),
    max_size=4,
)  # fmt: skip


@given(json_values, json_values)
def test_without_policies_only_canonical_equals_are_equal(a, b):
    assert Comparator({}).equal(a, b) == (strict_json.canonical(a) == strict_json.canonical(b))


@given(policies, json_values)
def test_every_output_equals_itself(chosen, a):
    assert Comparator(chosen).equal(a, a)


@given(policies, json_values, json_values)
def test_equality_does_not_depend_on_the_order_of_its_sides(chosen, a, b):
    comparator = Comparator(chosen)
    assert comparator.equal(a, b) == comparator.equal(b, a)


@given(policies, json_values, json_values)
def test_there_are_differences_exactly_when_outputs_are_not_equal(chosen, a, b):
    comparator = Comparator(chosen)
    assert (comparator.differences(a, b) == []) == comparator.equal(a, b)


@given(policies, json_values, json_values)
def test_policies_other_than_ignoring_never_part_what_is_canonically_equal(chosen, a, b):
    if Comparator({}).equal(a, b):
        assert Comparator(chosen).equal(a, b)


@pytest.mark.parametrize(
    ("policy", "a", "b", "equal"),
    [
        ("exact", 1, 1.0, True),
        ("exact", 1, True, False),
        ("exact", "a", "A", False),
        ("ignore", 1, "x", True),
        ({"numeric": {"abs": 0.01}}, 10, 10.01, True),
        ({"numeric": {"abs": 0.01}}, 10, 10.02, False),
        ({"numeric": {"rel": 0.1}}, 100, 91, True),
        ({"numeric": {"rel": 0.1}}, 100, 89, False),
        ({"numeric": {"abs": 1}}, True, 1, False),
        ({"numeric": {"abs": 1}}, "1", 1, False),
        ("set", [1, 2, 2], [2, 1], True),
        ("set", [1, 2], [1], False),
        ("multiset", [1, 2, 2], [2, 1, 2], True),
        ("multiset", [1, 2, 2], [2, 1], False),
        ("list", [1, 2], [2, 1], False),
        ("list", [1, 2], [1, 2], True),
        ("datetime", "2024-05-01T12:00:00Z", "2024-05-01T14:00:00+02:00", True),
        ("datetime", "2024-05-01T12:00:00Z", "2024-05-01T12:00:00", False),
        ("datetime", "tomorrow", "tomorrow", True),
        ("datetime", "tomorrow", "today", False),
        ({"datetime": {"toleranceS": 60}}, "2024-05-01T12:00:00Z", "2024-05-01T12:00:59Z", True),
        ("text", " Straße  1", "STRASSE 1 ", True),
        ({"text": {"casefold": True}}, "a b", "A  b", False),
        ({"text": {"whitespace": True}}, "a b", "a  b", True),
        ("free_text", "nearly the same", "nearly the same!", False),
    ],
)
def test_a_field_is_compared_by_its_policy(policy, a, b, equal):
    assert Comparator({"field": policy}).equal({"field": a}, {"field": b}) is equal
    assert Comparator({"$": policy}).equal(a, b) is equal


def test_an_unknown_field_is_exact_and_a_missing_one_differs():
    comparator = Comparator({"note": "ignore"})
    assert comparator.equal({"label": "a", "note": "x"}, {"label": "a"})
    assert not comparator.equal({"label": "a"}, {"label": "a", "extra": None})


def test_lists_are_paired_by_a_key_and_their_elements_compared_by_their_own_policies():
    comparator = Comparator({"lines": {"list": {"key": "sku"}}, "lines[].price": {"numeric": {"abs": 0.01}}})
    ours = {"lines": [{"sku": "a", "price": 1.0}, {"sku": "b", "price": 2}]}
    assert comparator.equal(ours, {"lines": [{"sku": "b", "price": 2}, {"sku": "a", "price": 1.005}]})
    assert comparator.differences(ours, {"lines": [{"sku": "a", "price": 1.5}, {"sku": "c", "price": 2}]}) == [
        "lines[].price: 1.0 ≠ 1.5",
        'lines[sku="b"]: {"sku":"b","price":2} ≠ (missing)',
        'lines[sku="c"]: (missing) ≠ {"sku":"c","price":2}',
    ]


@given(st.lists(json_values, max_size=5), st.randoms(use_true_random=False))
def test_the_order_of_a_bag_never_matters_and_repeats_only_in_a_multiset(values, random):
    shuffled = random.sample(values, len(values))
    assert Comparator({"$": "set"}).equal(values, shuffled)
    assert Comparator({"$": "multiset"}).equal(values, shuffled)
    assert Comparator({"$": "set"}).equal(values, values + shuffled)
    assert Comparator({"$": "multiset"}).equal(values, values + shuffled) == (not values)


@given(st.lists(st.integers(0, 50), unique=True, max_size=6), st.randoms(use_true_random=False), json_values)
def test_keyed_elements_are_paired_in_any_order_and_still_compared(keys, random, value):
    comparator = Comparator({"$": {"list": {"key": "sku"}}})
    ours = [{"sku": key, "price": key * 2} for key in keys]
    theirs = random.sample(ours, len(ours))
    assert comparator.equal(ours, theirs)
    if theirs and not Comparator({}).equal(value, theirs[0]["price"]):
        assert not comparator.equal(ours, [{**theirs[0], "price": value}, *theirs[1:]])


@given(scalars, scalars, st.floats(0, 10), st.floats(0, 10))
def test_a_wider_tolerance_never_parts_what_a_narrower_one_joins(a, b, narrow, more):
    if Comparator({"$": {"numeric": {"abs": narrow}}}).equal(a, b):
        assert Comparator({"$": {"numeric": {"abs": narrow + more, "rel": more}}}).equal(a, b)


@given(st.text(max_size=20), st.text(max_size=20))
def test_text_is_compared_by_what_is_left_when_case_and_white_space_are_looked_over(a, b):
    plain = Comparator({"$": "text"}).equal(a, b)
    assert plain == (" ".join(a.casefold().split()) == " ".join(b.casefold().split()))
    assert Comparator({"$": "text"}).equal(a, f"  {a}\n")
    if Comparator({"$": {"text": {"casefold": True}}}).equal(a, b):
        assert plain


@given(st.dictionaries(st.sampled_from("abcd"), json_values), json_values, policies)
def test_an_ignored_field_decides_nothing_and_every_other_one_as_before(output, value, chosen):
    comparator = Comparator({**chosen, "a": "ignore"})
    other = {**output, "a": value}
    assert comparator.equal(output, other)
    for field in "bcd":
        changed = {**other, field: "something else"}
        without = {name: one for name, one in output.items() if name != "a"}
        assert comparator.equal(output, changed) == Comparator(chosen).equal(
            without, {name: one for name, one in changed.items() if name != "a"}
        )


@given(policies, json_values, json_values)
def test_what_differs_in_free_text_alone_is_equal_beside_it_and_not_equal(chosen, a, b):
    comparator = Comparator(chosen)
    if comparator.differ_in_text_alone(a, b):
        assert comparator.not_comparable_fields
        assert not comparator.equal(a, b)
        assert comparator.beside_text.equal(a, b)
    elif comparator.beside_text.equal(a, b):
        assert comparator.equal(a, b)


def test_differences_read_like_sentences():
    differences = Comparator({}).differences({"a": {"b": 1}, "l": [1, 2], "x": "y"}, {"a": {"b": 2}, "l": [1]})
    assert differences == ["a.b: 1 ≠ 2", "l: 2 elements ≠ 1 elements", 'x: "y" ≠ (missing)']


def test_free_text_marks_the_component_as_not_comparable():
    comparator = Comparator({"summary": "free_text", "label": "exact"})
    assert comparator.not_comparable_fields == ("summary",)
    assert [comparator.is_free_text(path) for path in ("summary", "summary.title", "label", "summaries")] == [
        True,
        True,
        False,
        False,
    ]
    assert Comparator({"$": "free_text"}).is_free_text("label")
    assert comparator.differ_in_text_alone({"summary": "a", "label": 1}, {"summary": "b", "label": 1})
    assert not comparator.differ_in_text_alone({"summary": "a", "label": 1}, {"summary": "b", "label": 2})


def test_the_version_changes_with_the_policies_and_not_with_their_order():
    one = Comparator({"a": "ignore", "b": "set"}).version
    assert one == Comparator({"b": "set", "a": "ignore"}).version
    assert one != Comparator({"a": "ignore"}).version


@pytest.mark.parametrize(
    ("given_policies", "message"),
    [
        ({"a": "fuzzy"}, "comparator/a: 'fuzzy' is not a policy; known are datetime"),
        ({"a": "numeric"}, "needs a tolerance"),
        ({"a": {"numeric": {"abs": -1}}}, "at least 0"),
        ({"a": {"numeric": {"percent": 1}}}, "options of numeric are abs, rel"),
        ({"a": {"list": {"key": ""}}}, "key names the field"),
        ({"a": {"text": {"casefold": "yes"}}}, "true or false"),
        ({"a": {"set": {}}}, "takes no options"),
        ({"a": 3}, "a policy is a name"),
        ({"a": "ignore", "a.b": "exact"}, "comparator/a.b: is never looked at: a is compared as a whole"),
        ({"a": "list", "a.b": "exact"}, "its elements are written a[]"),
    ],
)
def test_a_policy_that_cannot_be_kept_is_refused_with_its_field(given_policies, message):
    with pytest.raises(DefinitionInvalid) as caught:
        Comparator(given_policies)
    assert message in caught.value.message
    assert caught.value.details["problems"]

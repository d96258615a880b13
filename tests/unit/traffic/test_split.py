from hypothesis import given
from hypothesis import strategies as st

from uhlp.traffic.split import input_hash, split_of


def test_equal_inputs_are_on_one_side_however_they_are_written():
    assert input_hash({"a": 1, "b": 2.0}) == input_hash({"b": 2, "a": 1.0})
    assert input_hash({"a": True}) != input_hash({"a": 1})


def test_the_split_is_fixed_for_ever():
    hashed = input_hash({"text": "hello"})
    assert hashed == "786c52f0cdf84f8b305a16550dc544f26f79c4c5f429ddbc8e7221c5f229da6c"
    assert split_of(hashed) == "train"


def test_about_half_of_the_inputs_train():
    train = sum(split_of(input_hash({"n": n})) == "train" for n in range(4_000))
    assert 1_850 < train < 2_150


def test_another_salt_gives_another_split():
    same = sum(split_of(input_hash({"n": n})) == split_of(input_hash({"n": n}, salt="other")) for n in range(4_000))
    assert 1_850 < same < 2_150


@given(st.dictionaries(st.text(), st.text() | st.integers(-(2**53), 2**53) | st.booleans() | st.none(), max_size=4))
def test_every_input_has_a_side(value):
    assert split_of(input_hash(value)) in ("train", "held_out")

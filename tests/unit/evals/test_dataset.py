import pytest
from pydantic import ValidationError

from uhlp.evals.dataset import Dataset, Sample, known_dataset
from uhlp.registry.snapshot import GoldenExample
from uhlp.traffic.adjudications import Adjudication
from uhlp.traffic.samples import Sample as RecordedSample
from uhlp.traffic.split import input_hash, split_of


def recorded(number: int, output: object, *, ok: bool = True, handler: str = "llm") -> RecordedSample:
    hashed = input_hash({"n": number})
    return RecordedSample(
        f"s{number}", "desk", "sort", 1.0, {"n": number}, output, "prompt@stable", handler, 1.0, 1, 1, 0.0, ok, "",
        "live", "spec", hashed, split_of(hashed),
    )  # fmt: skip


def said(number: int, expected: object) -> Adjudication:
    return Adjudication("desk", "sort", input_hash({"n": number}), {"n": number}, expected, (), "Ada", "", 1.0)


def test_of_each_input_the_highest_word_counts() -> None:
    dataset = known_dataset(
        [GoldenExample("one", {"n": 1}, "golden")],
        [said(1, "human"), said(2, "human")],
        [recorded(1, "model"), recorded(2, "model"), recorded(3, "model"), recorded(3, "later")],
    )
    assert {one.input["n"]: one.expected for one in dataset} == {1: "golden", 2: "human", 3: "model"}
    assert [one.reference for one in dataset] == ["golden", "human", "recorded"]
    assert [one.tags for one in dataset] == [("golden",), ("human",), ("recorded",)]


def test_what_failed_and_what_code_answered_is_no_reference() -> None:
    assert len(known_dataset([], [], [recorded(1, "x", ok=False), recorded(2, "x", handler="jit")])) == 0


def test_ids_are_unique() -> None:
    with pytest.raises(ValidationError, match="same id"):
        Dataset(samples=(Sample(id="a", input={}, expected=1), Sample(id="a", input={"b": 1}, expected=2)))


def test_the_digest_is_of_what_is_asked_and_not_of_its_tags() -> None:
    plain = Dataset(samples=(Sample(id="a", input={"x": 1}, expected=1),))
    tagged = Dataset(samples=(Sample(id="a", input={"x": 1.0}, expected=1, tags=("new",)),))
    other = Dataset(samples=(Sample(id="a", input={"x": 2}, expected=1),))
    assert plain.digest == tagged.digest
    assert plain.digest != other.digest


def test_train_and_held_out_are_the_halves_of_traffic() -> None:
    dataset = Dataset(samples=tuple(Sample(id=str(n), input={"n": n}, expected=n) for n in range(200)))
    train, held_out = dataset.of_split("train"), dataset.of_split("held_out")
    assert len(train) + len(held_out) == 200
    assert min(len(train), len(held_out)) > 60
    assert all(split_of(input_hash(one.input)) == "train" for one in train)

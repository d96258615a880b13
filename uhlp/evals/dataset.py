"""Dataset: inputs and what is right for them (seed 004)."""

from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from uhlp import strict_json
from uhlp.models.wire import WireModel
from uhlp.registry.snapshot import GoldenExample
from uhlp.traffic.adjudications import Adjudication
from uhlp.traffic.samples import Sample as RecordedSample
from uhlp.traffic.split import Split, input_hash, split_of

Reference = Literal["golden", "human", "recorded"]
MOST_SAMPLES = 10_000


class Sample(WireModel):
    """One input and the output that is right for it. `reference` says by whose word."""

    id: Annotated[str, Field(min_length=1, max_length=200)]
    input: dict[str, Any]
    expected: Any
    reference: Reference = "golden"
    tags: tuple[str, ...] = ()

    @property
    def split(self) -> Split:
        """TRAIN or HELD-OUT, by the same hash as traffic."""
        return split_of(input_hash(self.input))


class Dataset(WireModel):
    """Samples with unique ids, in order."""

    samples: Annotated[tuple[Sample, ...], Field(max_length=MOST_SAMPLES)] = ()

    @model_validator(mode="after")
    def _ids_are_unique(self) -> Self:
        if len({one.id for one in self.samples}) != len(self.samples):
            raise ValueError("two samples have the same id")
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of ids, inputs and expected outputs, in hex: two datasets with the same digest ask the same."""
        content = [[one.id, one.input, one.expected] for one in self.samples]
        return sha256(strict_json.canonical(content)).hexdigest()

    def of_split(self, split: Split) -> "Dataset":
        return Dataset(samples=tuple(one for one in self.samples if one.split == split))

    def first(self, most: int) -> "Dataset":
        return Dataset(samples=self.samples[:most])

    def by_id(self) -> Mapping[str, Sample]:
        return {one.id: one for one in self.samples}

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Sample]:  # type: ignore[override]  # Pydantic's own iterates over fields
        return iter(self.samples)


def known_dataset(
    golden: Iterable[GoldenExample], said: Iterable[Adjudication], recorded: Iterable[RecordedSample]
) -> Dataset:
    """One sample an input, by the highest word there is on it: golden, then a person's, then what was recorded.

    Recorded outputs are one model's word each: what agrees with them is as before, not right.
    """
    known: dict[str, Sample] = {}
    for example in golden:
        hashed = input_hash(example.input)
        known.setdefault(
            hashed, Sample(id=f"golden-{example.id}", input=example.input, expected=example.expected, tags=("golden",))
        )
    for word in said:
        known.setdefault(
            word.input_hash,
            Sample(
                id=f"human-{word.input_hash[:16]}", input=word.input, expected=word.expected, reference="human",
                tags=("human",),
            ),
        )  # fmt: skip
    for sample in recorded:
        if sample.ok and sample.handler == "llm" and isinstance(sample.input, dict):
            known.setdefault(
                sample.input_hash,
                Sample(
                    id=f"recorded-{sample.input_hash[:16]}", input=sample.input, expected=sample.output,
                    reference="recorded", tags=("recorded",),
                ),
            )  # fmt: skip
    return Dataset(samples=tuple(known.values())[:MOST_SAMPLES])

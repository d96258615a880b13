"""Which samples a coder sees: a varied choice under a budget, not the first ones that came.

Samples are sorted into classes by their output (labels by value, else the shape), and within a class into groups by the
input's shape and the power of two its length falls in. One of each class in turn is taken, within a class one of each
group in turn, so that rare outputs and rare kinds of inputs are there before common ones come a second time. The same
samples give the same choice, in whatever order they were recorded. It takes one pass and a sort, no model.
"""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Any, TypeVar

import orjson

from uhlp.optimization.proposer import TrainSample

T = TypeVar("T")
_LABEL_CHARACTERS = 24
_SHAPE_DEPTH = 4


def varied(samples: Iterable[TrainSample], budget_tokens: int) -> list[TrainSample]:
    """The choice; each input once, with its usual output. A sample that is too long for what is left is passed over."""
    recorded: dict[bytes, list[TrainSample]] = {}
    for sample in samples:
        recorded.setdefault(orjson.dumps(sample.input, option=orjson.OPT_SORT_KEYS), []).append(sample)
    classes: dict[bytes, dict[bytes, list[tuple[bytes, TrainSample]]]] = {}
    for written, alike in recorded.items():
        sample = _usual(alike)
        group = _shape(sample.input, _SHAPE_DEPTH, labels=False) + b"/%d" % len(written).bit_length()
        order = blake2b(written, digest_size=8).digest()
        in_class = classes.setdefault(_shape(sample.output, _SHAPE_DEPTH, labels=True), {})
        in_class.setdefault(group, []).append((order, sample))
    chosen, spent = [], 0
    for sample in _in_turn([_in_turn(_sorted(groups)) for _, groups in sorted(classes.items())]):
        tokens = estimated_tokens(orjson.dumps({"input": sample.input, "output": sample.output}).decode()) + 1
        if spent + tokens <= budget_tokens:
            chosen.append(sample)
            spent += tokens
    return chosen


def estimated_tokens(text: str) -> int:
    """About how many tokens a text takes: four bytes each, which is close for English and JSON, generous for others."""
    return -(-len(text.encode(errors="replace")) // 4)


def _usual(samples: Sequence[TrainSample]) -> TrainSample:
    """Of one input's recordings, one with the output that was given most often."""
    if len(samples) == 1:
        return samples[0]
    by_output: dict[bytes, list[TrainSample]] = {}
    for sample in samples:
        by_output.setdefault(orjson.dumps(sample.output, option=orjson.OPT_SORT_KEYS), []).append(sample)
    return max(sorted(by_output.items()), key=lambda one: len(one[1]))[1][0]


def _sorted(groups: dict[bytes, list[tuple[bytes, TrainSample]]]) -> list[Iterator[TrainSample]]:
    """Each group's samples by hash: as good as drawn at random, and always the same."""
    return [
        iter([sample for _, sample in sorted(group, key=lambda one: one[0])]) for _, group in sorted(groups.items())
    ]


def _in_turn(iterators: Sequence[Iterator[T]]) -> Iterator[T]:
    left = list(iterators)
    while left:
        still = []
        for iterator in left:
            for one in iterator:
                yield one
                still.append(iterator)
                break
        left = still


def _shape(value: Any, depth: int, *, labels: bool) -> bytes:
    """What makes two values alike: objects by their keys, lists by their first element, and short words by value where
    they are `labels`."""
    if isinstance(value, dict):
        if not depth:
            return b"object"
        return orjson.dumps(
            {key: _shape(member, depth - 1, labels=labels).decode() for key, member in value.items()},
            option=orjson.OPT_SORT_KEYS,
        )
    if isinstance(value, list):
        return b"list:" + (_shape(value[0], depth - 1, labels=labels) if value and depth else b"")
    if value is None or (labels and isinstance(value, bool)):
        return orjson.dumps(value)
    if isinstance(value, str):
        is_label = labels and len(value) <= _LABEL_CHARACTERS and value.isidentifier()
        return value.encode() if is_label else b"text"
    return b"flag" if isinstance(value, bool) else b"number"

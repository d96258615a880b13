"""Labelled inputs as sets of bits: counting how often a rule holds and is right is then two fast operations."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from uhlp import strict_json
from uhlp.optimization.rule_learner.config import LearnerConfig
from uhlp.optimization.rule_learner.matching import features_of

Mask = int
"""A set of samples: bit p stands for the sample at position p."""


@dataclass(frozen=True, slots=True)
class SampleTable:
    """`extents` maps a feature to the samples that have it, `labelled` a label to its samples.

    folds: divisions of all samples for cross-validation, `repeats` times over. Of features with the same extent only
    the plainest is kept.
    """

    size: int
    extents: Mapping[str, Mask]
    labelled: Mapping[str, Mask]
    folds: tuple[Mask, ...]
    repeats: int

    @property
    def everything(self) -> Mask:
        return (1 << self.size) - 1


def tabulate(samples: Sequence[tuple[Any, str | None]], *, by_field: bool, config: LearnerConfig) -> SampleTable:
    """The table of (input, label) samples, in an order of its own: the given order cannot matter."""
    keys = [(hashlib.sha256(strict_json.canonical(inputs)).digest(), label or "") for inputs, label in samples]
    order = sorted(range(len(samples)), key=keys.__getitem__)
    keys.sort()
    having: dict[str, list[int]] = {}
    labelled: dict[str, list[int]] = {}
    for position, index in enumerate(order):
        inputs, label = samples[index]
        if label is not None:
            labelled.setdefault(label, []).append(position)
        for feature in features_of(inputs, by_field):
            having.setdefault(feature, []).append(position)
    frequent = [feature for feature, positions in having.items() if len(positions) >= config.min_support]
    frequent.sort(key=lambda feature: (-len(having[feature]), _plainness(feature)))
    plainest: dict[Mask, str] = {}
    for feature in sorted(frequent[: config.max_features], key=_plainness):
        plainest.setdefault(_mask(having[feature], len(samples)), feature)
    repeats = config.repeats if len(samples) < config.single_repeat_from else 1
    return SampleTable(
        size=len(samples),
        extents={feature: mask for mask, feature in plainest.items()},
        labelled={label: _mask(labelled[label], len(samples)) for label in sorted(labelled)},
        folds=tuple(fold for repeat in range(repeats) for fold in _folds(keys, repeat, config.folds)),
        repeats=repeats,
    )


def positions(mask: Mask) -> Iterator[int]:
    """The samples of a set, in order."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest


def _plainness(feature: str) -> tuple[bool, bool, bool, int, str]:
    """Sort key: a word before a pair, a whole word before a beginning, anywhere before in one field."""
    return ": " in feature, " " in feature, feature.endswith("*"), len(feature), feature


def _mask(members: Iterable[int], size: int) -> Mask:
    bits = bytearray(size // 8 + 1)
    for position in members:
        bits[position >> 3] |= 1 << (position & 7)
    return int.from_bytes(bits, "little")


def _folds(keys: Sequence[tuple[bytes, str]], repeat: int, count: int) -> list[Mask]:
    """One division: identical inputs share a fold, each label is spread evenly over the folds."""
    salt = repeat.to_bytes(2, "big")
    shuffled = sorted(range(len(keys)), key=lambda position: hashlib.sha256(salt + keys[position][0]).digest())
    turns = {label: number for number, label in enumerate(sorted({label for _, label in keys}))}
    fold_of: dict[bytes, int] = {}
    members: list[list[int]] = [[] for _ in range(count)]
    for position in shuffled:
        digest, label = keys[position]
        if digest not in fold_of:
            fold_of[digest] = turns[label] % count
            turns[label] += 1
        members[fold_of[digest]].append(position)
    return [_mask(fold, len(keys)) for fold in members]

"""Outlines: what stays in memory of a candidate that has ended.

A candidate that has served for a day measures tens of kilobytes, and there is one more with every attempt, for ever.
Once it has ended, lists and decisions about others need what was decided of it, its figures and its costs; what it
measured is read from its row when somebody asks (`CandidateBook.whole`).
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NoReturn

from uhlp.evolution.candidate import Candidate, Mismatch

MEASURED = frozenset({"evidence", "monitor", "measurements", "mismatches"})


def outline_of(candidate: Candidate) -> Candidate:
    """The candidate without evidence, monitor, measurements and mismatches: whoever reads these of it gets an error,
    never an empty answer."""
    return replace(
        candidate,
        app_id=sys.intern(candidate.app_id),  # one string for all candidates that have the same
        component_id=sys.intern(candidate.component_id),
        spec_hash=sys.intern(candidate.spec_hash),
        evidence=_PUT_AWAY,
        monitor=_PUT_AWAY,
        measurements=_PUT_AWAY,
        mismatches=_NO_MISMATCHES,
    )


def whole_of(outline: Candidate, stored: Candidate) -> Candidate:
    """The outline with what its row keeps of its measurements."""
    return replace(outline, **{name: getattr(stored, name) for name in MEASURED})


def is_outline(candidate: Candidate) -> bool:
    """Whether what it measured is in the store alone."""
    return candidate.evidence is _PUT_AWAY


def _refuse() -> NoReturn:
    raise RuntimeError("this candidate has ended: what it measured is read with CandidateBook.whole")


class _PutAway(Mapping[str, Any]):
    """Stands where measurements were."""

    def __getitem__(self, key: str) -> Any:
        _refuse()

    def __iter__(self) -> Iterator[str]:
        _refuse()

    def __len__(self) -> int:
        _refuse()

    def __repr__(self) -> str:
        return "<put away>"


class _NoMismatches(tuple[Mismatch, ...]):
    """Stands where mismatches were."""

    __slots__ = ()

    def __getitem__(self, place: Any) -> Any:
        _refuse()

    def __iter__(self) -> Iterator[Mismatch]:
        _refuse()

    def __len__(self) -> int:
        _refuse()

    def __repr__(self) -> str:
        return "<put away>"


_PUT_AWAY = _PutAway()
_NO_MISMATCHES = _NoMismatches()

"""`hot_record`: the dataclasses that are made anew for every request."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def hot_record(*, kw_only: bool = False) -> Callable[[type[T]], type[T]]:
    """A frozen dataclass for the type checker, which alone refuses assignments to its fields.

    Python freezes a dataclass by setting each field through `object.__setattr__`: four times the cost of making one,
    and a request on the hot path makes a dozen, with a hundred fields together.
    """
    return dataclass(slots=True, unsafe_hash=True, kw_only=kw_only)

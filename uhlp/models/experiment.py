"""Experiment: one arm of a comparison, kept apart from what serves (seed 004)."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import uuid4

from pydantic import Field

from uhlp.models.wire import WireModel

Tag = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


class Experiment(WireModel):
    """Isolated optimisation context backed by an overrides tag.

    Prompts are resolved under `overridesTag`, strictly: a tag that is not there is an error. `flags` are variables of
    the prompt (`{{ flags.name }}`).
    """

    id: str = Field(default_factory=lambda: uuid4().hex)
    name: str
    overrides_tag: Tag = "stable"
    parent_tag: Tag | None = None
    flags: dict[str, bool] = Field(default_factory=dict)
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC))

"""EvolutionNumbers: the governor's numbers in force, and where each comes from.

Settings give them at start (defaults, `uhlp.toml`, environment); what a person changes at run time is kept in the
ledger's settings and wins. Services hold this object and read `now` at every use, so a change needs no restart. What
was begun under the old numbers keeps them where evidence must be comparable: an evidence account its epsilon, delta and
alpha, a monitor and the tests of a canary their thresholds, a candidate its configHash.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from uhlp.errors import ValidationFailed
from uhlp.evolution.config import EvolutionConfig
from uhlp.evolution.config_sections import Unit

log = structlog.get_logger(__name__)

PREFIX = "evolution."
"""What stands before a number's name among the ledger's settings."""

AT_RUN_TIME = "run time"
"""The origin of what a person set while the server ran."""

_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_SIGNS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


@dataclass(frozen=True, slots=True)
class SetAtRunTime:
    """A value that a person set; `at` in epoch seconds."""

    value: Any
    by: str
    at: float
    reason: str


class EvolutionNumbers:
    """`origins` says of each setting where its value at start comes from, by dotted name (settings.describe)."""

    def __init__(self, given: EvolutionConfig, *, origins: Mapping[str, str] | None = None) -> None:
        self._given = given
        self._origins = dict(origins or {})
        self._set: dict[str, SetAtRunTime] = {}
        self._now = given

    @property
    def now(self) -> EvolutionConfig:
        """The numbers in force."""
        return self._now

    def load(self, kept: Mapping[str, SetAtRunTime]) -> None:
        """Take over what was set before the last restart. What a later release does not know or allow any more is left
        out, and logged.
        """
        fitting: dict[str, SetAtRunTime] = {}
        for name, one in kept.items():
            try:
                self._checked({**fitting, name: one})
            except ValidationFailed as refused:
                log.warning("evolution_number_left_out", name=name, value=one.value, why=refused.message)
                continue
            fitting[name] = one
        self.put(fitting)

    def after(self, changes: Mapping[str, SetAtRunTime | None]) -> dict[str, SetAtRunTime]:
        """All that would be set at run time after these changes; None gives a number back to the settings. Raises
        ValidationFailed, naming every number that does not exist or is out of its bounds.
        """
        known = dict(number_fields())
        if unknown := sorted(set(changes) - known.keys()):
            problems = [{"path": name, "message": "there is no such number"} for name in unknown]
            raise ValidationFailed(
                f"Not valid: {', '.join(unknown)}: there is no such number; GET /admin/v1/evolution/config has all.",
                details={"problems": problems},
            )
        wanted = {**self._set, **changes}
        after = {name: one for name, one in wanted.items() if one is not None}
        self._checked(after)
        return after

    def put(self, after: Mapping[str, SetAtRunTime]) -> None:
        """Let these be set at run time, and nothing else."""
        self._now = self._checked(after)
        self._set = dict(after)

    def value(self, name: str) -> Any:
        """The value in force of a number."""
        return _at(self._now, name)

    def given(self, name: str) -> Any:
        """Its value by the settings."""
        return _at(self._given, name)

    def described(self) -> dict[str, dict[str, Any]]:
        """{name: {value, default, unit, bounds, allowed, origin, changedBy, changedAt, reason}} of every number.
        `bounds` has JSON Schema's words, `allowed` says the same for people; `origin` is default, file, environment or
        "run time".
        """
        defaults = EvolutionConfig()
        described = {}
        for name, field in number_fields():
            one = self._set.get(name)
            described[name] = {
                "value": _at(self._now, name),
                "default": _at(defaults, name),
                "unit": next(mark.words for mark in field.metadata if isinstance(mark, Unit)),
                "bounds": _bounds(field),
                "allowed": _allowed(field),
                "origin": AT_RUN_TIME if one is not None else _origin(self._origins.get(PREFIX + name)),
                "changedBy": one.by if one is not None else None,
                "changedAt": one.at if one is not None else None,
                "reason": one.reason if one is not None else None,
            }
        return described

    def _checked(self, at_run_time: Mapping[str, SetAtRunTime]) -> EvolutionConfig:
        nested: dict[str, Any] = {}
        for name, one in at_run_time.items():
            *sections, last = name.split(".")
            place = nested
            for section in sections:
                place = place.setdefault(section, {})
            place[last] = one.value
        return self._given.with_overrides(nested, strict=True)


def number_fields(model: type[BaseModel] = EvolutionConfig, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every number by its dotted name."""
    for name, field in model.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            yield from number_fields(section, f"{prefix}{name}.")
        else:
            yield prefix + name, field


def _at(config: EvolutionConfig, name: str) -> Any:
    value: Any = config
    for part in name.split("."):
        value = getattr(value, part)
    return list(value) if isinstance(value, tuple) else value


def _bounds(field: FieldInfo) -> dict[str, Any]:
    marks = ((name, getattr(mark, name)) for mark in field.metadata for name in _BOUNDS if hasattr(mark, name))
    return {_BOUNDS[name]: bound for name, bound in marks}


def _allowed(field: FieldInfo) -> str:
    """The bounds as people write them: `> 0, ≤ 0.2`."""
    bounds = {name: int(bound) if bound == int(bound) else bound for name, bound in _bounds(field).items()}
    words = [f"{_SIGNS[name]} {bound:,}" for name, bound in bounds.items()]
    return ", ".join(words) or "rises from above 0 to exactly 1"


def _origin(of_setting: str | None) -> str:
    """`uhlp.toml` is a file; what the settings do not mention has its default."""
    return of_setting if of_setting in ("environment", "default") else "file" if of_setting else "default"

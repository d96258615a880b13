"""GlobalSettings: the rules and the configuration that hold for every application (contracts §2).

Settings give them at start; what a person sets at run time wins. The registry merges the configuration into snapshots,
the oracle reads the rules at every cycle.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import structlog
from pydantic import TypeAdapter, ValidationError

from uhlp import strict_json
from uhlp.errors import BadInput, UhlpError, ValidationFailed
from uhlp.evolution.evolution_numbers import AT_RUN_TIME, SetAtRunTime
from uhlp.expressions import compile_rule
from uhlp.models.definition import OptimizationRule
from uhlp.registry.component_compiler import parameter_problems
from uhlp.registry.configuration import configuration_problem
from uhlp.registry.secret_scan import find_secrets

log = structlog.get_logger(__name__)

CONFIGURATION, RULES = "configuration", "optimization.rules"
NAMES = (CONFIGURATION, RULES)
_RULES = TypeAdapter(tuple[OptimizationRule, ...])
_MOST_BYTES = 256 * 1024
_DEEPEST = 32
"""What is kept stands some levels deep in a ledger entry, which must itself be readable (strict_json)."""


class GlobalSettings:
    """`origins` says where each value at start comes from, by name (settings.describe)."""

    def __init__(
        self,
        *,
        configuration: Mapping[str, Any],
        rules: tuple[OptimizationRule, ...],
        origins: Mapping[str, str] | None = None,
    ) -> None:
        self._given: dict[str, Any] = {CONFIGURATION: dict(configuration), RULES: _wire(rules)}
        self._origins = dict(origins or {})
        self._set: dict[str, SetAtRunTime] = {}
        self.configuration: Mapping[str, Any] = configuration
        self.rules = rules

    def load(self, kept: Mapping[str, SetAtRunTime]) -> None:
        """Take over what was set before the last restart; what is not valid any more is left out, and logged."""
        for name, one in kept.items():
            try:
                self.put({**self._set, name: SetAtRunTime(checked(name, one.value), one.by, one.at, one.reason)})
            except UhlpError as refused:
                log.warning("global_setting_left_out", name=name, why=refused.message)

    def after(self, changes: Mapping[str, SetAtRunTime | None]) -> dict[str, SetAtRunTime]:
        """All that would be set at run time after these (checked) changes; None gives one back to the settings."""
        return {name: one for name, one in {**self._set, **changes}.items() if one is not None}

    def put(self, after: Mapping[str, SetAtRunTime]) -> None:
        """Let these be set at run time, and nothing else."""
        self._set = dict(after)
        self.configuration = self.value(CONFIGURATION)
        self.rules = _RULES.validate_python(self.value(RULES))

    def value(self, name: str) -> Any:
        """The value in force, as JSON."""
        return self._set[name].value if name in self._set else self._given[name]

    def given(self, name: str) -> Any:
        """Its value by the settings, as JSON."""
        return self._given[name]

    def described(self) -> dict[str, dict[str, Any]]:
        """{name: {value, origin, changedBy, changedAt, reason}}; `origin` as of the governor's numbers."""
        return {name: {"value": self.value(name), **self._provenance(name)} for name in NAMES}

    def _provenance(self, name: str) -> dict[str, Any]:
        one = self._set.get(name)
        if one is not None:
            return {"origin": AT_RUN_TIME, "changedBy": one.by, "changedAt": one.at, "reason": one.reason}
        return {"origin": self._origin(name), "changedBy": None, "changedAt": None, "reason": None}

    def _origin(self, name: str) -> str:
        found = {origin for known, origin in self._origins.items() if known == name or known.startswith(f"{name}.")}
        return "environment" if "environment" in found else "file" if found - {"default"} else "default"


def checked(name: str, value: Any) -> Any:
    """The value of this name as it is kept; ValidationFailed says what is wrong with it, and where."""
    try:
        raw = strict_json.dumps(value)
    except TypeError:
        raise ValidationFailed(f"{name} holds a whole number beyond 64 bits.", details={"path": name}) from None
    if len(raw) > _MOST_BYTES:
        raise ValidationFailed(f"{name} has more than {_MOST_BYTES} bytes.", details={"path": name})
    try:
        strict_json.loads(raw, max_depth=_DEEPEST)
    except BadInput:
        raise ValidationFailed(f"{name} is more than {_DEEPEST} levels deep.", details={"path": name}) from None
    if kinds := sorted({kind for _, kind in find_secrets("\n".join(_texts(value)).encode())}):
        raise ValidationFailed(
            f"{name} holds what looks like {kinds[0]}: give it as secret:NAME.", details={"path": name}
        )
    if name == CONFIGURATION:
        if not isinstance(value, dict):
            raise ValidationFailed("configuration is an object.", details={"path": name})
        if problem := configuration_problem(value):
            at, message = problem
            raise ValidationFailed(f"configuration: {message}.", details={"path": f"configuration{at}"})
        return value
    try:
        rules = _RULES.validate_python(value)
    except ValidationError as error:
        problems = [
            {"path": f"rules.{'.'.join(str(part) for part in one['loc'])}", "message": one["msg"]}
            for one in error.errors()
        ]
        text = "; ".join(f"{problem['path']}: {problem['message']}" for problem in problems)
        raise ValidationFailed(f"Not valid: {text}.", details={"problems": problems}) from None
    for index, rule in enumerate(rules):
        for name, message in parameter_problems(rule):
            path = f"rules.{index}.actionParams.{name}"
            raise ValidationFailed(f"Not valid: {path}: {message}.", details={"path": path})
        compile_rule(rule.condition.expression)
    return _wire(rules)


def _texts(value: Any) -> Iterator[str]:
    """Every text in a JSON value, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _wire(rules: tuple[OptimizationRule, ...]) -> list[dict[str, Any]]:
    return [rule.model_dump(mode="json", by_alias=True) for rule in rules]

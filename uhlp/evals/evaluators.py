"""Evaluators: what an output is held against its sample by.

An evaluator is named by its specification, which travels with a request, so that every worker scores alike. What
cannot be judged (a judge model that is down) is an error, never a score.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Literal, Protocol

from pydantic import AfterValidator, Field

from uhlp import strict_json
from uhlp.errors import DefinitionInvalid, ValidationFailed
from uhlp.evals.comparator import Comparator
from uhlp.evals.dataset import Sample
from uhlp.evals.score import Score, all_or_nothing
from uhlp.jsonschemas import Validator, check_schema, compile_validator
from uhlp.models.wire import WireModel


def _policies(policies: dict[str, Any]) -> dict[str, Any]:
    return _sound(policies, Comparator)


def _schema(schema: dict[str, Any]) -> dict[str, Any]:
    return _sound(schema, partial(check_schema, path="schema"))


def _sound(given: dict[str, Any], check: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """What `check` does not refuse: now, and not when models have been paid for answers that nobody can score."""
    try:
        check(given)
    except DefinitionInvalid as fault:
        raise ValueError(fault.message) from None
    return given


class Exact(WireModel):
    """The output is the expected one, as canonical JSON."""

    kind: Literal["exact"] = "exact"


class Compared(WireModel):
    """The output equals the expected one by a component's comparator policies."""

    kind: Literal["comparator"] = "comparator"
    policies: Annotated[dict[str, Any], AfterValidator(_policies)] = Field(default_factory=dict)


class Numeric(WireModel):
    """A number within `abs` of the expected one, or within `rel` of the larger of both. `field` names it, "a.b"."""

    kind: Literal["numeric"] = "numeric"
    field: str = ""
    abs: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    rel: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


class JsonSubset(WireModel):
    """Everything that is expected is in the output, which may hold more: fields of objects at any depth."""

    kind: Literal["subset"] = "subset"


class OfSchema(WireModel):
    """The output matches a JSON Schema, whatever is expected."""

    kind: Literal["schema"] = "schema"
    schema_: Annotated[dict[str, Any], Field(alias="schema"), AfterValidator(_schema)]


class Judged(WireModel):
    """A model gives points by a rubric. It is pinned here, apart from what an experiment changes."""

    kind: Literal["judge"] = "judge"
    model: str
    provider: str | None = None
    rubric: Annotated[str, Field(min_length=1, max_length=20_000)]
    passes_from: Annotated[float, Field(ge=0, le=1)] = 0.7


class OfFunction(WireModel):
    """A Python function that the process knows by this name: (sample, output) to a Score, or a number or truth."""

    kind: Literal["function"] = "function"
    name: str


EvaluatorSpec = Annotated[
    Exact | Compared | Numeric | JsonSubset | OfSchema | Judged | OfFunction, Field(discriminator="kind")
]
ScoreFunction = Callable[[Sample, Any], "Score | float | bool | Awaitable[Score | float | bool]"]


class Evaluator(Protocol):
    """Scores outputs. Raises UhlpError when it cannot say."""

    async def score(self, sample: Sample, output: Any) -> Score: ...


@dataclass(frozen=True, slots=True)
class Points:
    """What a judge says: from 0 to 1, and why; and what asking it took (`usd` None: nobody knows its price)."""

    value: float
    why: str = ""
    tokens: int = 0
    usd: float | None = 0.0


class JudgeModel(Protocol):
    """Asks a judge for its points (evals.judge_model)."""

    async def points(self, spec: Judged, sample: Sample, output: Any, *, app_id: str, component_id: str) -> Points: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluators:
    """Makes evaluators from their specifications; `functions` and `judge` are this process's own."""

    functions: Mapping[str, ScoreFunction] = field(default_factory=dict)
    judge: JudgeModel | None = None

    def of(self, spec: EvaluatorSpec, *, app_id: str = "", component_id: str = "") -> Evaluator:
        """For outputs of a component, in whose name a judge is asked. ValidationFailed: this process cannot be it."""
        match spec:
            case Exact():
                return _ByComparator(Comparator({}))
            case Compared():
                return _ByComparator(Comparator(spec.policies))
            case Numeric():
                return _ByNumber(spec)
            case JsonSubset():
                return _BySubset()
            case OfSchema():
                return _BySchema(compile_validator(spec.schema_))
            case Judged():
                if self.judge is None:
                    raise ValidationFailed("No model can judge here: the server has no model provider.")
                return _ByJudge(spec, self.judge, app_id, component_id)
            case OfFunction():
                if spec.name not in self.functions:
                    raise ValidationFailed(f"This process knows no score function {spec.name!r}.")
                return _ByFunction(spec.name, self.functions[spec.name])


@dataclass(frozen=True, slots=True)
class _ByComparator:
    comparator: Comparator

    async def score(self, sample: Sample, output: Any) -> Score:
        if self.comparator.equal(sample.expected, output):
            return all_or_nothing(True)
        return all_or_nothing(False, "; ".join(self.comparator.differences(sample.expected, output)))


@dataclass(frozen=True, slots=True)
class _ByNumber:
    spec: Numeric

    async def score(self, sample: Sample, output: Any) -> Score:
        policy = {"numeric": {"abs": self.spec.abs, "rel": self.spec.rel}}
        comparator = Comparator({"$": policy} if self.spec.abs or self.spec.rel else {})
        expected, got = _at(sample.expected, self.spec.field), _at(output, self.spec.field)
        is_number = not isinstance(got, bool) and isinstance(got, int | float)
        return all_or_nothing(is_number and comparator.equal(expected, got), f"{got!r} is not {expected!r}")


@dataclass(frozen=True, slots=True)
class _BySubset:
    async def score(self, sample: Sample, output: Any) -> Score:
        missing = _missing(sample.expected, output, "")
        return all_or_nothing(not missing, f"missing or different: {', '.join(missing[:20])}")


@dataclass(frozen=True, slots=True)
class _BySchema:
    validator: Validator

    async def score(self, sample: Sample, output: Any) -> Score:
        problems = self.validator.problems(output)
        return all_or_nothing(not problems, "; ".join(f"{one['path']}: {one['message']}" for one in problems[:5]))


@dataclass(frozen=True, slots=True)
class _ByJudge:
    spec: Judged
    judge: JudgeModel
    app_id: str
    component_id: str

    async def score(self, sample: Sample, output: Any) -> Score:
        said = await self.judge.points(self.spec, sample, output, app_id=self.app_id, component_id=self.component_id)
        is_passed = said.value >= self.spec.passes_from
        return Score(value=said.value, passed=is_passed, reason=said.why[:2_000], tokens=said.tokens, usd=said.usd)


@dataclass(frozen=True, slots=True)
class _ByFunction:
    name: str
    function: ScoreFunction

    async def score(self, sample: Sample, output: Any) -> Score:
        said = self.function(sample, output)
        if isinstance(said, Awaitable):
            said = await said
        if isinstance(said, Score):
            return said
        return Score(value=float(said), passed=float(said) >= 1.0, reason="" if float(said) >= 1.0 else self.name)


def _at(value: Any, path: str) -> Any:
    for step in path.split(".") if path else ():
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _missing(expected: Any, got: Any, at: str) -> list[str]:
    """Where what is expected is not there, as paths."""
    if isinstance(expected, dict) and isinstance(got, dict):
        found: list[str] = []
        for key, value in expected.items():
            path = f"{at}.{key}" if at else key
            found += _missing(value, got[key], path) if key in got else [path]
        return found
    if isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        pairs = enumerate(zip(expected, got, strict=True))
        return [path for place, (one, other) in pairs for path in _missing(one, other, f"{at}[{place}]")]
    return [] if strict_json.canonical(expected) == strict_json.canonical(got) else [at or "$"]

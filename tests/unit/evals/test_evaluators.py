from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from uhlp.errors import Unavailable, ValidationFailed
from uhlp.evals.dataset import Sample
from uhlp.evals.evaluators import (
    Compared,
    Evaluators,
    EvaluatorSpec,
    Exact,
    JsonSubset,
    Judged,
    Numeric,
    OfFunction,
    OfSchema,
    Points,
)
from uhlp.evals.score import Score

SAMPLE = Sample(id="1", input={}, expected={"total": 10.0, "lines": [{"sku": "A", "n": 1}]})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


async def score(spec: EvaluatorSpec, output: Any, sample: Sample = SAMPLE, **parts: Any) -> Score:
    return await Evaluators(**parts).of(spec).score(sample, output)


@pytest.mark.parametrize(
    ("spec", "right", "wrong"),
    [
        (Exact(), {"lines": [{"n": 1, "sku": "A"}], "total": 10}, {"total": 10.0}),
        (Compared(policies={"total": {"numeric": {"abs": 0.5}}}), {**SAMPLE.expected, "total": 10.4}, {}),
        (Numeric(field="total", abs=0.5), {"total": 10.4}, {"total": 10.6}),
        (Numeric(field="total"), {"total": 10}, {"total": True}),
        (JsonSubset(), {**SAMPLE.expected, "more": 1}, {"total": 10.0, "lines": []}),
        (OfSchema(schema={"type": "object", "required": ["a"]}), {"a": 1}, {"b": 1}),
    ],
)
async def test_an_output_is_right_or_told_what_is_wrong(spec: EvaluatorSpec, right: Any, wrong: Any) -> None:
    assert await score(spec, right) == Score(value=1.0, passed=True)
    failed = await score(spec, wrong)
    assert (failed.value, failed.passed) == (0.0, False)
    assert failed.reason


@pytest.mark.parametrize(
    "spec",
    [
        {"kind": "schema", "schema": {"type": "nope"}},
        {"kind": "schema", "schema": {"$ref": "https://example.com/schema.json"}},
        {"kind": "schema", "schema": {"pattern": "("}},
        {"kind": "schema", "schema": {"allOf": [{"anyOf": [{"pattern": "(?=(a+)+b)"}] * 50}] * 50}},
        {"kind": "comparator", "policies": {"a": "nope"}},
    ],
)
def test_what_could_score_nothing_or_would_take_too_long_is_refused_before_anybody_is_asked(spec: Any) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(EvaluatorSpec).validate_python(spec)


@given(JSON, JSON)
async def test_what_is_expected_is_a_subset_of_itself_and_of_more(expected: Any, other: Any) -> None:
    sample = Sample(id="1", input={}, expected=expected)
    assert (await score(JsonSubset(), expected, sample)).passed
    if isinstance(expected, dict):
        assert (await score(JsonSubset(), {"another field": other, **expected}, sample)).passed


async def test_a_function_may_answer_with_points_truth_or_a_score_and_may_wait() -> None:
    async def waits(sample: Sample, output: Any) -> float:
        return 0.25

    functions = {"half": lambda sample, output: Score(value=0.5, passed=True), "true": lambda sample, output: True}
    assert (await score(OfFunction(name="half"), 1, functions=functions)).value == 0.5
    assert (await score(OfFunction(name="true"), 1, functions=functions)).passed
    assert await score(OfFunction(name="waits"), 1, functions={"waits": waits}) == Score(
        value=0.25, passed=False, reason="waits"
    )
    with pytest.raises(ValidationFailed):
        await score(OfFunction(name="gone"), 1)


class ScriptedJudge:
    def __init__(self, *points: float) -> None:
        self.points_left = list(points)

    async def points(self, spec: Judged, sample: Sample, output: Any, **whose: str) -> Points:
        if not self.points_left:
            raise Unavailable("the judge is down")
        return Points(self.points_left.pop(0), "because", tokens=40, usd=0.02)


async def test_a_judge_passes_what_has_points_enough_and_its_outage_is_an_error() -> None:
    spec, judge = Judged(model="judge-1", rubric="Is it polite?", passes_from=0.6), ScriptedJudge(0.6, 0.5)
    polite = await score(spec, "x", judge=judge)
    assert (polite.passed, polite.tokens, polite.usd) == (True, 40, 0.02)
    assert not (await score(spec, "x", judge=judge)).passed
    with pytest.raises(Unavailable):
        await score(spec, "x", judge=judge)
    with pytest.raises(ValidationFailed, match="No model can judge"):
        await score(spec, "x")


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_score_is_a_number_from_0_to_1(value: float) -> None:
    with pytest.raises(ValueError, match="value"):
        Score(value=value, passed=True)

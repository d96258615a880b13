"""A rule set as files: handler.py, which needs nothing but the standard library, and its pytest tests."""

import inspect
from collections.abc import Sequence
from pprint import pformat
from typing import Any

from uhlp.optimization.rule_learner import matching
from uhlp.optimization.rule_learner.labels import Labelling
from uhlp.optimization.rule_learner.rules import RuleSet

_TESTS_PER_LABEL = 3
_TESTS_OF_DEOPTIMISING = 5

_HANDLER = '''\
"""Token rules for {component_id}, found in {samples} recorded calls; no model was asked.

The rules that hold for an input vote with their points. The label that leads by its margin is answered, everything
else is left to the model. When inputs were answered by rules that had not seen them: {coverage} answered, {agreement}
of the answers right.
"""

{imports}

from uhlp_runtime import Deoptimize

BY_FIELD = {by_field}

# (features that must all be there, label, points, right on, held for)
RULES = [
{rules}
]

# Points that a label must lead by; labels that are missing here are left to the model.
MARGINS = {margins}

OUTPUTS = {outputs}

{matching}

def handle(inputs, context):
    label, lead = vote(features_of(inputs, BY_FIELD), RULES)
    if label is None:
        raise Deoptimize("no rule holds")
    if label not in MARGINS:
        raise Deoptimize(f"{{label}} is left to the model")
    if lead < MARGINS[label]:
        raise Deoptimize("the rules are not sure enough")
    return OUTPUTS[label]
'''

_TESTS = '''\
"""Recorded calls that the rules answer, and inputs that they must leave to the model."""

import pytest
from uhlp_runtime import Deoptimize

from handler import handle

ANSWERED = {answered}

LEFT_TO_THE_MODEL = {left}


@pytest.mark.parametrize(("inputs", "expected"), ANSWERED)
def test_answers_like_the_recorded_call(inputs, expected):
    assert handle(inputs, {{}}) == expected


@pytest.mark.parametrize("inputs", LEFT_TO_THE_MODEL)
def test_leaves_what_it_does_not_know_to_the_model(inputs):
    with pytest.raises(Deoptimize):
        handle(inputs, {{}})
'''


def handler_source(rules: RuleSet, labelling: Labelling, *, component_id: str, samples: int) -> str:
    """handler.py: the rules as a table, the matching text as it stands in `matching`, and `handle`."""
    imports, body = _matching_text()
    return _HANDLER.format(
        component_id=component_id,
        samples=samples,
        coverage=f"{rules.validation.coverage:.0%}",
        agreement=f"{rules.validation.agreement or 0:.1%}",
        imports=imports,
        by_field=rules.by_field,
        rules="\n".join(f"    ({r.features!r}, {r.label!r}, {r.points}, {r.right}, {r.holds})," for r in rules.rules),
        margins=_literal(dict(rules.margins)),
        outputs=_literal({label: labelling.outputs[label] for label in sorted(rules.margins)}),
        matching=body,
    )


def tests_source(rules: RuleSet, labelling: Labelling, train: Sequence[tuple[Any, Any]]) -> str:
    """test_handler.py from TRAIN (input, output) pairs: some of each label, some that are left, and the empty input."""
    answered: dict[str, list[tuple[Any, Any]]] = {}
    left: list[Any] = [{}]
    for inputs, output in train:
        label, _ = rules.answer(inputs)
        if label is None:
            if len(left) <= _TESTS_OF_DEOPTIMISING and inputs not in left:
                left.append(inputs)
        elif labelling.label(output) == label:
            examples = answered.setdefault(label, [])
            if len(examples) < _TESTS_PER_LABEL:
                examples.append((inputs, labelling.outputs[label]))
    chosen = [example for label in sorted(answered) for example in answered[label]]
    return _TESTS.format(answered=_literal(chosen), left=_literal(left))


def guard_sentence(rules: RuleSet) -> str:
    """Which inputs the handler answers, for people."""
    answered = ", ".join(sorted(rules.margins))
    others = sorted({rule.label for rule in rules.rules} - set(rules.margins))
    left = f"; {', '.join(others)} and everything else is left to the model" if others else ""
    return (
        f"Answers {answered} when words of the input speak for it clearly enough"
        f"{left or '; everything else is left to the model'}."
    )


def _matching_text() -> tuple[str, str]:
    """(imports, rest) of the matching module without its docstring."""
    source = inspect.getsource(matching)
    start = source.index("import re\n")
    imports, rest = source[start:].split("\n\n", 1)
    return imports, rest.strip() + "\n"


def _literal(value: Any) -> str:
    return pformat(value, width=116, sort_dicts=False)

"""What a coder is told: the specification, and what to repair (seed 000 "Formulate Spec"; seed 003 §3.6.5; 03 §9).

Whatever was recorded, or written by a model, stands in a fence that it cannot close. Sections have budgets, so that a
prompt stays affordable whatever the traffic looks like.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import orjson

from uhlp.optimization.jit.variety import estimated_tokens, varied
from uhlp.optimization.proposer import Counterexample, Failures, ProposalTask, TrainSample
from uhlp.prompts.own_template import own_template

SAMPLE_BUDGET_TOKENS = 6_000
COUNTEREXAMPLE_BUDGET_TOKENS = 3_000
DEOPTIMISED_BUDGET_TOKENS = 1_500
TEST_FAILURES_BUDGET_TOKENS = 3_000

MOST_COUNTEREXAMPLES = 24
"""The first ones, which are those of the newest draft."""
REPAIR_COUNTEREXAMPLES = 12
MOST_DEOPTIMISED = 24

_BACKTICKS = re.compile(r"`{3,}")


def write_specification(task: ProposalTask) -> str:
    """The text that asks a coder model for a handler: contract, prompt, schemas, varied samples, earlier attempts."""
    return _SPECIFICATION.render(
        component_id=task.component_id,
        description=task.description,
        allowed_imports=task.allowed_imports,
        prompt_text=task.prompt_text,
        input_schema=_json(task.input_schema),
        output_schema=_json(task.output_schema),
        decision_field=task.decision_field,
        samples=_samples(varied(task.train, SAMPLE_BUDGET_TOKENS)),
        counterexamples=_counterexamples(task.counterexamples[:MOST_COUNTEREXAMPLES]),
        deoptimised=_samples(varied(task.deoptimised, DEOPTIMISED_BUDGET_TOKENS)[:MOST_DEOPTIMISED]),
        previous_code=task.previous_code,
        previous_coverage=task.previous_coverage,
    )


def write_repair(code: str, failures: Failures) -> str:
    """What follows the specification when a handler (`code`) was refused."""
    return _REPAIR.render(
        unreadable="",
        code=code,
        test_failures="\n".join(_within(failures.test_failures, TEST_FAILURES_BUDGET_TOKENS)),
        counterexamples=_counterexamples(failures.counterexamples[:REPAIR_COUNTEREXAMPLES]),
    )


def write_complaint(why: str) -> str:
    """What follows an answer that could not be read."""
    return _REPAIR.render(unreadable=why).strip() + "\n"


def _counterexamples(counterexamples: Sequence[Counterexample]) -> str:
    """Lines within the budget; one that is too long leaves room for shorter ones behind it."""
    lines, spent = [], 0
    for one in counterexamples:
        line = _json({"input": one.input, "expected": one.expected, "got": one.got})
        if spent + estimated_tokens(line) <= COUNTEREXAMPLE_BUDGET_TOKENS:
            lines.append(line)
            spent += estimated_tokens(line)
    return "\n".join(lines)


def _samples(samples: Iterable[TrainSample]) -> str:
    return "\n".join(_json({"input": one.input, "output": one.output}) for one in samples)


def _within(texts: Iterable[str], budget_tokens: int) -> list[str]:
    """The first texts that fit; the one that does not fit is cut."""
    kept: list[str] = []
    left = budget_tokens * 4
    for text in texts:
        kept.append(text[:left])
        left -= len(text)
        if left <= 0:
            break
    return kept


def _json(value: object) -> str:
    """One line whoever reads it: JSON allows two line ends of Unicode inside strings."""
    return orjson.dumps(value).decode().replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _fenced(text: str, language: str) -> str:
    """`text` in a fence that is longer than any within it."""
    longest = max((len(run) for run in _BACKTICKS.findall(text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


_FOLDER = Path(__file__).parent
_SPECIFICATION = own_template(_FOLDER / "specification.md.j2", fenced=_fenced)
_REPAIR = own_template(_FOLDER / "repair.md.j2", fenced=_fenced)

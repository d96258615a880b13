"""The specification given to the coder (seed 000 "Formulate Spec"; seed 003 §3.6.5)."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import orjson
from jinja2 import Environment, StrictUndefined

from uhlp.optimization.proposer import ProposalTask, TrainSample

_TEMPLATE = Environment(
    undefined=StrictUndefined,
    autoescape=False,  # noqa: S701  the text goes to a model, not to a browser
    keep_trailing_newline=True,
).from_string(Path(__file__).with_name("specification.md.j2").read_text(encoding="utf-8"))

SAMPLE_BUDGET_CHARACTERS = 24_000
"""About 6,000 tokens: what the samples of one specification may take."""
MOST_COUNTEREXAMPLES = 24
"""The first ones, which are those of the newest draft."""


def write_specification(task: ProposalTask, *, test_failures: Sequence[str] = ()) -> str:
    """The text that asks a coder model for a handler: contract, prompt, schemas and varied samples of `task`."""
    return _TEMPLATE.render(
        component_id=task.component_id,
        description=task.description,
        allowed_imports=task.allowed_imports,
        prompt_text=task.prompt_text,
        input_schema=_json(task.input_schema),
        output_schema=_json(task.output_schema),
        decision_field=task.decision_field,
        samples=[_json({"input": s.input, "output": s.output}) for s in varied(task.train)],
        counterexamples=[
            _json({"input": c.input, "expected": c.expected, "got": c.got})
            for c in task.counterexamples[:MOST_COUNTEREXAMPLES]
        ],
        deoptimised=[_json(value) for value in task.deoptimised[:MOST_COUNTEREXAMPLES]],
        previous_code=task.previous_code,
        test_failures=test_failures,
    )


def varied(samples: Iterable[TrainSample], budget_characters: int = SAMPLE_BUDGET_CHARACTERS) -> list[TrainSample]:
    """A varied choice within the budget: one of each output in turn, so that rare outputs are seen, not the first k."""
    queues: dict[bytes, list[TrainSample]] = {}
    for sample in samples:
        queues.setdefault(_shape(sample.output), []).append(sample)
    chosen: list[TrainSample] = []
    spent = 0
    depth = 0
    while any(len(queue) > depth for queue in queues.values()):
        for queue in queues.values():
            if len(queue) <= depth:
                continue
            size = len(_json({"input": queue[depth].input, "output": queue[depth].output})) + 1
            if spent + size > budget_characters:
                continue
            spent += size
            chosen.append(queue[depth])
        depth += 1
    return chosen


def _shape(value: object) -> bytes:
    """What makes two outputs alike: labels by value, objects by their keys and short string values."""
    if isinstance(value, dict):
        return orjson.dumps({k: _shape(v).decode() for k, v in value.items()}, option=orjson.OPT_SORT_KEYS)
    if isinstance(value, bool) or value is None:
        return orjson.dumps(value)
    if isinstance(value, str):
        return value.encode() if len(value) <= 24 and value.isidentifier() else b"str"
    if isinstance(value, list):
        return b"list:" + (_shape(value[0]) if value else b"")
    return type(value).__name__.encode()


def _json(value: object) -> str:
    return orjson.dumps(value).decode()

"""Reading what UHLP sends to coder models (optimization/jit/specification.md.j2 and repair.md.j2), as a model would: by
its headings."""

import json
import re
from dataclasses import dataclass
from typing import Any

_BLOCK = re.compile(
    r"^# (?P<heading>Input schema|Output schema|Recorded samples|Counterexamples|Previous handler|Your last answer"
    r"|What it answered wrongly)\n"
    r"(?:(?!#|```)[^\n]*\n)?(?P<fence>`{3,})[a-z]*\n(?P<body>.*?)\n?^(?P=fence)$",
    re.DOTALL | re.MULTILINE,
)
_COMPONENT = re.compile(r"does today for the component `(?P<component_id>[^`]+)`")
_DECISION_FIELD = re.compile(r"^The field that decides is `(?P<field>[^`]+)`\.$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Recorded:
    """One recorded call; of a counterexample, `output` is what is right."""

    input: Any
    output: Any


@dataclass(frozen=True, slots=True)
class Specification:
    """What the text says. `previous_handler` and the counterexamples are there when an earlier handler failed."""

    component_id: str
    input_schema: dict[str, Any]
    output_schema: dict[str, Any]
    samples: tuple[Recorded, ...]
    counterexamples: tuple[Recorded, ...]
    decision_field: str | None
    previous_handler: str | None

    @property
    def is_first_attempt(self) -> bool:
        return not self.counterexamples and self.previous_handler is None


def is_specification(text: str) -> bool:
    """Whether a prompt asks for a handler."""
    return text.startswith("Write a Python handler") and "\n# Recorded samples\n" in text


def read_specification(text: str) -> Specification:
    """The specification in `text`; blocks that are missing are empty."""
    blocks = {match["heading"]: match["body"] for match in _BLOCK.finditer(text)}
    component, decision_field = _COMPONENT.search(text), _DECISION_FIELD.search(text)
    return Specification(
        component_id=component["component_id"] if component else "component",
        input_schema=json.loads(blocks.get("Input schema") or "null") or {},
        output_schema=json.loads(blocks.get("Output schema") or "null") or {},
        samples=_recorded(blocks.get("Recorded samples", ""), "output"),
        counterexamples=(
            *_recorded(blocks.get("What it answered wrongly", ""), "expected"),
            *_recorded(blocks.get("Counterexamples", ""), "expected"),
        ),
        decision_field=decision_field["field"] if decision_field else None,
        previous_handler=blocks.get("Your last answer") or blocks.get("Previous handler"),
    )


def _recorded(lines: str, answer: str) -> tuple[Recorded, ...]:
    rows = [json.loads(line) for line in lines.split("\n") if line.strip()]
    return tuple(Recorded(row["input"], row[answer]) for row in rows)

"""Classes: which of a handler's answers are used, by the value of the component's `decisionField`.

The class of an answer is what the handler itself claims: a guard can see nothing else. A handler that is good at most
classes serves those; the others are left to the model until they have earned it (`statistics.ClassCounts`).
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from uhlp import strict_json

ABSENT = "(absent)"
_LONGEST_NAME = 200


def class_of(answer: Any, decision_field: str) -> str:
    """The class of an answer: the canonical JSON of the field "a.b" (its hash when that is long), ABSENT without it."""
    for key in decision_field.split("."):
        if not isinstance(answer, dict) or key not in answer:
            return ABSENT
        answer = answer[key]
    name = strict_json.canonical(answer).decode()
    return name if len(name) <= _LONGEST_NAME else f"sha256:{sha256(name.encode()).hexdigest()}"


@dataclass(frozen=True, slots=True)
class ClassGuard:
    """What routing holds an answer against: only the `trusted` classes of `decision_field` are used."""

    decision_field: str
    trusted: frozenset[str]

    def holds_back(self, answer: Any) -> bool:
        """Whether this answer is left to the model."""
        return class_of(answer, self.decision_field) not in self.trusted

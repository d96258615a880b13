"""ClassStandings: where a candidate stands with each class of its answers, by the value of the `decisionField`.

An answer counts by the standing of its class when its comparison began (`entry_order`), an answer that a user got by
that when it was given: in a trusted class it is evidence; in another it only helps the class to trust (the guard would
not have let it be served). What it says about the class itself counts at once.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from uhlp.evolution.classes import ClassGuard, class_of
from uhlp.evolution.comparison import Comparison
from uhlp.evolution.statistics import ClassCounts

Standing = Literal["trusted", "unproven", "excluded"]
"""Of the class that an answer is in: it may be used; it is not trusted now; it is hopeless and not looked at."""


@dataclass(slots=True)
class ClassStandings:
    """Without a `decision_field` there are no classes, and every answer is used.

    `inputs` says how often an input has counted for a class on its way to trust, `answers` how often the handler
    claimed each class.
    """

    decision_field: str | None = None
    counts: ClassCounts = field(default_factory=ClassCounts)
    inputs: dict[str, Counter[str]] = field(default_factory=dict)
    answers: Counter[str] = field(default_factory=Counter)

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """What `to_dict` described, among a candidate's measurements."""
        return cls(
            decision_field=state.get("decisionField"),
            counts=ClassCounts.from_dict(state["classes"]) if "classes" in state else ClassCounts(),
            inputs={name: Counter(counts) for name, counts in state.get("classInputs", {}).items()},
            answers=Counter(state.get("classAnswers", {})),
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON values; nothing without a decision field."""
        if self.decision_field is None:
            return {}
        return {
            "decisionField": self.decision_field,
            "classes": self.counts.to_dict(),
            "classInputs": {name: dict(counts) for name, counts in self.inputs.items()},
            "classAnswers": dict(self.answers),
        }

    def of(self, answer: Any) -> Standing:
        """Whether this answer of the handler may be used now."""
        if self.decision_field is None:
            return "trusted"
        return self._of_class(class_of(answer, self.decision_field))

    def guard(self) -> ClassGuard | None:
        """What routing holds answers against; None where every answer is used."""
        if self.decision_field is None:
            return None
        return ClassGuard(self.decision_field, frozenset(self.counts.trusted))

    def note_answer(self, answer: Any) -> Standing:
        """The handler answered an input; the standing of its class."""
        if self.decision_field is None:
            return "trusted"
        name = class_of(answer, self.decision_field)
        if name in self.answers or len(self.answers) < self.counts.max_classes:
            self.answers[name] += 1
        return self._of_class(name)

    def observe(self, comparison: Comparison, short: str, *, is_trained: bool, duplicates_cap: int) -> None:
        """Count a comparison of an answer in the class that the handler claimed; `short` names its input."""
        if self.decision_field is None or not comparison.has_answered:
            return
        name = class_of(comparison.got, self.decision_field)
        if comparison.outcome == "wrong":
            self.counts.observe(name, agrees=False)
            self.inputs.pop(name, None)
        elif self.counts.is_trusted(name):
            self.counts.observe(name, agrees=True)
            self.inputs.pop(name, None)  # the row is long enough; another one would start anew
        elif not is_trained:
            counted = self.inputs.setdefault(name, Counter())
            if counted[short] < duplicates_cap:
                counted[short] += 1
                self.counts.observe(name, agrees=True)

    @property
    def by_standing(self) -> Counter[Standing]:
        """How many of the answers so far have each standing, as the classes stand now."""
        counted: Counter[Standing] = Counter()
        for name, count in self.answers.items():
            counted[self._of_class(name)] += count
        return counted

    def _of_class(self, name: str) -> Standing:
        if self.counts.is_trusted(name):
            return "trusted"
        return "excluded" if self.counts.count(name).is_hopeless else "unproven"

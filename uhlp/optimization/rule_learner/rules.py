"""What the rule learner finds: rules, the margin each label is answered at, and how both held out of fold."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from uhlp.optimization.rule_learner.matching import features_of, vote


@dataclass(frozen=True, slots=True)
class Rule:
    """Inputs with all these features speak for `label` with `points` (hundredths of log odds over the base rate).

    It held for `holds` TRAIN samples and was right on `right` of them.
    """

    features: tuple[str, ...]
    label: str
    points: int
    right: int
    holds: int

    def __str__(self) -> str:
        condition = " and ".join(f'"{feature}"' for feature in self.features)
        return f"{condition} → {self.label} ({self.right} of {self.holds})"


@dataclass(frozen=True, slots=True)
class Validation:
    """How rules that had not seen an input answered it. Counts are sums over all repeats of the cross-validation."""

    asked: int
    answered: int
    right: int
    depth: int

    @property
    def coverage(self) -> float:
        """Share of inputs answered; 0 when none was asked."""
        return self.answered / self.asked if self.asked else 0.0

    @property
    def agreement(self) -> float | None:
        """Share of the answers that were right; None without answers."""
        return self.right / self.answered if self.answered else None


@dataclass(frozen=True)
class RuleSet:
    """Rules that vote. A label is answered when it leads by its margin; labels without a margin are never answered."""

    rules: tuple[Rule, ...]
    margins: Mapping[str, int]
    by_field: bool
    validation: Validation

    def answer(self, inputs: Any) -> tuple[str | None, str]:
        """(label, "") or (None, why it is left to the model); what the generated handler answers too."""
        label, lead = self.lead(inputs)
        if label is None:
            return None, "no rule holds"
        if label not in self.margins:
            return None, f"{label} is left to the model"
        if lead < self.margins[label]:
            return None, "the rules are not sure enough"
        return label, ""

    def lead(self, inputs: Any) -> tuple[str | None, int]:
        """The label that leads and by how many points; (None, 0) when no rule holds."""
        return vote(features_of(inputs, self.by_field), self._votes)

    @cached_property
    def _votes(self) -> list[tuple[tuple[str, ...], str, int]]:
        return [(rule.features, rule.label, rule.points) for rule in self.rules]

    def sparing(self, inputs: Iterable[Any]) -> "RuleSet":
        """The same rules with margins raised until none of these inputs is answered."""
        margins = dict(self.margins)
        for each in inputs:
            label, lead = self.lead(each)
            if label is not None and label in margins:
                margins[label] = max(margins[label], lead + 1)
        return replace(self, margins=margins)

    def explain(self, limit: int | None = None) -> list[str]:
        """The rules of the labels it answers in words, those with the most support first."""
        return [str(rule) for rule in self.rules if rule.label in self.margins][:limit]

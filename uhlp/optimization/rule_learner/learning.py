"""Token rules from labelled inputs: found by support and precision, kept and weighed by cross-validation.

Everything is decided on the samples that are handed in (TRAIN): how many features a rule may join, which labels are
answered and by how many points a label must lead.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from uhlp.optimization.rule_learner.config import LearnerConfig
from uhlp.optimization.rule_learner.matching import text_fields
from uhlp.optimization.rule_learner.rules import Rule, RuleSet, Validation
from uhlp.optimization.rule_learner.table import Mask, SampleTable, positions, tabulate

_Condition = tuple[tuple[str, ...], Mask]
"""Features that must all be there, and the samples that have them."""


def learn(samples: Sequence[tuple[Any, str | None]], config: LearnerConfig | None = None) -> RuleSet:
    """The rule set for (input, label) samples; label None marks an output that no label stands for.

    Deterministic, whatever the order of the samples. Without `margins` nothing could be learnt that holds out of fold.
    """
    config = config or LearnerConfig()
    by_field = len({path for inputs, _ in samples for path, _ in text_fields(inputs)}) > 1
    best = RuleSet(rules=(), margins={}, by_field=by_field, validation=Validation(len(samples), 0, 0, 0))
    if len(samples) < config.min_samples or all(label is None for _, label in samples):
        return best
    table = tabulate(samples, by_field=by_field, config=config)
    for depth in range(1, config.max_depth + 1):
        margins, validation = _cross_validate(table, depth, config)
        if depth > 1 and validation.coverage < best.validation.coverage + config.min_gain:
            break
        if margins:
            rules = _induce(table, table.everything, depth, config)
            best = RuleSet(tuple(rules), margins, by_field, validation)
    return best


def _induce(table: SampleTable, within: Mask, depth: int, config: LearnerConfig) -> list[Rule]:
    """Rules from the samples in `within`: features that are precise alone, then joint ones of those that are not."""
    search = _Search(table, within, config)
    conditions: list[_Condition] = [((feature,), extent & within) for feature, extent in table.extents.items()]
    single = growing = _widest([each for each in conditions if search.may_grow(*each)], config.beam)
    for _ in range(depth - 1):
        grown: list[_Condition] = []
        for features, extent in growing:
            for (feature,), other in single:
                joint = extent & other
                is_new = feature > features[-1] and joint not in (extent, other)
                if is_new and search.may_grow((*features, feature), joint):
                    grown.append(((*features, feature), joint))
        growing = _widest(grown, config.beam)
    search.rules.sort(key=lambda rule: (-rule.right, -rule.points, rule.features))
    return search.rules[: config.max_rules]


class _Search:
    """Judges one condition after the other, and collects those that are rules."""

    def __init__(self, table: SampleTable, within: Mask, config: LearnerConfig) -> None:
        self._config = config
        self._labelled = {label: mask & within for label, mask in table.labelled.items()}
        size = max(within.bit_count(), 1)
        self._shares = {label: mask.bit_count() / size for label, mask in self._labelled.items()}
        self._judged: set[Mask] = set()
        self.rules: list[Rule] = []

    def may_grow(self, features: tuple[str, ...], extent: Mask) -> bool:
        """Whether the condition is too vague for a rule, so that a further feature might make it one."""
        holds = extent.bit_count()
        if holds < self._config.min_support or extent in self._judged:
            return False
        self._judged.add(extent)
        right, label = max(((extent & mask).bit_count(), label) for label, mask in self._labelled.items())
        if right < self._config.min_support:
            return False
        if right / holds < self._config.min_precision:
            return True
        share, weight = self._shares[label], self._config.prior_weight
        points = round(100 * (_log_odds((right + weight * share) / (holds + weight)) - _log_odds(share)))
        if points > 0:
            self.rules.append(Rule(features, label, points, right, holds))
        return False


def _widest(conditions: list[_Condition], count: int) -> list[_Condition]:
    return sorted(conditions, key=lambda entry: (-entry[1].bit_count(), entry[0]))[:count]


def _log_odds(share: float) -> float:
    share = min(max(share, 1e-6), 1 - 1e-6)
    return math.log(share / (1 - share))


def _cross_validate(table: SampleTable, depth: int, config: LearnerConfig) -> tuple[Mapping[str, int], Validation]:
    """Each fold is answered by rules learnt without it; (margin of each label that may be answered, how it went)."""
    answers = sorted(_out_of_fold(table, depth, config), key=lambda answer: -answer[0])
    margin = _margin([(lead, right) for lead, _, right in answers], table.repeats, config)
    asked = table.size * table.repeats
    if margin is None:
        return {}, Validation(asked, 0, 0, depth)
    taken: dict[str, list[bool]] = {}
    for lead, label, right in answers:
        if lead >= margin:
            taken.setdefault(label, []).append(right)
    fit = {
        label: rights
        for label, rights in sorted(taken.items())
        if len(rights) >= config.min_support * table.repeats and sum(rights) / len(rights) >= config.min_label_precision
    }
    answered = sum(len(rights) for rights in fit.values())
    return dict.fromkeys(fit, margin), Validation(asked, answered, sum(map(sum, fit.values())), depth)


def _out_of_fold(table: SampleTable, depth: int, config: LearnerConfig) -> list[tuple[int, str, bool]]:
    """(lead in points, label, whether it was right) for every sample that some rule of its fold's rest holds for."""
    label_of = {position: label for label, mask in table.labelled.items() for position in positions(mask)}
    answers = []
    for fold in table.folds:
        votes: dict[int, Counter[str]] = {}
        for rule in _induce(table, table.everything & ~fold, depth, config):
            extent = fold
            for feature in rule.features:
                extent &= table.extents[feature]
            for position in positions(extent):
                votes.setdefault(position, Counter())[rule.label] += rule.points
        for position, points in votes.items():
            (label, first), *others = sorted(points.items(), key=lambda entry: (-entry[1], entry[0]))
            answers.append((first - (others[0][1] if others else 0), label, label_of.get(position) == label))
    return answers


def _margin(ranked: Sequence[tuple[int, bool]], repeats: int, config: LearnerConfig) -> int | None:
    """The lead to answer from, by answers ranked by lead: worth the most at `wrong_costs`, and within `max_loss`.

    Half a wrong answer is added to those seen, so that few answers never look flawless. None when nothing is worth it.
    """
    best: int | None = None
    best_worth, wrong = 0.0, 0
    for count, (lead, right) in enumerate(ranked, 1):
        wrong += not right
        if lead <= 0 or (count < len(ranked) and ranked[count][0] == lead):
            continue
        feared = wrong + repeats / 2
        worth = count - wrong - config.wrong_costs * feared
        if worth >= best_worth and feared / (count + repeats) <= config.max_loss:
            best, best_worth = lead, worth
    return best

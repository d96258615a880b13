"""Numbers of the rule learner."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LearnerConfig:
    """None of these is fitted to a data set: depth of the rules and the margin to answer at are cross-validated.

    min_samples: fewer teach nothing. min_support: samples a rule must be right on. min_precision: share of the samples
    a rule holds for that must carry its label. prior_weight: how many samples a label's base rate counts for when a
    rule's precision is estimated. wrong_costs: right answers that one wrong answer is worth when the margin is chosen
    (1 / epsilon at the usual 5 %). max_loss: largest out-of-fold share of wrong answers, room left below epsilon.
    min_label_precision: out-of-fold share of right answers below which a label is left to the model.
    max_depth: features in one rule. min_gain: out-of-fold coverage that deeper rules must add to be preferred.
    folds, repeats: of the cross-validation; above `single_repeat_from` samples it is done once.
    beam, max_features, max_rules: limits of the search.
    """

    min_samples: int = 30
    min_support: int = 3
    min_precision: float = 0.9
    prior_weight: float = 2.0
    wrong_costs: float = 20.0
    max_loss: float = 0.03
    min_label_precision: float = 0.9
    max_depth: int = 3
    min_gain: float = 0.03
    folds: int = 5
    repeats: int = 3
    single_repeat_from: int = 2_000
    beam: int = 120
    max_features: int = 20_000
    max_rules: int = 600

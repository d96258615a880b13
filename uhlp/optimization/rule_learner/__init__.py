"""The rule learner: a proposer that finds token rules for label components. Deterministic, free, no model."""

from uhlp.optimization.rule_learner.config import LearnerConfig
from uhlp.optimization.rule_learner.learning import learn
from uhlp.optimization.rule_learner.rule_learner import RuleLearner
from uhlp.optimization.rule_learner.rules import Rule, RuleSet, Validation

__all__ = ["LearnerConfig", "Rule", "RuleLearner", "RuleSet", "Validation", "learn"]

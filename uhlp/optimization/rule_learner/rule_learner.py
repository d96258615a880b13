"""RuleLearner: the proposer that needs no model."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from uhlp.errors import DefinitionInvalid
from uhlp.evals.comparator import Comparator
from uhlp.optimization.proposer import Counterexample, Failures, Proposal, ProposalFailed, ProposalTask, TrainSample
from uhlp.optimization.rule_learner.config import LearnerConfig
from uhlp.optimization.rule_learner.labels import Labelling, NotLabels, TooFewSamples, find_labels
from uhlp.optimization.rule_learner.learning import learn
from uhlp.optimization.rule_learner.matching import text_fields
from uhlp.optimization.rule_learner.rendering import guard_sentence, handler_source, tests_source
from uhlp.optimization.rule_learner.rules import RuleSet

_RULES_IN_NOTES = 40
_NEEDED_IMPORTS = ("itertools", "re")


class RuleLearner:
    """Token rules for components whose output is a label: free, deterministic, silent where TRAIN says too little."""

    def __init__(self, config: LearnerConfig | None = None) -> None:
        self._config = config or LearnerConfig()

    @property
    def name(self) -> str:
        return "rule_learner"

    def applies(self, task: ProposalTask) -> str | None:
        """None when the outputs are labels and the inputs hold text, else the reason why not."""
        forbidden = [name for name in _NEEDED_IMPORTS if name not in task.allowed_imports]
        if forbidden:
            return f"its handlers import {' and '.join(forbidden)}, which is not allowed here"
        try:
            self.labelling(task.train, decision_field=task.decision_field, policies=task.comparator)
        except NotLabels as reason:
            return str(reason)
        return None

    async def propose(self, task: ProposalTask) -> Proposal:
        """Learn in a thread. Raises ProposalFailed when nothing holds out of fold."""
        return await asyncio.to_thread(self._make, task, task.counterexamples)

    async def repair(self, task: ProposalTask, proposal: Proposal, failures: Failures) -> Proposal | None:
        """The same rules with margins above every counterexample; None when only tests fail: it has no other idea."""
        known = [Counterexample(**each) for each in proposal.notes.get("spared", [])]
        spared = [*task.counterexamples, *known, *failures.counterexamples]
        if not failures.counterexamples:
            return None
        return await asyncio.to_thread(self._make, task, spared)

    def labelling(
        self, train: Sequence[TrainSample], *, decision_field: str | None, policies: Mapping[str, Any]
    ) -> Labelling:
        """The labels of these samples. Raises NotLabels with the reason why this proposer cannot help."""
        if len(train) < self._config.min_samples:
            raise TooFewSamples(f"{len(train)} TRAIN samples, needs {self._config.min_samples}")
        if not any(True for sample in train for _ in text_fields(sample.input)):
            raise NotLabels("the inputs hold no text")
        try:
            comparator = Comparator(policies)
        except DefinitionInvalid as error:
            raise NotLabels(error.message) from error
        return find_labels([s.output for s in train], decision_field=decision_field, comparator=comparator)

    def learn(self, train: Sequence[TrainSample], labelling: Labelling) -> RuleSet:
        """The rules of these samples (CPU work: call it in a thread)."""
        return learn([(sample.input, labelling.label(sample.output)) for sample in train], self._config)

    def _make(self, task: ProposalTask, spared: Sequence[Counterexample]) -> Proposal:
        try:
            labelling = self.labelling(task.train, decision_field=task.decision_field, policies=task.comparator)
        except NotLabels as reason:
            raise ProposalFailed(str(reason)) from reason
        rules = self.learn(task.train, labelling)
        if not rules.margins:
            raise ProposalFailed(f"no words of the inputs tell the {len(labelling.outputs)} labels apart reliably")
        rules = rules.sparing(each.input for each in spared)
        pairs = [(sample.input, sample.output) for sample in task.train]
        return Proposal(
            code=handler_source(rules, labelling, component_id=task.component_id, samples=len(task.train)),
            tests=tests_source(rules, labelling, pairs),
            guard=guard_sentence(rules),
            proposer=self.name,
            notes={
                "rules": rules.explain(_RULES_IN_NOTES),
                "ruleCount": len(rules.rules),
                "depth": rules.validation.depth,
                "labels": sorted(rules.margins),
                "crossValidation": {
                    "coverage": rules.validation.coverage,
                    "agreement": rules.validation.agreement,
                },
                "spared": [{"input": c.input, "expected": c.expected, "got": c.got} for c in spared],
            },
        )

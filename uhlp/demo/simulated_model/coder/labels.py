"""Label outputs: token rules induced from the samples in the prompt."""

from uhlp.demo.simulated_model.coder.specification import Specification
from uhlp.optimization.proposer import Counterexample, ProposalFailed, ProposalTask, TrainSample
from uhlp.optimization.rule_learner import RuleLearner


async def write_labels(specification: Specification) -> tuple[str, str, str] | None:
    """(code, tests, guard) when the outputs are a few labels that words of the inputs tell apart, else None."""
    task = ProposalTask(
        app_id="unknown",
        component_id=specification.component_id,
        description="",
        prompt_text="",
        input_schema=specification.input_schema,
        output_schema=specification.output_schema,
        train=tuple(TrainSample(one.input, one.output) for one in specification.samples),
        decision_field=specification.decision_field,
        counterexamples=tuple(Counterexample(one.input, one.output, None) for one in specification.counterexamples),
    )
    learner = RuleLearner()
    if learner.applies(task) is not None:
        return None
    try:
        proposal = await learner.propose(task)
    except ProposalFailed:
        return None
    return proposal.code, proposal.tests, proposal.guard

"""What workflows that call each other may not do: name what is not there, go in a circle, nest without end."""

from collections.abc import Iterator, Mapping

from uhlp.models.faults import did_you_mean
from uhlp.workflows.flow import circle, reached_from
from uhlp.workflows.plan import DEEPEST_SUBWORKFLOWS, Plan, Step, Subworkflow

Fault = tuple[Plan, Step, str]
"""What is wrong with a step of a workflow."""


def call_faults(plans: Mapping[str, Plan], *, unreadable: frozenset[str] = frozenset()) -> Iterator[Fault]:
    """What is wrong with the subworkflow steps of an application's workflows. `unreadable` ones are there, too."""
    for plan in plans.values():
        for step, called in _calls(plan):
            if called not in plans and called not in unreadable:
                yield plan, step, f"there is no workflow `{called}`{did_you_mean(called, tuple(plans))}"
    calls = {name: frozenset(plan.workflow_ids & plans.keys()) for name, plan in plans.items()}
    round_trip = circle(calls, without=())
    if round_trip is not None:
        last = plans[round_trip[-1]]
        step = next(step for step, called in _calls(last) if called == round_trip[0])
        names = " → ".join((*round_trip, round_trip[0]))
        yield last, step, f"the workflows {names} call each other in a circle: take a loop"
        return
    for name, depth in _depths(calls).items():
        if depth > DEEPEST_SUBWORKFLOWS:
            step = next(step for step, called in _calls(plans[name]) if called in plans)
            yield plans[name], step, f"subworkflows nest deeper than {DEEPEST_SUBWORKFLOWS} levels"


def all_called(workflow_id: str, plans: Mapping[str, Plan]) -> list[Plan]:
    """The workflow and all that it calls, by name."""
    calls = {name: frozenset(plan.workflow_ids & plans.keys()) for name, plan in plans.items()}
    return [plans[name] for name in sorted(reached_from([workflow_id], calls))]


def _calls(plan: Plan) -> Iterator[tuple[Step, str]]:
    for step in plan.every_step():
        if isinstance(step.action, Subworkflow):
            yield step, step.action.workflow_id


def _depths(calls: Mapping[str, frozenset[str]]) -> dict[str, int]:
    """How many levels of subworkflows are below each workflow; there are no circles."""
    depths: dict[str, int] = {}
    pending = list(calls)
    while pending:
        name = pending[-1]
        missing = [called for called in calls[name] if called not in depths]
        if missing:
            pending.extend(missing)
        else:
            depths[name] = max((depths[called] + 1 for called in calls[name]), default=0)
            pending.pop()
    return depths

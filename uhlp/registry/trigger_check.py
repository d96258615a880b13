"""What is wrong with the `triggers[]` of an application's components, beyond what their model refuses."""

from collections.abc import Iterator, Mapping, Sequence

from uhlp import strict_json
from uhlp.errors import ExpressionInvalid
from uhlp.expressions import compile_workflow_expression
from uhlp.models.definition import ComponentDefinition
from uhlp.models.trigger import CallbackTrigger, CronTrigger, EventTrigger, QueueTrigger, Trigger
from uhlp.registry.definition_files import REGISTRY_FILE, DefinitionReader
from uhlp.registry.snapshot import ComponentSnapshot


def check_triggers(
    definitions: Sequence[ComponentDefinition], components: Mapping[str, ComponentSnapshot], reader: DefinitionReader
) -> None:
    """One consumer a queue, one component a callback, nothing twice; mappings that compile, inputs by schema.

    Problems go to `reader`, with lines.
    """
    seen: dict[str, str] = {}
    for at, component_id, trigger in _triggers(definitions):
        whose, field = _identity(component_id, trigger)
        if whose in seen:
            who = "it" if seen[whose] == component_id else seen[whose]
            reader.problem(REGISTRY_FILE, f"{at}/{field}", f"{whose.partition(' of ')[0]} starts {who} already")
        seen.setdefault(whose, component_id)
        if isinstance(trigger, EventTrigger | CallbackTrigger):
            for name, source in trigger.input_mapping.items():
                if fault := _fault_of(source):
                    reader.problem(REGISTRY_FILE, f"{at}/inputMapping/{name}", fault)
        if isinstance(trigger, CronTrigger):
            validator = components[component_id].input_validator
            for problem in [] if validator is None else validator.problems(trigger.input):
                reader.problem(REGISTRY_FILE, f"{at}/input{problem['path']}", str(problem["message"]))


def _triggers(definitions: Sequence[ComponentDefinition]) -> Iterator[tuple[str, str, Trigger]]:
    for index, definition in enumerate(definitions):
        for number, trigger in enumerate(definition.triggers):
            yield f"/components/{index}/triggers/{number}", definition.component_id, trigger


def _fault_of(source: str) -> str | None:
    """What is wrong with an expression of an inputMapping."""
    try:
        paths = compile_workflow_expression(source).paths
    except ExpressionInvalid as error:
        return error.message
    strays = sorted({path[0] for path in paths if path[:2] not in (("trigger", "input"), ("trigger", "details"))})
    return f"an inputMapping knows trigger.input and trigger.details, not {', '.join(strays)}" if strays else None


def _identity(component_id: str, trigger: Trigger) -> tuple[str, str]:
    """What may be there once only, and the field that says it; ` of …` says where."""
    if isinstance(trigger, QueueTrigger):
        return f"the queue {trigger.queue}", "queue"
    if isinstance(trigger, CallbackTrigger):
        return f"the callback {trigger.name}", "name"
    if isinstance(trigger, EventTrigger):
        return f"the event {trigger.event} of {component_id}", "event"
    given = strict_json.canonical(trigger.input).decode()
    return (
        f"the schedule {trigger.schedule} in {trigger.timezone} with this input of {component_id} {given}",
        "schedule",
    )

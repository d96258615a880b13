"""The workflows of an application: read, and held against what else is there."""

from collections.abc import Mapping, Sequence
from hashlib import sha256

from uhlp.errors import DefinitionInvalid
from uhlp.models.definition import AppDefinition, ComponentDefinition, HandlerType
from uhlp.models.faults import did_you_mean
from uhlp.registry.definition_files import Files, workflow_path
from uhlp.registry.problems import Problems
from uhlp.registry.tool_names import is_listed, tool_problem
from uhlp.workflows import ComponentCall, Plan, ToolCall, all_called, call_faults, parse_workflow

_FOLDER, _ENDING = "workflows/", ".yaml"


class WorkflowCompiler:
    """Reads `workflows/*.yaml`; what is wrong goes to `problems`. `plans` are those that can be read."""

    def __init__(self, files: Files, problems: Problems) -> None:
        self._problems = problems
        self.plans: dict[str, Plan] = {}
        self._unreadable: set[str] = set()
        for file in files:
            if file.startswith(_FOLDER) and file.endswith(_ENDING):
                workflow_id = file.removeprefix(_FOLDER).removesuffix(_ENDING)
                try:
                    self.plans[workflow_id] = parse_workflow(files[file], path=file)
                except DefinitionInvalid as error:
                    self._unreadable.add(workflow_id)
                    problems.take(error, file)

    def fault_of(self, workflow_id: str) -> str | None:
        """Why a component cannot run this workflow; None also for one whose own problems are told."""
        if workflow_id in self.plans or workflow_id in self._unreadable:
            return None
        return f"there is no workflow {workflow_path(workflow_id)}{did_you_mean(workflow_id, tuple(self.plans))}"

    def meaning(self, workflow_id: str) -> str:
        """What the workflow and all that it calls mean, as one number in hex."""
        hashes = [plan.sha256 for plan in all_called(workflow_id, self.plans)]
        return sha256("".join(hashes).encode()).hexdigest()

    def check(self, app: AppDefinition, definitions: Sequence[ComponentDefinition]) -> None:
        """Hold what their steps name against the application: its components, its tools' servers, its workflows."""
        handlers = {definition.component_id: definition.handler_type for definition in definitions}
        for plan in self.plans.values():
            for step in plan.every_step():
                action = step.action
                message = None
                if isinstance(action, ComponentCall):
                    message = _component_fault(action.component_id, handlers)
                elif isinstance(action, ToolCall):
                    message = tool_problem(action.tool, app)
                if message is not None:
                    self._add(plan, step.line, step.step_id, message)
        self._check_tools(definitions)
        for plan, step, message in call_faults(self.plans, unreadable=frozenset(self._unreadable)):
            self._add(plan, step.line, step.step_id, message)

    def _check_tools(self, definitions: Sequence[ComponentDefinition]) -> None:
        """A step calls its tool as the component whose workflow it is, which must be allowed the tool."""
        for definition in definitions:
            workflow_id = definition.task_details.workflow_id
            if definition.handler_type is not HandlerType.WORKFLOW or workflow_id not in self.plans:
                continue
            for plan in all_called(workflow_id, self.plans):
                for step in plan.every_step():
                    if isinstance(step.action, ToolCall) and not is_listed(step.action.tool, definition.tools):
                        message = f"{definition.component_id} may not call {step.action.tool}: list it in its `tools`"
                        self._add(plan, step.line, step.step_id, message)

    def _add(self, plan: Plan, line: int, step_id: str, message: str) -> None:
        self._problems.add(plan.path, f"step {step_id}: {message}", line=line)


def _component_fault(component_id: str, handlers: Mapping[str, HandlerType]) -> str | None:
    if component_id not in handlers:
        return f"there is no component {component_id}{did_you_mean(component_id, tuple(handlers))}"
    if handlers[component_id] is HandlerType.WORKFLOW:
        return f"{component_id} is a workflow itself: call it with `control: subworkflow`"
    return None

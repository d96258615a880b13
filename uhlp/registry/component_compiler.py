"""From one component's definition and files to its snapshot."""

import keyword
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from uhlp import strict_json
from uhlp.errors import DefinitionInvalid, ExpressionInvalid, MalformedJson
from uhlp.expressions import compile_rule
from uhlp.jsonschemas import Validator, check_schema, compile_validator
from uhlp.metrics.windows import LONGEST_WINDOW_S
from uhlp.models.definition import AppDefinition, ComponentDefinition, HandlerType, OptimizationRule
from uhlp.models.faults import did_you_mean
from uhlp.prompts import Prompt
from uhlp.registry.configuration import configuration_problem, merged, with_list_of_redacted
from uhlp.registry.definition_files import (
    DATA_FOLDER,
    REGISTRY_FILE,
    DefinitionReader,
    Files,
    golden_path,
    jit_version,
    prompt_path,
)
from uhlp.registry.problems import Problems
from uhlp.registry.snapshot import Artifact, ComponentSnapshot, GoldenExample
from uhlp.registry.spec import spec_hash
from uhlp.registry.tool_names import tool_problem
from uhlp.registry.workflow_compiler import WorkflowCompiler
from uhlp.workflows import Plan

DEFAULT_FUNCTION = "handle"
_LONGEST_HOLD = 10_000
_IS_DATA = f"what is served does not stand below {DATA_FOLDER}: components themselves may write there"
Schema = dict[str, Any]
ComparatorCheck = Callable[[Mapping[str, Any]], object]
"""Raises DefinitionInvalid for policies that no comparator can keep; problems' paths are `comparator/<field>`."""


class ComponentCompiler:
    """Compiles the components of one application; what is wrong goes to `problems`."""

    def __init__(
        self,
        app: AppDefinition,
        files: Files,
        *,
        prompts: Mapping[str, Prompt | None],
        served_prompts: Mapping[str, Prompt],
        workflows: WorkflowCompiler,
        reader: DefinitionReader,
        problems: Problems,
        global_configuration: Mapping[str, Any],
        check_comparator: ComparatorCheck,
    ) -> None:
        self._app = app
        self._files = files
        self._prompts = prompts
        self._served_prompts = served_prompts
        self._workflows = workflows
        self._reader = reader
        self._problems = problems
        self._check_comparator = check_comparator
        self._configuration = merged(global_configuration, app.configuration)

    def compile(self, definition: ComponentDefinition, at: str) -> ComponentSnapshot:
        """The snapshot of the component at pointer `at` of the registry file; incomplete if there were problems."""
        if self._app.pool(definition.target_pool_name) is None:
            self._problem(f"{at}/targetPoolName", f"there is no pool {definition.target_pool_name} in sandboxPools")
        check_rules(definition.optimization.rules, REGISTRY_FILE, f"{at}/optimization/rules", self._reader)
        self._check_policies(definition.optimization.comparator, f"{at}/optimization")
        if problem := configuration_problem(definition.configuration_overrides):
            self._problem(f"{at}/configurationOverrides{problem[0]}", problem[1])
        for index, tool in enumerate(definition.tools):
            if message := tool_problem(tool, self._app):
                self._problem(f"{at}/tools/{index}", message)
        prompt = self._prompt(definition, f"{at}/taskDetails")
        handler = self._handler(definition, f"{at}/taskDetails")
        workflow = self._workflow(definition, f"{at}/taskDetails")
        input_schema = self._schema(definition.input_schema, f"{at}/inputSchema")
        if input_schema is None and workflow is not None:
            input_schema = workflow.input_schema
        own_output_schema = self._schema(definition.output_schema, f"{at}/outputSchema")
        output_schema = own_output_schema or (prompt.definition.output_schema if prompt else None)
        self._check_decision_field(definition, output_schema, f"{at}/optimization/decisionField")
        if prompt is not None and input_schema is not None:
            self._check_variables(definition.component_id, prompt, input_schema)
        input_validator, output_validator = _validator(input_schema), _validator(output_schema)
        return ComponentSnapshot(
            definition=definition,
            input_schema=input_schema,
            output_schema=output_schema,
            input_validator=input_validator,
            output_validator=output_validator,
            prompt=prompt,
            prompt_artifact=None if prompt is None else self._prompt_artifact(prompt, own_output_schema),
            handler_artifact=handler,
            handler_version=None if handler is None else jit_version(handler.path),
            handler_function=definition.task_details.function or DEFAULT_FUNCTION,
            spec_hash=spec_hash(
                definition,
                prompt=prompt,
                input_schema=input_schema,
                output_schema=output_schema,
                workflow=None if workflow is None else self._workflows.meaning(workflow.workflow_id),
            ),
            configuration=with_list_of_redacted(merged(self._configuration, definition.configuration_overrides)),
            properties_types=_properties_types(input_schema),
            golden=tuple(self._golden(definition.component_id, input_validator, output_validator)),
            workflow=workflow,
        )

    def _problem(self, pointer: str, message: str) -> None:
        self._reader.problem(REGISTRY_FILE, pointer, message)

    def _prompt(self, definition: ComponentDefinition, at: str) -> Prompt | None:
        reference = definition.task_details.prompt_template
        if reference is None:
            if definition.handler_type is HandlerType.LLM:
                self._problem(at, "an LLM component needs prompt_template, the name of a file in prompts/")
            return None
        path = prompt_path(reference)
        if path not in self._prompts:
            self._problem(f"{at}/prompt_template", f"there is no prompt {path}")
        return self._prompts.get(path)

    def _workflow(self, definition: ComponentDefinition, at: str) -> Plan | None:
        if definition.handler_type is not HandlerType.WORKFLOW:
            return None
        details = definition.task_details
        if details.prompt_template is not None or details.script is not None:
            self._problem(
                at, "a WORKFLOW component has a workflowId alone: prompts and scripts are its steps' components"
            )
        if details.workflow_id is None:
            self._problem(at, "a WORKFLOW component needs workflowId, the name of a file in workflows/")
            return None
        if message := self._workflows.fault_of(details.workflow_id):
            self._problem(f"{at}/workflowId", message)
        return self._workflows.plans.get(details.workflow_id)

    def _prompt_artifact(self, prompt: Prompt, own_output_schema: Schema | None) -> Artifact:
        """The prompt as it serves: with the overrides under `stable`."""
        return Artifact.of(prompt.path, self._served_prompts[prompt.path].artifact(own_output_schema))

    def _handler(self, definition: ComponentDefinition, at: str) -> Artifact | None:
        if definition.handler_type is not HandlerType.JIT:
            return None
        script, function = definition.task_details.script, definition.task_details.function
        if function is not None and (not function.isidentifier() or keyword.iskeyword(function)):
            self._problem(f"{at}/function", f"{function!r} is not the name of a function")
        if script is None:
            self._problem(at, "a JIT component needs script, the path of its handler")
        elif script.startswith(DATA_FOLDER):
            self._problem(f"{at}/script", _IS_DATA)
        elif script not in self._files:
            self._problem(f"{at}/script", f"there is no script {script}")
        else:
            return Artifact.of(script, self._files[script])
        return None

    def _schema(self, given: Schema | str | None, at: str) -> Schema | None:
        """The schema itself, or what stands in the file that is named; None when there is none, or a bad one."""
        file, pointer, schema = REGISTRY_FILE, at, given
        if isinstance(given, str):
            file, pointer = given, ""
            if file.startswith(DATA_FOLDER):
                self._problem(at, _IS_DATA)
                return None
            if file not in self._files:
                self._problem(at, f"there is no schema {file}")
                return None
            try:
                schema = strict_json.loads(self._files[file], subject="The schema")
            except MalformedJson as error:
                self._problems.add(file, error.message)
                return None
            if not isinstance(schema, dict):
                self._problems.add(file, "a schema of a component is a JSON object")
                return None
        assert not isinstance(schema, str)  # noqa: S101  narrows the type: files were read above
        if schema is None:
            return None
        try:
            check_schema(schema, path=file)
        except DefinitionInvalid as error:
            self._problems.take(error, file, at=pointer)
            return None
        return schema

    def _check_variables(self, component_id: str, prompt: Prompt, schema: Schema) -> None:
        """A variable that a closed input schema does not have can never be given: no request would be answered."""
        if schema.get("additionalProperties") is not False or schema.get("patternProperties"):
            return
        known = list(schema.get("properties", {}))
        for name in sorted(prompt.variables.difference(known)):
            word = re.compile(rf"\b{re.escape(name)}\b".encode())
            lines = enumerate(self._files[prompt.path].splitlines(), start=1)
            self._problems.add(
                prompt.path,
                f"{{{{ {name} }}}} is no field of the input of {component_id}{did_you_mean(name, known)}",
                line=next((number for number, line in lines if word.search(line)), None),
            )

    def _check_policies(self, policies: Mapping[str, Any], at: str) -> None:
        try:
            self._check_comparator(policies)
        except DefinitionInvalid as error:
            for problem in error.details["problems"]:
                self._problem(f"{at}/{problem['path']}", problem["message"])

    def _check_decision_field(self, definition: ComponentDefinition, schema: Schema | None, at: str) -> None:
        field = definition.optimization.decision_field
        properties = (schema or {}).get("properties")
        if field is not None and isinstance(properties, dict) and field.split(".")[0] not in properties:
            self._problem(at, f"the output schema has no field {field}")

    def _golden(
        self, component_id: str, input_validator: Validator | None, output_validator: Validator | None
    ) -> Iterable[GoldenExample]:
        file = golden_path(component_id)
        seen: set[str] = set()
        for number, line in enumerate(self._files.get(file, b"").splitlines(), start=1):
            if not line.strip():
                continue
            example, message = _golden_example(line, str(number))
            if example is not None:
                if example.id in seen:
                    message = f"the id {example.id} is given twice"
                elif input_validator is not None and not input_validator.is_valid(example.input):
                    message = f"input: {input_validator.problems(example.input)[0]['message']}"
                elif output_validator is not None and not output_validator.is_valid(example.expected):
                    message = f"expected: {output_validator.problems(example.expected)[0]['message']}"
                seen.add(example.id)
                yield example
            if message:
                self._problems.add(file, message, line=number)


def check_rules(rules: Iterable[OptimizationRule], file: str, at: str, reader: DefinitionReader) -> None:
    """Every condition compiles as CEL, over a window that is kept."""
    for index, rule in enumerate(rules):
        for name, message in parameter_problems(rule):
            reader.problem(file, f"{at}/{index}/actionParams/{name}", message)
        try:
            compile_rule(rule.condition.expression)
        except ExpressionInvalid as error:
            reader.problem(file, f"{at}/{index}/condition/expression", error.message)


def parameter_problems(rule: OptimizationRule) -> Iterator[tuple[str, str]]:
    """What is wrong with a rule's `actionParams`: name and message."""
    for name, least, most in (("windowS", 1, LONGEST_WINDOW_S), ("hold", 1, _LONGEST_HOLD)):
        given = rule.action_params.get(name, least)
        if isinstance(given, bool) or not isinstance(given, int | float) or not least <= given <= most:
            yield name, f"{name} is a number from {least} to {most}"


def _golden_example(line: bytes, default_id: str) -> tuple[GoldenExample | None, str | None]:
    try:
        value = strict_json.loads(line, subject="This line")
    except MalformedJson as error:
        return None, error.message
    if not isinstance(value, dict) or not isinstance(value.get("input"), dict) or "expected" not in value:
        return None, 'a golden example is {"id", "input": {…}, "expected"}'
    if value.keys() - {"id", "input", "expected"}:
        return None, f"unknown fields: {', '.join(sorted(value.keys() - {'id', 'input', 'expected'}))}"
    return GoldenExample(str(value.get("id", default_id)), value["input"], value["expected"]), None


def _validator(schema: Schema | None) -> Validator | None:
    return None if schema is None else compile_validator(schema)


def _properties_types(schema: Schema | None) -> dict[str, str]:
    properties = (schema or {}).get("properties")
    types = {}
    for name, inner in properties.items() if isinstance(properties, dict) else ():
        declared = inner.get("type") if isinstance(inner, dict) else None
        candidates = [declared] if isinstance(declared, str) else declared if isinstance(declared, list) else []
        scalar = next((kind for kind in ("string", "integer", "number", "boolean") if kind in candidates), None)
        if scalar is not None:
            types[name] = scalar
    return types

"""From `workflows/<workflowId>.yaml` to a plan, or to the list of everything that is wrong with it."""

from collections.abc import Iterator
from functools import lru_cache
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Any

from pydantic import TypeAdapter, ValidationError

from uhlp import strict_json
from uhlp.errors import DefinitionInvalid
from uhlp.jsonschemas import check_schema, compile_validator
from uhlp.models.faults import fault_message
from uhlp.models.workflow import MOST_STEPS, LoopStep, ParallelStep, StepDefinition, WorkflowDefinition, WorkflowId
from uhlp.strict_yaml import YamlDocument
from uhlp.workflows.block_compiler import BlockCompiler
from uhlp.workflows.findings import Findings, pointer_to
from uhlp.workflows.plan import Plan
from uhlp.workflows.scope import Home

MAX_WORKFLOW_BYTES = 256 * 1024
DEEPEST_BLOCKS = 5
_WORKFLOW_ID: TypeAdapter[str] = TypeAdapter(WorkflowId)


@lru_cache(maxsize=256)  # most of a definition is the same from one revision to the next
def parse_workflow(raw: bytes, *, path: str) -> Plan:
    """The plan of a YAML file. `path` (`workflows/<workflowId>.yaml`) names it, and is told in errors.

    Raises DefinitionInvalid with details {"problems": [{"path", "line", "message"}]}: bad YAML, unknown fields; steps
    that are unknown, unreachable, given twice, without an end or in a circle without a bound; bad expressions, and
    names that stand for nothing where they are used. What other files must hold (components, tools, workflows) is
    checked by who knows them.
    """
    document = YamlDocument(raw if len(raw) <= MAX_WORKFLOW_BYTES else b"", path=path)
    findings = Findings(document)
    if len(raw) > MAX_WORKFLOW_BYTES:
        findings.add("", f"a workflow is at most {MAX_WORKFLOW_BYTES:,} bytes: let it call subworkflows")
    findings.raise_any()
    definition = _definition(document, findings)
    workflow_id = _workflow_id(definition, path, findings)
    homes: dict[str, Home] = {}
    for at, step, home in _steps(definition.steps, "/steps", ()):
        if step.id in homes:
            findings.add(f"{at}/id", f"the step `{step.id}` is defined twice")
        if len(home) >= DEEPEST_BLOCKS:
            findings.add(at, f"blocks nest deeper than {DEEPEST_BLOCKS} levels: let it call a subworkflow")
        homes.setdefault(step.id, home)
    if len(homes) > MOST_STEPS:
        findings.add("/steps", f"a workflow has at most {MOST_STEPS} steps: let it call subworkflows")
    _check_input_schema(definition, findings)
    findings.raise_any()
    compiler = BlockCompiler(document, findings, homes=homes)
    root = compiler.root(definition)
    findings.raise_any()
    schema = definition.input_schema
    return Plan(
        workflow_id=workflow_id,
        path=path,
        description=definition.description,
        root=root,
        sha256=sha256(strict_json.canonical(definition.model_dump(mode="json", by_alias=True))).hexdigest(),
        step_ids=tuple(homes),
        input_schema=schema,
        input_validator=None if schema is None else compile_validator(schema),
        component_ids=frozenset(compiler.actions.component_ids),
        tools=frozenset(compiler.actions.tools),
        workflow_ids=frozenset(compiler.actions.workflow_ids),
        callbacks=frozenset(compiler.actions.callbacks),
    )


def _definition(document: YamlDocument, findings: Findings) -> WorkflowDefinition:
    if not isinstance(document.value, dict):
        findings.add("", "a workflow is a mapping with `steps`")
        findings.raise_any()
    try:
        return WorkflowDefinition.model_validate(document.value)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        places = [fault["loc"] for fault in faults]
        for fault in faults:
            here = fault["loc"]
            if fault["type"] == "too_short" and any(one != here and one[: len(here)] == here for one in places):
                continue  # each of its steps is wrong, and was told
            pointer = pointer_to(document.value, here, is_missing=fault["type"] == "missing")
            message = (
                f"`{here[-1]}` is missing" if fault["type"] == "missing" else fault_message(fault, WorkflowDefinition)
            )
            findings.add(pointer, message)
        findings.raise_any()
        raise


def _workflow_id(definition: WorkflowDefinition, path: str, findings: Findings) -> str:
    named = PurePosixPath(path).name.removesuffix(".yaml")
    try:
        _WORKFLOW_ID.validate_python(named)
    except ValidationError:
        findings.add("", f"{named!r} is no workflow's id: letters, digits, _, . and -, beginning with a letter")
    if definition.workflow_id not in (None, named):
        findings.add("/workflowId", f"workflowId is {definition.workflow_id}, but the file is {path}")
    return named


def _steps(steps: tuple[StepDefinition, ...], at: str, home: Home) -> Iterator[tuple[str, StepDefinition, Home]]:
    """Every step with its pointer and its block, in the order of the file."""
    for index, step in enumerate(steps):
        yield f"{at}/{index}", step, home
        if isinstance(step, LoopStep):
            yield from _steps(step.steps, f"{at}/{index}/steps", (*home, step.id))
        elif isinstance(step, ParallelStep):
            for name, branch in step.branches.items():
                yield from _steps(branch, f"{at}/{index}/branches/{name}", (*home, f"{step.id}.{name}"))


def _check_input_schema(definition: WorkflowDefinition, findings: Findings) -> None:
    schema: dict[str, Any] | None = definition.input_schema
    if schema is not None:
        try:
            check_schema(schema, path="inputSchema")
        except DefinitionInvalid as error:
            findings.take(error, "/inputSchema")

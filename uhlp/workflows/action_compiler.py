"""ActionCompiler: what a step does, with its expressions and values."""

from typing import Any

from uhlp.errors import ExpressionInvalid
from uhlp.expressions import WorkflowExpression, compile_workflow_expression
from uhlp.models.workflow import (
    BranchStep,
    ComponentStep,
    FormatResponseStep,
    SubworkflowStep,
    ToolStep,
    WaitStep,
)
from uhlp.workflows.findings import Findings
from uhlp.workflows.plan import (
    Action,
    Branch,
    ComponentCall,
    FormatResponse,
    Subworkflow,
    ToolCall,
    WaitForCallback,
    WaitForTime,
)
from uhlp.workflows.scope import Scope
from uhlp.workflows.value_mapping import Literal, Node, ValueMapping

LITERAL = "literal"
_AS_WRITTEN = "A text as it is written is {literal: …}."


class ActionCompiler:
    """Compiles the actions of one workflow, and gathers what they name of the application's other parts."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self.component_ids: set[str] = set()
        self.tools: set[str] = set()
        self.workflow_ids: set[str] = set()
        self.callbacks: set[str] = set()

    def compile(
        self,
        step: ComponentStep | ToolStep | FormatResponseStep | BranchStep | WaitStep | SubworkflowStep,
        at: str,
        scope: Scope,
    ) -> Action:
        """The action of a step without blocks of its own."""
        match step:
            case ComponentStep():
                self.component_ids.add(step.component_id)
                return ComponentCall(step.type, step.component_id, self._fields(step.input_mapping, at, scope))
            case ToolStep():
                self.tools.add(step.tool)
                return ToolCall(step.tool, self._fields(step.input_mapping, at, scope))
            case SubworkflowStep():
                self.workflow_ids.add(step.workflow_id)
                return Subworkflow(step.workflow_id, self._fields(step.input_mapping, at, scope))
            case FormatResponseStep():
                return self._format_response(step, at, scope)
            case WaitStep():
                return self._wait(step, at, scope)
            case BranchStep():
                return Branch()

    def expression(self, source: str | None, pointer: str, scope: Scope) -> WorkflowExpression | None:
        """The expression at a pointer, when there is one and it is good."""
        if source is None:
            return None
        try:
            expression = compile_workflow_expression(source)
        except ExpressionInvalid as error:
            self._findings.add(pointer, error.message)
            return None
        fault = scope.fault(expression)
        if fault is not None:
            self._findings.add(pointer, fault)
            return None
        return expression

    def _needed(self, source: str, pointer: str, scope: Scope) -> WorkflowExpression:
        return self.expression(source, pointer, scope) or compile_workflow_expression("null")

    def _format_response(self, step: FormatResponseStep, at: str, scope: Scope) -> FormatResponse:
        is_http = step.status_code is not None or step.headers is not None
        result_format = step.result_format or ("httpResponse" if is_http else "generic")
        if result_format != "httpResponse" and step.headers is not None:
            self._findings.add(f"{at}/headers", f"headers go with `resultFormat: httpResponse`, not {result_format}")
        if result_format == "generic" and step.status_code is not None:
            self._findings.add(f"{at}/statusCode", "statusCode goes with `resultFormat: httpResponse` or error")
        if isinstance(step.status_code, int) and not 200 <= step.status_code <= 599:
            self._findings.add(f"{at}/statusCode", "statusCode is from 200 to 599")
        return FormatResponse(
            result_format,
            body=self._value(step.body, f"{at}/body", scope),
            status_code=None if step.status_code is None else self._value(step.status_code, f"{at}/statusCode", scope),
            headers=None
            if step.headers is None
            else self._value(step.headers, f"{at}/headers", scope, are_fields=True),
        )

    def _wait(self, step: WaitStep, at: str, scope: Scope) -> WaitForTime | WaitForCallback:
        callback = step.callback
        if callback is not None:
            self.callbacks.add(callback.name)
            correlation = self._needed(callback.correlation, f"{at}/callback/correlation", scope)
            return WaitForCallback(callback.name, correlation, callback.timeout_ms / 1000)
        if step.until is not None:
            return WaitForTime(until=self._needed(step.until, f"{at}/until", scope))
        return WaitForTime(duration_ms=self._value(step.duration_ms, f"{at}/durationMs", scope))

    def _fields(self, mapping: Any, at: str, scope: Scope) -> ValueMapping:
        pointer = f"{at}/inputMapping"
        if not isinstance(mapping, dict | str):
            self._findings.add(pointer, "inputMapping is a map of fields, or one expression that gives such a map")
        return self._value(mapping, pointer, scope, are_fields=True)

    def _value(self, value: Any, pointer: str, scope: Scope, *, are_fields: bool = False) -> ValueMapping:
        """The mapping of what was written; of `are_fields` the outermost map is never a literal."""
        return ValueMapping(self._node(value, pointer, scope, may_be_literal=not are_fields))

    def _node(self, value: Any, pointer: str, scope: Scope, *, may_be_literal: bool = True) -> Node:
        if isinstance(value, str):
            return self._text(value, pointer, scope)
        if isinstance(value, list | tuple):
            return tuple(self._node(item, f"{pointer}/{index}", scope) for index, item in enumerate(value))
        if isinstance(value, dict):
            if may_be_literal and value.keys() == {LITERAL}:
                self._check_literal(value[LITERAL], pointer)
                return Literal(value[LITERAL])
            return {key: self._node(item, f"{pointer}/{_escaped(key)}", scope) for key, item in value.items()}
        self._check_literal(value, pointer)
        return Literal(value)

    def _text(self, source: str, pointer: str, scope: Scope) -> Node:
        try:
            compile_workflow_expression(source)
        except ExpressionInvalid as error:
            self._findings.add(pointer, f"{error.message} {_AS_WRITTEN}")
            return Literal(None)
        return self.expression(source, pointer, scope) or Literal(None)

    def _check_literal(self, value: Any, pointer: str) -> None:
        pending = [value]
        while pending:
            node = pending.pop()
            if isinstance(node, dict):
                pending.extend(node.values())
            elif isinstance(node, list):
                pending.extend(node)
            elif isinstance(node, int) and not -(2**63) <= node < 2**64:
                self._findings.add(pointer, "a number is within 64 bits")


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")

"""Workflows: YAML files read, checked and compiled into plans; `execution` interprets them (contracts §1)."""

from uhlp.workflows.call_check import all_called, call_faults
from uhlp.workflows.plan import (
    Action,
    Block,
    Branch,
    ComponentCall,
    FormatResponse,
    Loop,
    Parallel,
    Plan,
    Retries,
    Step,
    Subworkflow,
    ToolCall,
    Transition,
    WaitForCallback,
    WaitForTime,
)
from uhlp.workflows.value_mapping import ValueMapping
from uhlp.workflows.workflow_parser import parse_workflow

__all__ = [
    "Action",
    "Block",
    "Branch",
    "ComponentCall",
    "FormatResponse",
    "Loop",
    "Parallel",
    "Plan",
    "Retries",
    "Step",
    "Subworkflow",
    "ToolCall",
    "Transition",
    "ValueMapping",
    "WaitForCallback",
    "WaitForTime",
    "all_called",
    "call_faults",
    "parse_workflow",
]

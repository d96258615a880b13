"""Plans made by hand, scripted components, and runs of workflows over a real journal."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.unit.execution.execution_parts import component_of
from uhlp.clock import FakeClock
from uhlp.execution.workflow.attempts import Attempts
from uhlp.execution.workflow.call import WorkflowCall
from uhlp.execution.workflow.config import WorkflowSettings
from uhlp.execution.workflow.interpreter import Interpreter
from uhlp.execution.workflow.open_runs import OpenRuns
from uhlp.execution.workflow.run_journal import RunJournal
from uhlp.execution.workflow.run_walks import RunWalks
from uhlp.execution.workflow.step_calls import StepCalls
from uhlp.execution.workflow.timers import Timers
from uhlp.execution.workflow.turns import Turns
from uhlp.execution.workflow.waiting import Waiting
from uhlp.execution.workflow.waits import Waits
from uhlp.execution.workflow.workflow_runs import WorkflowRuns
from uhlp.expressions.expression_share import ExpressionShare
from uhlp.expressions.workflow_expression import compile_workflow_expression
from uhlp.metering import NullMeter
from uhlp.models.definition import AppDefinition
from uhlp.registry.route_table import RouteTable
from uhlp.registry.snapshot import AppSnapshot
from uhlp.tools.session import Usage
from uhlp.workflows import (
    Block,
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
    ValueMapping,
    WaitForCallback,
    WaitForTime,
)
from uhlp.workflows.value_mapping import Literal

END = Transition(None)


def expression(source: str) -> Any:
    return compile_workflow_expression(source)


def mapping(value: Any) -> ValueMapping:
    """`=` begins an expression."""

    def node(one: Any) -> Any:
        if isinstance(one, dict):
            return {key: node(item) for key, item in one.items()}
        if isinstance(one, list):
            return tuple(node(item) for item in one)
        return expression(one[1:]) if isinstance(one, str) and one.startswith("=") else Literal(one)

    return ValueMapping(node(value))


def ask(component: str, **given: Any) -> ComponentCall:
    return ComponentCall("jit", component, mapping(given))


def tool(name: str, **given: Any) -> ToolCall:
    return ToolCall(name, mapping(given))


def block(*steps: Step) -> Block:
    return Block(steps[0].step_id, {step.step_id: step for step in steps})


def step(step_id: str, action: Any, then: str | None = None, **more: Any) -> Step:
    made = {"on_success": (Transition(then),), **more}
    return Step(step_id, action, **made)


def sequence(*actions: tuple[str, Any], **of_each: Any) -> Block:
    """Steps one after the other."""
    following = [*[step_id for step_id, _ in actions[1:]], None]
    return block(
        *(step(step_id, action, then, **of_each) for (step_id, action), then in zip(actions, following, strict=True))
    )


def plan_of(root: Block, workflow_id: str = "order") -> Plan:
    return Plan(workflow_id, f"workflows/{workflow_id}.yaml", "", root, "0" * 64, tuple(_ids(root)))


def _ids(one: Block) -> list[str]:
    found = []
    for each in one.steps.values():
        found.append(each.step_id)
        inner = each.action
        blocks = (
            [inner.body]
            if isinstance(inner, Loop)
            else (list(inner.branches.values()) if isinstance(inner, Parallel) else [])
        )
        for below in blocks:
            found += _ids(below)
    return found


def app_of(root: Block, *, others: tuple[Plan, ...] = (), revision: str = "a" * 40, **definition: Any) -> AppSnapshot:
    """The application `shop`, whose component `order` runs this workflow."""
    plan = plan_of(root)
    from dataclasses import replace

    component = replace(
        component_of(componentId="order", handlerType="WORKFLOW", taskDetails={"workflowId": "order"}, **definition),
        prompt_artifact=None, handler_artifact=None, workflow=plan, configuration={"redact": ["card"]},
    )  # fmt: skip
    return AppSnapshot(
        app_id="shop", revision=revision, definition=AppDefinition.model_validate({"appId": "shop"}),
        components={"order": component}, routes=RouteTable([]), api_keys={},
        workflows={one.workflow_id: one for one in (plan, *others)},
    )  # fmt: skip


@dataclass(frozen=True)
class Asked:
    component_id: str
    input: dict[str, Any]
    details: dict[str, Any]
    timeout_s: float | None


Answers = Callable[[Asked], Any] | Callable[[Asked], Awaitable[Any]]


class ScriptedComponents:
    """Answers by component; a function is asked, an error raised. `asked` are all requests in their order."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[Asked] = []

    async def ask(
        self, app_id: str, component_id: str, input: dict[str, Any], *, source: str, source_details: dict[str, Any],  # noqa: A002
        trace_id: str, trace: Any, session_id: str | None, user_info: dict[str, Any] | None, timeout_s: float | None,
    ) -> Any:  # fmt: skip
        one = Asked(component_id, input, source_details, timeout_s)
        self.asked.append(one)
        answer = self.answers[component_id]
        if callable(answer):
            answer = answer(one)
            if asyncio.iscoroutine(answer):
                answer = await answer
        if isinstance(answer, Exception):
            raise answer
        usage = Usage(tokens_in=1, tokens_out=2, cost_usd=0.25)
        return SimpleNamespace(
            result=SimpleNamespace(result_type="generic", data=answer, usage=usage), implementation="jit@v1"
        )

    @property
    def order(self) -> list[str]:
        return [one.component_id for one in self.asked]


class ScriptedTools:
    def __init__(self, clock: Any, **answers: Any) -> None:
        self.clock = clock
        self.answers = answers
        self.asked: list[tuple[str, Any, Any]] = []

    async def call_tool(self, name: str, params: dict[str, Any], context: Any) -> dict[str, Any]:
        self.asked.append((name, params, context))
        answer = self.answers[name.rpartition(".")[2]]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Registry:
    """Snapshots by revision; the last one is in service. `refusal` is raised instead; `refused` says that it was."""

    def __init__(self, *apps: AppSnapshot) -> None:
        self.apps = list(apps)
        self.compiled: list[str] = []
        self.refusal: Exception | None = None
        self.refused = False

    def snapshot(self, app_id: str) -> AppSnapshot:
        if self.refusal is not None:
            self.refused = True
            raise self.refusal
        return self.apps[-1]

    async def snapshot_at(self, app_id: str, revision: str) -> AppSnapshot:
        self.compiled.append(revision)
        await asyncio.sleep(0)
        return next(app for app in self.apps if app.revision == revision)


class Parts:
    """Runs of workflows over `path`; made anew, they are a server that starts again."""

    def __init__(
        self, path: Path, *apps: AppSnapshot, components: ScriptedComponents, tools: Any = None,
        clock: FakeClock | None = None, journal: Any = None, park_within_s: float = 5.0, **settings: Any,
    ) -> None:  # fmt: skip
        self.clock = clock or FakeClock()
        self.app = apps[-1]
        self.registry = Registry(*apps)
        self.components = components
        self.tools = tools or ScriptedTools(self.clock)
        self.draining = asyncio.Event()
        self.journal = journal or RunJournal(path)
        timers, meter = Timers(clock=self.clock), NullMeter()
        waits = Waits(journal=self.journal, timers=timers, clock=self.clock)
        turns = Turns(clock=self.clock, timers=timers, share=ExpressionShare(clock=self.clock))
        interpreter = Interpreter(
            attempts=Attempts(
                journal=self.journal, timers=timers, waits=waits, clock=self.clock, meter=meter, max_output_bytes=10_000
            ),
            calls=StepCalls(components=lambda: components, tools=self.tools, clock=self.clock),
            waiting=Waiting(journal=self.journal, waits=waits, turns=turns, clock=self.clock),
            turns=turns,
            clock=self.clock,
            deployment_mode="development",
        )
        given = WorkflowSettings(**settings)
        open_runs = OpenRuns(journal=self.journal, waits=waits, timers=timers, clock=self.clock, meter=meter)
        walks = RunWalks(
            journal=self.journal, interpreter=interpreter, open_runs=open_runs, registry=self.registry,
            most_steps=given.most_steps, max_run_bytes=given.max_run_bytes, park_within_s=park_within_s,
        )  # fmt: skip
        self.runs = WorkflowRuns(
            journal=self.journal, open_runs=open_runs, walks=walks, waits=waits, timers=timers,
            settings=given, clock=self.clock, meter=meter, draining=self.draining,
        )  # fmt: skip

    def call(self, given: dict[str, Any] | None = None, **fields: Any) -> WorkflowCall:
        made = {
            "app": self.app, "component": self.app.components["order"], "input": given or {"item": "lamp"},
            "trace_id": "t1", "timeout_s": 20.0, **fields,
        }  # fmt: skip
        return WorkflowCall(**made)

    async def until(self, condition: Callable[[], Any]) -> None:
        """Let the loop turn, the clock's cycles included, until `condition` holds; at most 10 s."""
        async with asyncio.timeout(30):
            while not condition():
                await self.runs.run_cycle()
                await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def running(parts: Parts):
    """Open, with the loop that works on runs nobody attends; ended as a server ends."""
    await parts.runs.open()
    drives = asyncio.create_task(parts.runs.run_walks())
    try:
        yield parts
    finally:
        drives.cancel()
        await asyncio.wait({drives})
        await parts.runs.aclose()


__all__ = [
    "END", "Asked", "FormatResponse", "Loop", "Parallel", "Parts", "Registry", "Retries", "ScriptedComponents",
    "ScriptedTools", "Subworkflow", "Transition", "WaitForCallback", "WaitForTime", "app_of", "ask", "block",
    "expression", "mapping", "plan_of", "running", "sequence", "step", "tool",
]  # fmt: skip

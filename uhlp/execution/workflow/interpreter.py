"""Interpreter: walks through a plan (workflows.plan says how one is run).

A walk always starts at the beginning. What the journal knows of the run is taken from there instead of being done
again, so that a walk after a crash or a wait comes to where the last one stood, on the same way.
"""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any, assert_never

from uhlp.clock import Clock
from uhlp.errors import ExpressionFailed, InputInvalid
from uhlp.execution.workflow.attempts import Attempts, Work
from uhlp.execution.workflow.branches import run_branches
from uhlp.execution.workflow.formatting import formatted
from uhlp.execution.workflow.live_run import LiveRun, RunFails
from uhlp.execution.workflow.outcome import Outcome, failed, failed_with, naming_its_step
from uhlp.execution.workflow.scope import Scope
from uhlp.execution.workflow.step_calls import StepCalls, StepPlace, told_error
from uhlp.execution.workflow.turns import Turns
from uhlp.execution.workflow.waiting import Waiting
from uhlp.rfc3339 import rfc3339
from uhlp.sandbox.untrusted import MAX_DEPTH, is_deeper_than
from uhlp.workflows import (
    Block,
    Branch,
    ComponentCall,
    FormatResponse,
    Loop,
    Parallel,
    Step,
    Subworkflow,
    ToolCall,
    Transition,
    WaitForCallback,
    WaitForTime,
)
from uhlp.workflows.plan import ITERATIONS_EXHAUSTED, STEPS_EXHAUSTED, VISITS_EXHAUSTED

Names = Mapping[str, Any]

STEPS_AT_A_TIME = 8
"""After so many the event loop turns: a few milliseconds of steps that only compute, or that the journal knows."""


class Interpreter:
    """Keeps nothing of a run; one instance a server."""

    def __init__(
        self,
        *,
        attempts: Attempts,
        calls: StepCalls,
        waiting: Waiting,
        turns: Turns,
        clock: Clock,
        deployment_mode: str,
    ) -> None:
        self._attempts = attempts
        self._calls = calls
        self._waiting = waiting
        self._turns = turns
        self._clock = clock
        self._deployment_mode = deployment_mode

    async def walk(self, run: LiveRun) -> Outcome:
        """How the run ended. Raises Parked when it has not, and goes on later."""
        try:
            return await self._block(run, run.plan.root, self._root(run))
        except RunFails as end:
            return end.outcome

    def _root(self, run: LiveRun) -> Scope:
        record = run.record
        return Scope(
            run.plan,
            {
                "trigger": {
                    "input": record.input,
                    "source": record.source,
                    "details": record.source_details,
                    "userInfo": record.user_info,
                },
                "context": {
                    "appId": record.app_id,
                    "componentId": record.component_id,
                    "revision": record.revision,
                    "deploymentMode": self._deployment_mode,
                    "configuration": run.component.configuration,
                },
                "workflow": {
                    "workflowId": record.workflow_id,
                    "runId": record.run_id,
                    "startedAt": rfc3339(record.started),
                },
            },
        )

    async def _block(self, run: LiveRun, block: Block, scope: Scope) -> Outcome:
        visits = dict.fromkeys(block.steps, 0)
        step_id = block.start
        while True:
            step = block.steps[step_id]
            visits[step_id] += 1
            if step.max_visits is not None and visits[step_id] > step.max_visits:
                return failed_with(VISITS_EXHAUSTED, f"{step_id} was to be entered more than {step.max_visits} times.")
            if not run.enter_step():
                raise RunFails(failed_with(STEPS_EXHAUSTED, "The run has entered as many steps as a run may."))
            if run.entered_steps % STEPS_AT_A_TIME == 0:
                await asyncio.sleep(0)  # steps that only compute would hold everybody else
            visit = visits[step_id]
            now = self._attempts.entered_at(run, scope.path(step, visit))
            outcome = naming_its_step(await self._step(run, step, scope, visit, scope.names(now)), step_id)
            scope.note(step_id, outcome, visit)
            outcome, following = await self._transition(run, step, scope, outcome, visit, scope.names(now))
            if following is None or following.next is None:
                return outcome if following is None else _block_ended(outcome)
            step_id = following.next

    async def _step(self, run: LiveRun, step: Step, scope: Scope, visit: int, names: Names) -> Outcome:
        action, path = step.action, scope.path(step, visit)
        if isinstance(action, WaitForTime | WaitForCallback):
            return await self._waiting.wait(run, step.step_id, path, action, names)
        if isinstance(action, ComponentCall | ToolCall):
            work = await self._call(run, step, scope, visit, action, names)
        elif isinstance(action, Loop):
            work = Work(kind="loop", run=partial(self._loop, run, scope, path, action, names))
        elif isinstance(action, Parallel):
            work = Work(kind="parallel", run=partial(self._parallel, run, scope, path, action))
        elif isinstance(action, Subworkflow):
            work = self._subworkflow(run, step, scope, path, action, names)
        elif isinstance(action, FormatResponse):
            work = Work(kind="formatResponse", run=partial(self._format, run, action, names))
        elif isinstance(action, Branch):
            work = Work(kind="branch", run=_nothing)
        else:
            assert_never(action)
        return await self._attempts.run(run, step, path, work)

    async def _call(
        self, run: LiveRun, step: Step, scope: Scope, visit: int, action: ComponentCall | ToolCall, names: Names
    ) -> Work:
        kind = action.kind if isinstance(action, ComponentCall) else "mcp"
        try:
            mapping = action.input if isinstance(action, ComponentCall) else action.arguments
            given = await self._turns.value(run, mapping, names)
            key = scope.idempotency_key(run.record.run_id, step, visit)
            if step.idempotency_key is not None:
                key = str(await self._turns.value(run, step.idempotency_key, names))
        except ExpressionFailed as error:
            return Work(kind=kind, run=partial(_raise, error))
        if not isinstance(given, dict):
            return Work(kind=kind, run=partial(_raise, InputInvalid("The input of a step is an object.")))
        if is_deeper_than(given, MAX_DEPTH):
            refusal = InputInvalid(f"The input of a step is nested at most {MAX_DEPTH} levels deep.")
            return Work(kind=kind, run=partial(_raise, refusal))
        place = StepPlace(workflow_id=scope.plan.workflow_id, step_id=step.step_id, idempotency_key=key)

        async def ask(attempt: int, timeout_s: float | None) -> Outcome:
            if isinstance(action, ToolCall):
                return await self._calls.tool(run, place, action.tool, given, timeout_s=timeout_s)
            return await self._calls.component(
                run, place, action.component_id, given, attempt=attempt, timeout_s=timeout_s
            )

        asked = run.app.components.get(action.component_id) if isinstance(action, ComponentCall) else None
        redact = () if asked is None else tuple(asked.configuration.get("redact", ()))
        return Work(kind=kind, run=ask, given=given, reaches_out=True, redact=redact)

    async def _loop(
        self, run: LiveRun, scope: Scope, path: str, action: Loop, names: Names, attempt: int, timeout_s: float | None
    ) -> Outcome:
        path = _inside(path, attempt)
        items = None if action.over is None else await self._turns.value(run, action.over, names)
        if items is not None and not isinstance(items, list):
            raise ExpressionFailed("What a loop goes over is a list.")
        most = action.max_iterations
        if items is not None and len(items) > most:
            return failed_with(ITERATIONS_EXHAUSTED, f"The loop has {len(items)} elements; {most} is its bound.")
        outputs: list[Any] = []
        seen: Mapping[str, Any] = scope.steps
        while True:
            index = len(outputs)
            if items is not None and index == len(items):
                break
            seen_names = {**names, "steps": seen, "index": index}
            if not await self._turns.holds(run, action.condition, seen_names):
                break
            if index >= most:
                return failed_with(ITERATIONS_EXHAUSTED, f"The loop's condition still holds after {most} iterations.")
            iteration = scope.iteration(path, index, **({} if items is None else {"item": items[index]}))
            outcome = await self._block(run, action.body, iteration)
            if outcome.error is not None:
                return outcome
            outputs.append(outcome.output)
            seen = iteration.steps
        return Outcome(output=outputs)

    async def _parallel(
        self, run: LiveRun, scope: Scope, path: str, action: Parallel, attempt: int, timeout_s: float | None
    ) -> Outcome:
        path = _inside(path, attempt)
        return await run_branches(
            run,
            {
                name: partial(self._block, run, block, scope.branch(path, name))
                for name, block in action.branches.items()
            },
            join=action.join,
            max_concurrency=action.max_concurrency,
        )

    def _subworkflow(
        self, run: LiveRun, step: Step, scope: Scope, path: str, action: Subworkflow, names: Names
    ) -> Work:
        plan = run.app.workflows.get(action.workflow_id)

        async def call(attempt: int, timeout_s: float | None) -> Outcome:
            given = await self._turns.value(run, action.input, names)
            if plan is None:
                raise InputInvalid(f"The application has no workflow {action.workflow_id}.")
            _check_input(plan.workflow_id, plan.input_validator, given)
            inner = scope.subworkflow(_inside(path, attempt), step, plan, given)
            outcome = await self._block(run, plan.root, inner)
            if outcome.error is None and outcome.result_format == "error":
                return told_error(outcome.output)
            return outcome

        return Work(kind="subworkflow", run=call)

    async def _format(
        self, run: LiveRun, action: FormatResponse, names: Names, attempt: int, timeout_s: float | None
    ) -> Outcome:
        return await formatted(action, partial(self._turns.value, run, names=names))

    async def _transition(
        self, run: LiveRun, step: Step, scope: Scope, outcome: Outcome, visit: int, names: Names
    ) -> tuple[Outcome, Transition | None]:
        """Where to go from a step that ended with `outcome`; None: its block fails with the outcome's error."""
        if outcome.error is None:
            try:
                for one in step.on_success:
                    if await self._turns.holds(run, one.condition, names):
                        return outcome, one
                raise ExpressionFailed(f"No transition of {step.step_id} applies.")
            except ExpressionFailed as error:
                outcome = naming_its_step(failed(error), step.step_id)
                scope.note(step.step_id, outcome, visit)
        names = {**names, "error": outcome.error}
        try:
            for one in step.on_failure:
                is_meant = one.codes is None or outcome.code in one.codes
                if is_meant and await self._turns.holds(run, one.condition, names):
                    return outcome, one
        except ExpressionFailed as error:
            return naming_its_step(failed(error), step.step_id), None
        return outcome, None


def _block_ended(outcome: Outcome) -> Outcome:
    """A block that ends with a failed step whose transitions took the failure has no output."""
    return Outcome() if outcome.error is not None else outcome


def _inside(path: str, attempt: int) -> str:
    """The path of what is inside a step: each attempt runs it anew."""
    return path if attempt == 1 else f"{path}~{attempt}"


def _check_input(workflow_id: str, validator: Any, given: Any) -> None:
    if not isinstance(given, dict):
        raise InputInvalid(f"The input of {workflow_id} is an object.")
    if validator is not None and not validator.is_valid(given):
        raise InputInvalid(
            f"The input does not match the input schema of {workflow_id}.",
            details={"problems": validator.problems(given)},
        )


async def _nothing(attempt: int, timeout_s: float | None) -> Outcome:
    return Outcome()


async def _raise(error: Exception, attempt: int, timeout_s: float | None) -> Outcome:
    raise error

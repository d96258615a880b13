"""Running workflows, put together."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

from uhlp.execution.workflow.attempts import Attempts
from uhlp.execution.workflow.interpreter import Interpreter
from uhlp.execution.workflow.open_runs import OpenRuns
from uhlp.execution.workflow.run_journal import RunJournal
from uhlp.execution.workflow.run_walks import RunWalks
from uhlp.execution.workflow.step_calls import ComponentRequests, StepCalls
from uhlp.execution.workflow.timers import Timers
from uhlp.execution.workflow.turns import Turns
from uhlp.execution.workflow.waiting import Waiting
from uhlp.execution.workflow.waits import Waits
from uhlp.execution.workflow.workflow_runs import WorkflowRuns
from uhlp.wiring.foundation import Foundation


async def open_workflows(
    ground: Foundation, components: Callable[[], ComponentRequests], stack: AsyncExitStack, *, draining: asyncio.Event
) -> WorkflowRuns:
    """Take up what the last server left; nothing runs before the loops do. `stack` lets go of the journal."""
    settings, clock, metrics = ground.settings.workflows, ground.clock, ground.metrics
    journal = RunJournal(
        ground.data_dir / "workflows.db",
        kept_value_bytes=settings.kept_value_bytes,
        survive_power_cuts=settings.survive_power_cuts,
    )
    timers = Timers(clock=clock)
    waits = Waits(journal=journal, timers=timers, clock=clock)
    turns = Turns(clock=clock, timers=timers, share=ground.expression_share)
    interpreter = Interpreter(
        attempts=Attempts(
            journal=journal,
            timers=timers,
            waits=waits,
            clock=clock,
            meter=metrics,
            max_output_bytes=settings.max_output_bytes,
        ),
        calls=StepCalls(components=components, tools=ground.namespaces, clock=clock),
        waiting=Waiting(journal=journal, waits=waits, turns=turns, clock=clock),
        turns=turns,
        clock=clock,
        deployment_mode=ground.settings.deployment_mode,
    )
    open_runs = OpenRuns(journal=journal, waits=waits, timers=timers, clock=clock, meter=metrics)
    walks = RunWalks(
        journal=journal,
        interpreter=interpreter,
        open_runs=open_runs,
        registry=ground.registry,
        most_steps=settings.most_steps,
        max_run_bytes=settings.max_run_bytes,
    )
    runs = WorkflowRuns(
        journal=journal, open_runs=open_runs, walks=walks, waits=waits, timers=timers, settings=settings, clock=clock,
        meter=metrics, draining=draining,
    )  # fmt: skip
    stack.push_async_callback(runs.aclose)
    await runs.open()
    return runs

"""Branches of a parallel step, run beside each other."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Literal

from uhlp.execution.workflow.live_run import LiveRun, Parked
from uhlp.execution.workflow.outcome import Outcome, failed_with
from uhlp.workflows.plan import BRANCHES_FAILED

RunBranch = Callable[[], Coroutine[Any, Any, Outcome]]
Join = Literal["all", "any"]


async def run_branches(run: LiveRun, branches: Mapping[str, RunBranch], *, join: Join, max_concurrency: int) -> Outcome:
    """The outcome of the parallel step; none of its branches runs any more then. Raises RunStops when one does.

    A branch that stops because the run is to be parked lets the others come to the end of what they do.
    """
    turns = asyncio.Semaphore(max_concurrency)

    async def one(branch: RunBranch) -> Outcome:
        async with turns:
            return await branch()

    tasks = {asyncio.create_task(one(branch)): name for name, branch in branches.items()}
    run.moving += len(tasks) - 1  # this one stands while they move
    left, is_parked, ended = set(tasks), False, dict[str, Outcome]()
    try:
        while left:
            done, _ = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            for task in [task for task in tasks if task in done]:
                left.discard(task)
                run.moving -= 1
                try:
                    ended[tasks[task]] = task.result()
                except Parked:
                    is_parked = True
            if (outcome := _joined(list(branches), ended, join)) is not None:
                return outcome
            if run.moving == 0 and (is_parked or run.is_alone or run.is_parking):
                break
        run.is_parking = True
        raise Parked
    finally:
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
        for task in tasks:
            if task.done() and not task.cancelled():
                task.exception()  # one is told, and the others are not unheard of
        run.moving += 1 - len(left)


def _joined(names: list[str], ended: Mapping[str, Outcome], join: Join) -> Outcome | None:
    """None while it depends on branches that have not ended."""
    good = {name: ended[name].output for name in names if name in ended and ended[name].error is None}
    bad = {name: ended[name] for name in names if name in ended and ended[name].error is not None}
    if join == "all":
        if bad:
            return next(iter(bad.values()))
        return Outcome(output=good) if len(good) == len(names) else None
    if good:
        return Outcome(output=dict([next(iter(good.items()))]))
    if len(bad) == len(names):
        errors = {name: one.error for name, one in bad.items()}
        return failed_with(BRANCHES_FAILED, "Every branch has failed.", details=errors)
    return None

"""Scope: what expressions see at one place of a run (workflows.plan lists the names)."""

from collections.abc import Mapping
from typing import Any

from uhlp.execution.workflow.outcome import Outcome
from uhlp.rfc3339 import rfc3339
from uhlp.workflows import Plan, Step

_NOT_RUN: dict[str, Any] = {"status": "not_run", "output": None, "error": None, "visits": 0}


class Scope:
    """One block that is being run: the root, an iteration, a branch, a subworkflow.

    `prefix` leads to it in the run's paths, `key` and `marks` in its idempotency keys: the index of each loop around
    it, and which visit of a step around it this is, from the second on. `names` are all but `context.now` and
    `steps`, which belong to the moment and to the block.
    """

    __slots__ = ("_context", "_names", "key", "marks", "plan", "prefix", "steps")

    def __init__(
        self,
        plan: Plan,
        names: Mapping[str, Any],
        *,
        prefix: str = "",
        key: str = "",
        marks: tuple[str, ...] = (),
        steps: Mapping[str, Any] | None = None,
    ) -> None:
        self.plan = plan
        self.prefix = prefix
        self.key = key
        self.marks = marks
        self.steps: dict[str, Any] = dict(steps) if steps is not None else dict.fromkeys(plan.step_ids, _NOT_RUN)
        self._names = dict(names)
        self._context = names["context"]

    def names(self, now: float, **more: Any) -> dict[str, Any]:
        """The names at the moment `now`; `steps` follows what is noted later."""
        context = {**self._context, "now": rfc3339(now)}
        return {**self._names, "steps": self.steps, **more, "context": context}

    def note(self, step_id: str, outcome: Outcome, visits: int) -> None:
        """What later steps of this block see of one that has ended."""
        self.steps[step_id] = {
            "status": "succeeded" if outcome.error is None else "failed",
            "output": outcome.output if outcome.error is None else None,
            "error": outcome.error,
            "visits": visits,
        }

    def path(self, step: Step, visit: int) -> str:
        """Where a step stands in the run."""
        return f"{self.prefix}{step.step_id}" + (f"#{visit}" if visit > 1 else "")

    def idempotency_key(self, run_id: str, step: Step, visit: int) -> str:
        """What names this execution to what it calls, when the step does not say it itself."""
        marks = "".join(f":{mark}" for mark in self.marks)
        return f"{run_id}:{self.key}{step.step_id}{marks}" + (f":{visit}" if visit > 1 else "")

    def iteration(self, path: str, index: int, **item: Any) -> "Scope":
        """One iteration of the loop at `path`, which starts with nothing of the one before."""
        return Scope(
            self.plan,
            {**self._names, **item, "index": index},
            prefix=f"{path}[{index}]/",
            key=self.key,
            marks=(*self.marks, f"{index}{_later_visit(path)}"),
            steps=self.steps,
        )

    def branch(self, path: str, name: str) -> "Scope":
        """One branch of the parallel step at `path`."""
        later = _later_visit(path)
        marks = (*self.marks, later) if later else self.marks
        return Scope(self.plan, self._names, prefix=f"{path}.{name}/", key=self.key, marks=marks, steps=self.steps)

    def subworkflow(self, path: str, step: Step, plan: Plan, given: dict[str, Any]) -> "Scope":
        """The root of another workflow, called at `path` with the input `given`."""
        names = {
            "trigger": {**self._names["trigger"], "input": given},
            "context": self._context,
            "workflow": {**self._names["workflow"], "workflowId": plan.workflow_id},
        }
        marks = "".join(f"{mark}/" for mark in self.marks)
        return Scope(plan, names, prefix=f"{path}/", key=f"{self.key}{step.step_id}{_later_visit(path)}/{marks}")


def _later_visit(path: str) -> str:
    """The `#2` at the end of a step's path, when this is not its first visit."""
    _, mark, visit = path.rpartition("/")[2].partition("#")
    return mark + visit

"""Scope: which names an expression may use where it stands in a workflow."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from uhlp.expressions import WorkflowExpression
from uhlp.models.faults import did_you_mean

FIELDS = {
    "trigger": ("input", "source", "details", "userInfo"),
    "context": ("appId", "componentId", "revision", "deploymentMode", "configuration", "now"),
    "workflow": ("workflowId", "runId", "startedAt"),
    "error": ("code", "message", "details", "retryable"),
}
"""The fields of each name; plan.py says what is in them."""

STEP_FIELDS = ("status", "output", "error", "visits")


Home = tuple[str, ...]
"""The block that a step stands in: () is the root, ("each",) the body of the loop `each`, ("each", "both.left") the
branch `left` of the parallel step `both` in it."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What may be named by an expression of the step `step_id`. `homes` names the block of every step of the workflow,
    `visible` are the steps that may have run when the expression is evaluated."""

    homes: Mapping[str, Home]
    step_id: str = ""
    visible: frozenset[str] = frozenset()
    has_item: bool = False
    has_index: bool = False
    has_error: bool = False

    def of_failures(self) -> "Scope":
        """The scope of what is asked of a failed step's error."""
        return replace(self, has_error=True)

    def fault(self, expression: WorkflowExpression) -> str | None:
        """What is wrong with a name in it; None when all stand for something."""
        return next((fault for path in expression.paths if (fault := self._fault(path)) is not None), None)

    def _fault(self, path: tuple[str, ...]) -> str | None:
        root = path[0]
        if root == "steps":
            return self._step_fault(path)
        for name, is_here, where in (
            ("item", self.has_item, "the steps of a loop with `forEach`"),
            ("index", self.has_index, "loops"),
            ("error", self.has_error, "conditions after a failure"),
        ):
            if root == name and not is_here:
                return f"`{name}` is known in {where} alone"
        known = FIELDS.get(root, ())
        if known and len(path) > 1 and path[1] not in known:
            return f"{root} has no field `{path[1]}`{did_you_mean(path[1], known)}"
        return None

    def _step_fault(self, path: tuple[str, ...]) -> str | None:
        named = path[1]
        if named not in self.homes:
            return f"there is no step `{named}`{did_you_mean(named, tuple(self.homes))}"
        if named not in self.visible:
            return self._hidden(named)
        if len(path) > 2 and path[2] not in STEP_FIELDS:
            return f"a step has no field `{path[2]}`: write steps.{named}.output.{path[2]}"
        return None

    def _hidden(self, named: str) -> str:
        theirs, mine = self.homes[named], self.homes[self.step_id]
        shared = next((i for i, (a, b) in enumerate(zip(theirs, mine, strict=False)) if a != b), len(mine))
        if len(theirs) <= shared:
            return f"the step `{named}` cannot have run before `{self.step_id}`"
        inside = theirs[shared].partition(".")[0]
        if any(block.partition(".")[0] == inside for block in mine):
            return f"the step `{named}` is in another branch of `{inside}`, which is seen after `{inside}` alone"
        return f"the step `{named}` is seen from inside `{inside}` alone: use steps.{inside}.output"

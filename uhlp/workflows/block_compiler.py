"""BlockCompiler: the steps of a block, checked as a whole and compiled one by one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from uhlp.models.faults import did_you_mean
from uhlp.models.workflow import (
    BranchStep,
    LoopStep,
    ParallelStep,
    RetriesDefinition,
    StepDefinition,
    WorkflowDefinition,
)
from uhlp.strict_yaml import YamlDocument
from uhlp.workflows.action_compiler import ActionCompiler
from uhlp.workflows.findings import Findings
from uhlp.workflows.flow import circle, reached_from, reversed_flow
from uhlp.workflows.plan import Action, Block, Loop, Parallel, Retries, Step, Transition
from uhlp.workflows.scope import Home, Scope


class BlockCompiler:
    """Compiles the blocks of one workflow; what is wrong goes to `findings`, and the result is not to be used then."""

    def __init__(self, document: YamlDocument, findings: Findings, *, homes: Mapping[str, Home]) -> None:
        self._document = document
        self._findings = findings
        self._homes = homes
        self.actions = ActionCompiler(findings)

    def root(self, definition: WorkflowDefinition) -> Block:
        """The steps of the workflow itself."""
        return self._block(definition.steps, "/steps", Scope(self._homes), start=definition.start, start_at="/start")

    def _block(
        self, steps: Sequence[StepDefinition], at: str, outer: Scope, *, start: str | None, start_at: str
    ) -> Block:
        """The block of `steps` at a pointer; `outer` is the scope of what stands before it."""
        places = {step.id: f"{at}/{index}" for index, step in enumerate(steps)}
        begun = start if start is not None else steps[0].id
        if begun not in places:
            self._findings.add(start_at, self._unknown(begun, places))
            begun = steps[0].id
        successors = {step.id: self._successors(step, places) for step in steps}
        self._check_flow(steps, places, begun, successors)
        before = reversed_flow(successors)
        compiled = {}
        for step in steps:
            visible = outer.visible | reached_from(before[step.id], before)
            scope = replace(outer, step_id=step.id, visible=visible)
            compiled[step.id] = self._step(step, places[step.id], scope)
        return Block(begun, compiled)

    def _successors(self, step: StepDefinition, places: Mapping[str, str]) -> frozenset[str]:
        known = set()
        for pointer, target in _targets(step):
            if target in places:
                known.add(target)
            else:
                self._findings.add(places[step.id] + pointer, self._unknown(target, places))
        return frozenset(known)

    def _unknown(self, target: str, places: Mapping[str, str]) -> str:
        if target in self._homes:
            return f"the step `{target}` stands in another block: steps lead to steps of their own list"
        return f"there is no step `{target}`{did_you_mean(target, tuple(places))}"

    def _check_flow(
        self,
        steps: Sequence[StepDefinition],
        places: Mapping[str, str],
        start: str,
        successors: Mapping[str, frozenset[str]],
    ) -> None:
        reached = reached_from([start], successors)
        for step_id in places.keys() - reached:
            self._findings.add(places[step_id], f"the step `{step_id}` is never reached: no step leads to it")
        silent = [step.id for step in steps if not _says_what_follows(step)]
        for step_id in silent:
            message = "it does not say what comes next: give `onSuccess`, `transitions` or `end: true`"
            self._findings.add(places[step_id], message)
        lost = [step.id for step in steps if any(to not in places for _at, to in _targets(step))]
        ending = [*silent, *lost, *(step.id for step in steps if _ends(step))]
        if not ending:
            self._findings.add(places[steps[-1].id], "no step ends here: give the last one `end: true`")
        else:
            for step_id in reached - reached_from(ending, reversed_flow(successors)):
                self._findings.add(places[step_id], f"from the step `{step_id}` no step with `end: true` is reached")
        round_trip = circle(successors, without=(step.id for step in steps if step.max_visits is not None))
        if round_trip is not None:
            names = " → ".join((*round_trip, round_trip[0]))
            message = f"the steps {names} go round without a bound: give one of them `maxVisits`, or take a loop"
            self._findings.add(places[round_trip[-1]], message)

    def _step(self, step: StepDefinition, at: str, scope: Scope) -> Step:
        after = replace(scope, visible=scope.visible | {step.id})
        key = getattr(step, "idempotency_key", None)
        timeout_ms = getattr(step, "timeout_ms", None)
        return Step(
            step_id=step.id,
            action=self._action(step, at, scope),
            on_success=tuple(self._on_success(step, at, after)),
            on_failure=tuple(self._on_failure(step, at, after.of_failures())),
            retries=_retries(getattr(step, "retries", None)),
            timeout_s=None if timeout_ms is None else timeout_ms / 1000,
            max_visits=step.max_visits,
            idempotency_key=self.actions.expression(key, f"{at}/idempotencyKey", scope),
            line=self._document.line(at),
        )

    def _action(self, step: StepDefinition, at: str, scope: Scope) -> Action:
        if isinstance(step, LoopStep):
            return self._loop(step, at, scope)
        if isinstance(step, ParallelStep):
            branches = {
                name: self._block(steps, f"{at}/branches/{name}", scope, start=None, start_at=at)
                for name, steps in step.branches.items()
            }
            return Parallel(branches, step.join, step.max_concurrency)
        return self.actions.compile(step, at, scope)

    def _loop(self, step: LoopStep, at: str, scope: Scope) -> Loop:
        inside = replace(scope, has_index=True, has_item=scope.has_item or step.for_each is not None)
        left_by_the_last = replace(inside, visible=scope.visible | {inner.id for inner in step.steps})
        return Loop(
            max_iterations=step.max_iterations,
            body=self._block(step.steps, f"{at}/steps", inside, start=step.start, start_at=f"{at}/start"),
            over=self.actions.expression(step.for_each, f"{at}/forEach", scope),
            condition=self.actions.expression(step.while_, f"{at}/while", left_by_the_last),
        )

    def _on_success(self, step: StepDefinition, at: str, scope: Scope) -> Iterator[Transition]:
        condition = self.actions.expression
        if isinstance(step, BranchStep):
            for index, case in enumerate(step.cases):
                yield Transition(case.next, condition(case.when, f"{at}/cases/{index}/when", scope))
            yield Transition(step.default)
            return
        for index, one in enumerate(step.transitions or ()):
            if one.on == "success":
                yield Transition(one.next, condition(one.when, f"{at}/transitions/{index}/when", scope))
        if step.end or step.on_success is not None:
            yield Transition(step.on_success)

    def _on_failure(self, step: StepDefinition, at: str, scope: Scope) -> Iterator[Transition]:
        condition = self.actions.expression
        for index, route in enumerate(step.on_failure):
            when = condition(route.when, f"{at}/onFailure/{index}/when", scope)
            yield Transition(route.next, when, _codes(route.code))
        if step.on_failure_default is not None:
            yield Transition(step.on_failure_default)
        for index, one in enumerate(() if isinstance(step, BranchStep) else step.transitions or ()):
            if one.on == "failure":
                when = condition(one.when, f"{at}/transitions/{index}/when", scope)
                yield Transition(one.next, when, _codes(one.code))


def _targets(step: StepDefinition) -> Iterator[tuple[str, str]]:
    """Every step that this one may lead to, with the pointer below it that says so."""
    for index, route in enumerate(step.on_failure):
        yield f"/onFailure/{index}/next", route.next
    if step.on_failure_default is not None:
        yield "/onFailureDefault", step.on_failure_default
    if isinstance(step, BranchStep):
        for index, case in enumerate(step.cases):
            yield f"/cases/{index}/next", case.next
        yield "/default", step.default
        return
    if step.on_success is not None:
        yield "/onSuccess", step.on_success
    for index, one in enumerate(step.transitions or ()):
        if one.next is not None:
            yield f"/transitions/{index}/next", one.next


def _ends(step: StepDefinition) -> bool:
    return not isinstance(step, BranchStep) and (step.end or any(one.end for one in step.transitions or ()))


def _says_what_follows(step: StepDefinition) -> bool:
    return isinstance(step, BranchStep) or step.end or step.on_success is not None or step.transitions is not None


def _codes(given: str | tuple[str, ...] | None) -> frozenset[str] | None:
    return None if given is None else frozenset((given,) if isinstance(given, str) else given)


def _retries(given: RetriesDefinition | None) -> Retries:
    if given is None:
        return Retries()
    backoff = given.backoff
    return Retries(
        max_attempts=given.max_attempts,
        initial_s=backoff.initial_ms / 1000,
        factor=backoff.factor,
        max_s=backoff.max_ms / 1000,
        retry_on=_codes(given.retry_on),
    )

"""Strategies: definitions of workflows that are valid by construction, with every kind of step and of way on."""

from typing import Any

from hypothesis import strategies as st

from uhlp.workflows import Block, Loop, Parallel, Plan

Definition = dict[str, Any]
CODES = ("BROKEN", "SLOW", "DENIED")
MOST_STEPS_OF_A_BLOCK = 4


texts = st.text(st.characters(categories=["L", "N", "P", "Zs"]), max_size=3)


class _Ids:
    def __init__(self, most_branches: int) -> None:
        self.most_branches = most_branches
        self._made = 0

    def next(self) -> str:
        self._made += 1
        return f"s{self._made}"


@st.composite
def workflows(draw: st.DrawFn, *, deepest: int = 2, most_branches: int = 2) -> Definition:
    """A definition whose steps lead forward, or back to one with `maxVisits`; the last of each block ends it.

    Its components are all `c`, its tools `core.a.b`, its subworkflows `other`.
    """
    return {"steps": draw(_blocks(_Ids(most_branches), deepest, in_a_loop=False))}


@st.composite
def _blocks(draw: st.DrawFn, ids: _Ids, deepest: int, *, in_a_loop: bool) -> list[Definition]:
    names = [ids.next() for _ in range(draw(st.integers(1, MOST_STEPS_OF_A_BLOCK)))]
    return [draw(_steps(ids, names, place, deepest, in_a_loop=in_a_loop)) for place in range(len(names))]


@st.composite
def _steps(draw: st.DrawFn, ids: _Ids, names: list[str], place: int, deepest: int, *, in_a_loop: bool) -> Definition:
    kinds = ["llm", "mcp", "formatResponse", "wait", "subworkflow"]
    kinds += ["branch"] if place + 1 < len(names) else []
    kinds += ["loop", "parallel"] if deepest else []
    kind = draw(st.sampled_from(kinds))
    step: Definition = {"id": names[place], "maxVisits": draw(st.integers(1, 3))}
    value = _values(names[:place], in_a_loop=in_a_loop)
    if kind in ("llm", "mcp"):
        step |= {"type": kind, "inputMapping": {"a": draw(value), "b": {"literal": draw(texts)}}}
        step |= {"componentId": "c"} if kind == "llm" else {"tool": "core.a.b"}
        if draw(st.booleans()):
            step["retries"] = {"maxAttempts": draw(st.integers(1, 3)), "backoff": {"initialMs": 0}}
    else:
        step |= {"type": "control", "control": kind}
    if kind == "formatResponse":
        step |= {"body": [draw(value)], "resultFormat": draw(st.sampled_from(["generic", "httpResponse"]))}
    elif kind == "wait":
        step["durationMs"] = draw(st.sampled_from([0, 5, "1 + 1"]))
    elif kind == "subworkflow":
        step |= {"workflowId": "other", "inputMapping": {"a": draw(value)}}
    elif kind == "loop":
        step["maxIterations"] = draw(st.integers(1, 4))
        step |= draw(
            st.sampled_from([{"forEach": "[1, 2]"}, {"while": "index < 1"}, {"while": "index < 2"}, {"while": "true"}])
        )
        step["steps"] = draw(_blocks(ids, deepest - 1, in_a_loop=True))
    elif kind == "parallel":
        count = draw(st.integers(1, ids.most_branches))
        step["branches"] = {f"b{n}": draw(_blocks(ids, deepest - 1, in_a_loop=in_a_loop)) for n in range(count)}
        step |= {"join": draw(st.sampled_from(["all", "any"])), "maxConcurrency": draw(st.integers(1, 2))}
    return step | draw(_ways_on(names, place, kind))


def _values(earlier: list[str], *, in_a_loop: bool) -> st.SearchStrategy[Any]:
    sources = ["trigger.input", "workflow.runId", "context.now", "'x' + 'y'", "trigger.input.absent"]
    sources += [f"steps.{name}.{part}" for name in earlier for part in ("status", "output", "error", "visits")]
    sources += ["index * 2"] if in_a_loop else []
    return st.sampled_from([*sources, 1, None, True, [1, "2"], {"literal": "as it is"}])


@st.composite
def _ways_on(draw: st.DrawFn, names: list[str], place: int, kind: str) -> Definition:
    is_last = place + 1 == len(names)
    anywhere = st.sampled_from([*names[place + 1 :] * 3, *names])
    routes: Definition = {}
    if draw(st.booleans()):
        routes["onFailure"] = [{"code": draw(st.sampled_from(CODES)), "next": draw(anywhere)}]
    if draw(st.booleans()):
        routes["onFailureDefault"] = draw(anywhere)
    if kind == "branch":
        case = {"when": draw(st.sampled_from(["true", "false", "trigger.input.yes"])), "next": draw(anywhere)}
        return routes | {"cases": [case], "default": names[place + 1]}
    if is_last:
        return routes | {"end": True}
    if draw(st.booleans()):
        return routes | {"onSuccess": names[place + 1]}
    when = {"when": f"steps.{names[place]}.visits > 1", "next": draw(anywhere)}
    failure = {"on": "failure", "code": list(CODES), "next": draw(anywhere)}
    return {"transitions": [when, failure, {"next": names[place + 1]}]}


def assert_sound(plan: Plan) -> None:
    """Every step can be reached, from every step an end, every circle has a bound, every success leads somewhere."""
    _assert_block_sound(plan.root)
    assert len(set(plan.step_ids)) == len(plan.step_ids)
    assert sorted(plan.step_ids) == sorted(step.step_id for step in plan.every_step())


def _assert_block_sound(block: Block) -> None:
    ways = {name: {one.next for one in (*step.on_success, *step.on_failure)} for name, step in block.steps.items()}
    assert {target for targets in ways.values() for target in targets} <= block.steps.keys() | {None}
    assert _reached(block.start, ways) >= set(block.steps)
    for name, step in block.steps.items():
        assert step.on_success[-1].condition is None
        assert None in _reached(name, ways)
        unbounded = {one: to - _bounded(block) for one, to in ways.items() if one not in _bounded(block)}
        assert name not in _reached_after(name, unbounded)
        if isinstance(step.action, Loop):
            _assert_block_sound(step.action.body)
        if isinstance(step.action, Parallel):
            for branch in step.action.branches.values():
                _assert_block_sound(branch)


def _bounded(block: Block) -> set[str | None]:
    return {name for name, step in block.steps.items() if step.max_visits is not None}


def _reached(start: str, ways: dict[str, Any]) -> set[str | None]:
    return {start} | _reached_after(start, ways)


def _reached_after(start: str, ways: dict[str, Any]) -> set[str | None]:
    seen: set[str | None] = set()
    pending = list(ways.get(start, ()))
    while pending:
        name = pending.pop()
        if name not in seen:
            seen.add(name)
            pending.extend(ways.get(name, ()))
    return seen

"""The oracle: rules of three levels over windows, and what they ask for."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.evolution.world import APP, PARSE, World, component
from uhlp.clock import FakeClock
from uhlp.errors import DefinitionInvalid
from uhlp.models.definition import OptimizationRule


def rule(expression: str = "count(requests) >= 3", action: str = "TRIGGER_JIT", **more: Any) -> dict[str, Any]:
    params = {"windowS": 300, **more.pop("actionParams", {})}
    return {"condition": {"expression": expression}, "action": f"ACTION_{action}", "actionParams": params, **more}


class Desk:
    """Worlds with rules at the levels a test names."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._worlds: list[World] = []

    async def with_rules(
        self, *, of_server: list[Any] = (), of_app: Any = None, hold_windows: int = 1, **optimization: Any
    ) -> World:
        rules = [OptimizationRule.model_validate(one) for one in of_server]
        world = World(
            self._folder / str(len(self._worlds)),
            FakeClock(),
            global_rules=lambda: rules,
            hold_windows=lambda: hold_windows,
        )
        await world.open()
        self._worlds.append(world)
        app = {"optimizationConfig": of_app} if of_app is not None else None
        await world.register(component(optimization=optimization), app=app)
        for _ in range(3):
            world.windows.observe(APP, PARSE, handler="llm", latency_ms=800.0, ok=True)
        return world

    async def close(self) -> None:
        for world in self._worlds:
            await world.close()


@pytest.fixture
async def desk(tmp_path: Path) -> Any:
    made = Desk(tmp_path)
    yield made
    await made.close()


async def discovered(world: World) -> list[tuple[str, str]]:
    await world.oracle.run_optimization_cycle()
    return [(one.component_id, one.action) for one in world.oracle.take_discoveries()]


@pytest.mark.parametrize("level", ["of_server", "of_app", "rules"])
async def test_rules_come_from_server_application_and_component(desk: Desk, level: str) -> None:
    given: dict[str, Any] = {level: {"rules": [rule()]} if level == "of_app" else [rule()]}
    world = await desk.with_rules(**given)
    assert await discovered(world) == [(PARSE, "jit")]
    assert await discovered(world) == [(PARSE, "jit")], "and again while it holds"


async def test_a_discovery_is_taken_once_and_says_why(desk: Desk) -> None:
    world = await desk.with_rules(rules=[rule(description="busy")])
    await world.oracle.run_optimization_cycle()
    (found,) = world.oracle.take_discoveries()
    assert found.reason == "rule busy: count(requests) >= 3"
    assert world.oracle.take_discoveries() == []


async def test_an_application_may_switch_all_rules_off(desk: Desk) -> None:
    world = await desk.with_rules(of_server=[rule()], of_app={"enabled": False})
    assert await discovered(world) == []
    assert world.oracle.rule_truths(APP, PARSE) == []


async def test_false_and_unknown_start_nothing(desk: Desk) -> None:
    rules = [
        rule("count(requests) > 3"),
        rule("ratio(sum(cost_usd), sum(tokens_in)) > 0.0"),
        rule("p99(latency_ms) > 500"),
    ]
    world = await desk.with_rules(rules=rules)
    assert await discovered(world) == [(PARSE, "jit")]
    assert [truth.holds for truth in world.oracle.rule_truths(APP, PARSE)] == [False, None, True]
    world.clock.advance(10_000)
    assert await discovered(world) == []
    assert [truth.holds for truth in world.oracle.rule_truths(APP, PARSE)][2] is None


async def test_a_rule_must_hold_for_as_many_windows_as_asked(desk: Desk) -> None:
    world = await desk.with_rules(rules=[rule(actionParams={"hold": 3})])
    assert [await discovered(world) for _ in range(3)] == [[], [], [(PARSE, "jit")]]
    assert world.oracle.rule_truths(APP, PARSE)[0].held_windows == 3
    world.clock.advance(10_000)
    await discovered(world)
    assert world.oracle.rule_truths(APP, PARSE)[0].held_windows == 0
    for _ in range(3):
        world.windows.observe(APP, PARSE, handler="llm", latency_ms=800.0, ok=True)
    assert await discovered(world) == [], "it starts again"


async def test_rules_of_the_server_may_change_while_it_runs(tmp_path: Path) -> None:
    rules: list[OptimizationRule] = []
    world = World(tmp_path, FakeClock(), global_rules=lambda: rules)
    await world.open()
    await world.register()
    world.windows.observe(APP, PARSE, handler="llm", latency_ms=800.0, ok=True)
    assert await discovered(world) == []
    rules.append(OptimizationRule.model_validate(rule("count(requests) >= 1")))
    assert await discovered(world) == [(PARSE, "jit")]
    await world.close()


async def test_two_rules_with_one_condition_do_not_count_for_each_other(desk: Desk) -> None:
    world = await desk.with_rules(rules=[rule(), rule()], hold_windows=2)
    assert [await discovered(world) for _ in range(2)] == [[], [(PARSE, "jit")]]


async def test_the_window_is_the_rules_own(desk: Desk) -> None:
    world = await desk.with_rules(rules=[rule("count(requests) >= 3", actionParams={"windowS": 3600})])
    world.clock.advance(1800)
    assert await discovered(world) == [(PARSE, "jit")]
    world = await desk.with_rules(rules=[rule("count(requests) >= 3", actionParams={"windowS": 60})])
    world.clock.advance(1800)
    assert await discovered(world) == []


BAD_WINDOWS = ["an hour", None, -5, True, [60], 0, 35 * 86_400 + 1]


@pytest.mark.parametrize("windows", BAD_WINDOWS[:-1])
async def test_a_servers_window_that_is_no_number_is_the_default_and_stops_nobody(desk: Desk, windows: Any) -> None:
    world = await desk.with_rules(of_server=[rule(actionParams={"windowS": windows, "hold": windows})])
    assert await discovered(world) == [(PARSE, "jit")]
    assert [one.window_s for one in world.oracle.rule_truths(APP, PARSE)] == [60.0]


@pytest.mark.parametrize("windows", BAD_WINDOWS)
async def test_a_definition_with_a_bad_window_is_refused_with_its_bound(desk: Desk, windows: Any) -> None:
    with pytest.raises(DefinitionInvalid, match="windowS is a number from 1 to 3024000"):
        await desk.with_rules(rules=[rule(actionParams={"windowS": windows})])
    with pytest.raises(DefinitionInvalid, match="hold is a number from 1 to 10000"):
        await desk.with_rules(of_app={"rules": [rule(actionParams={"hold": -1})]})


async def test_a_rule_may_look_back_35_days(desk: Desk) -> None:
    world = await desk.with_rules(rules=[rule("count(requests) == 4", actionParams={"windowS": 35 * 86_400})])
    world.clock.advance(30 * 86_400)
    assert await discovered(world) == []
    world.windows.observe(APP, PARSE, handler="llm", latency_ms=800.0, ok=True)
    assert await discovered(world) == [(PARSE, "jit")]


async def test_a_rule_that_fired_waits_for_what_came_of_it(desk: Desk) -> None:
    world = await desk.with_rules(rules=[rule()])
    assert await discovered(world) == [(PARSE, "jit")]
    candidate_id = await world.optimize()
    assert world.book.open_candidate(APP, PARSE) is not None
    assert await discovered(world) == []
    for ms in (1_000, 0):
        world.clock.advance(ms)
        await discovered(world)
    assert world.oracle.rule_truths(APP, PARSE)[0].holds is False
    for _ in range(3):
        world.windows.observe(APP, PARSE, handler="llm", latency_ms=800.0, ok=True)
    await world.governor.reject(candidate_id, cause="person", reason="no", actor="ann")
    assert await discovered(world) == [(PARSE, "jit")]


@pytest.mark.parametrize(
    ("action", "asked_for"), [("TRIGGER_JIT", "jit"), ("RECOMMEND_JIT", "recommend"), ("COMPRESS_PROMPT", "compress")]
)
async def test_each_action_asks_for_its_own(desk: Desk, action: str, asked_for: str) -> None:
    assert await discovered(await desk.with_rules(rules=[rule(action=action)])) == [(PARSE, asked_for)]


@pytest.mark.parametrize(
    "order", [["TRIGGER_JIT", "COMPRESS_PROMPT", "RECOMMEND_JIT"], ["RECOMMEND_JIT", "TRIGGER_JIT"]]
)
async def test_the_strongest_action_of_a_component_is_asked_for_once(desk: Desk, order: list[str]) -> None:
    assert await discovered(await desk.with_rules(rules=[rule(action=one) for one in order])) == [(PARSE, "jit")]


@pytest.mark.parametrize(("mode", "expected"), [("off", []), ("recommend", [(PARSE, "recommend")])])
async def test_the_components_mode_limits_what_rules_may_ask_for(
    desk: Desk, mode: str, expected: list[tuple[str, str]]
) -> None:
    assert await discovered(await desk.with_rules(rules=[rule()], mode=mode)) == expected


@pytest.mark.parametrize(
    ("of_rule", "of_component", "of_app", "asked_for"),
    [
        (None, None, None, "jit"),
        (None, None, True, "recommend"),
        (None, False, True, "jit"),
        (None, True, False, "recommend"),
        (False, True, True, "jit"),
        (True, False, False, "recommend"),
    ],
)
async def test_the_nearest_preference_for_the_model_wins_and_only_recommends(
    desk: Desk, of_rule: bool | None, of_component: bool | None, of_app: bool | None, asked_for: str
) -> None:
    world = await desk.with_rules(
        rules=[rule(preferLlmFlexibility=of_rule)],
        preferLlmFlexibility=of_component,
        of_app={"preferLlmFlexibility": of_app},
    )
    assert await discovered(world) == [(PARSE, asked_for)]


async def test_a_rule_may_ask_for_a_better_handler_where_one_is_in_service(desk: Desk) -> None:
    world = await desk.with_rules(rules=[rule()])
    await world.to_state("promoted")
    for _ in range(3):
        world.windows.observe(APP, PARSE, handler="jit", latency_ms=800.0, ok=True)
    assert await discovered(world) == [(PARSE, "jit")]


async def test_code_that_its_owner_wrote_is_not_looked_at(desk: Desk) -> None:
    world = await desk.with_rules(rules=[rule()])
    registered = world.registry.snapshot(APP).components[PARSE].definition.model_dump(mode="json", by_alias=True)
    registered |= {"handlerType": "JIT", "taskDetails": {"prompt_template": PARSE, "script": "code/own.py"}}
    own = {
        "component_registry.yaml": json.dumps({"components": [registered]}).encode(),
        "code/own.py": b"def handle(inputs, context):\n    return {}\n",
    }
    await world.registry.apply_files(APP, own, message="Our own code")
    for _ in range(3):
        world.windows.observe(APP, PARSE, handler="jit", latency_ms=800.0, ok=True)
    assert await discovered(world) == []


async def test_the_cheapest_proposer_is_asked_first_and_one_can_be_chosen(desk: Desk) -> None:
    world = await desk.with_rules()
    assert [one.name for one in world.oracle.proposers()] == ["rule_learner", "coder"]
    assert [one.name for one in world.oracle.proposers("coder")] == ["coder"]
    assert world.oracle.proposers("nobody") == ()

"""Money decides what rules may start; people decide as they like."""

from typing import Any

import pytest

from tests.unit.evolution.world import APP, GOOD, PARSE, World, coder_answer, component, lines
from uhlp.clock import FakeClock
from uhlp.errors import StateConflict
from uhlp.evolution.config import EvolutionConfig
from uhlp.optimization.optimization_oracle import Discovery

BUSY = {"description": "busy", "condition": {"expression": "count(requests) >= 10"}, "actionParams": {"windowS": 3600}}


def busy(component_id: str = PARSE, **optimization: Any) -> dict[str, Any]:
    """A component whose rule fires after ten requests an hour; few of its answers are checked."""
    return component(component_id, optimization={"rules": [BUSY], "maxWrongAnswers": 800, **optimization})


def call(world: World, component_id: str = PARSE, *, times: int = 100, usd: float = 0.001, ms: float = 1000.0) -> None:
    """What windows and counts show after so many requests that the model answered."""
    for _ in range(times):
        world.windows.observe(APP, component_id, handler="llm", latency_ms=ms, ok=True, tokens_in=100, tokens_out=10,
                              cost_usd=usd)  # fmt: skip


async def turn(world: World) -> None:
    await world.oracle.run_optimization_cycle()
    await world.daemon.run_cycle()


async def evidence_of(world: World, candidate_id: str) -> Any:
    return (await world.store.entries(candidate_id=candidate_id))[0].entry.evidence


def set_config(world: World, **changes: Any) -> None:
    """Another configuration for the parts that this file is about."""
    world.config = config = world.config.with_overrides(changes)
    world.daemon._config = config
    world.discoveries._expectations._config = config


@pytest.fixture
async def without_budget(tmp_path) -> Any:
    made = World(tmp_path, FakeClock(), EvolutionConfig())
    await made.open()
    yield made
    await made.check()
    await made.close()


# -- break-even


async def test_what_pays_is_compiled_and_the_ledger_says_what_was_expected(empty_world: World) -> None:
    world = empty_world
    await world.register(busy())
    call(world)
    await turn(world)
    (candidate,) = world.book.candidates()
    assert (candidate.approval_required, candidate.reason) == (False, "rule busy: count(requests) >= 10")
    known = await evidence_of(world, candidate.id)
    expected, rule = known["expected"], known["rule"]
    assert expected["isWorthIt"] is True
    assert expected["callsPerDay"] == 2400
    assert expected["compileUsd"] == pytest.approx(0.002 + expected["cost"]["measuringCalls"] * 0.001)
    assert expected["calls"] == pytest.approx(expected["compileUsd"] / (0.5 * 0.99 * 0.001), abs=1)
    assert (rule["expression"], rule["values"]["count"]) == ("count(requests) >= 10", 100)


async def test_what_does_not_pay_within_thirty_days_is_not_started_and_says_so(empty_world: World) -> None:
    world = empty_world
    await world.register(busy())
    world.model.coder_usd = 100.0
    call(world)
    await turn(world)
    assert world.book.candidates() == []
    (held,) = world.discoveries.held()
    assert held.status == "not_worth_it"
    assert "compiling takes about $100" in held.why
    assert "in 30 days at 2,400 calls a day" in held.why


async def test_by_hand_it_starts_and_the_note_is_in_the_ledger(empty_world: World) -> None:
    world = empty_world
    await world.register(busy())
    world.model.coder_usd = 100.0
    call(world)
    await turn(world)
    candidate = world.book.candidate(await world.optimize(compiled=False))
    assert "try it (started by hand, although compiling takes about $100" in candidate.reason
    assert (await evidence_of(world, candidate.id))["expected"]["isWorthIt"] is False
    assert world.discoveries.held() == [], "it waits no more"


async def test_a_slow_free_model_is_worth_compiling_once_seconds_count(empty_world: World) -> None:
    world = empty_world
    await world.register(busy())
    call(world, usd=0.0)
    await turn(world)
    assert world.book.candidates() == []
    assert "it never pays" in world.discoveries.held()[0].why
    assert "usdPerSecondSaved is 0" in world.discoveries.held()[0].why
    set_config(world, usd_per_second_saved=0.001)
    await turn(world)
    assert len(world.book.candidates()) == 1


async def test_a_component_says_itself_what_its_seconds_are_worth(empty_world: World) -> None:
    world = empty_world
    await world.register(busy("a", usdPerSecondSaved=0.001), busy("b"))
    for one in ("a", "b"):
        call(world, one, usd=0.0)
    await turn(world)
    assert [one.component_id for one in world.book.candidates()] == ["a"]


async def test_an_unknown_price_holds_nothing_back(empty_world: World) -> None:
    world = empty_world
    await world.register(busy())
    world.usage_book.called(APP, PARSE, "serve", tokens_in=100, tokens_out=10, usd=None, seconds=1.0)
    call(world, usd=0.0)
    await turn(world)
    (candidate,) = world.book.candidates()
    assert (await evidence_of(world, candidate.id))["expected"]["isWorthIt"] is None


async def test_the_coders_price_is_what_it_took_so_far(world: World) -> None:
    await world.to_state("shadow")
    call(world)
    app = world.registry.snapshot(APP)
    cost = (await world.discoveries._expectations.of(app, app.components[PARSE])).cost
    assert (cost.coder_from, cost.coder_tokens, cost.coder_usd) == ("recorded", 110, pytest.approx(0.001))


# -- limits


async def test_the_queue_is_ordered_by_expected_saving(empty_world: World) -> None:
    world = empty_world
    await world.register(busy("a"), busy("b"), busy("c"))
    for one, times in (("a", 100), ("b", 900), ("c", 300)):
        call(world, one, times=times)
    await turn(world)
    assert {one.component_id for one in world.book.candidates()} == {"b", "c"}
    (held,) = world.discoveries.held()
    assert (held.wish.place, held.status) == ((APP, "a"), "queued")
    world.clock.advance(3601)
    call(world, "a")
    await turn(world)
    assert {one.component_id for one in world.book.candidates()} == {"a", "b", "c"}
    assert world.discoveries.held() == []


async def test_a_recommendation_takes_no_place_in_the_queue(empty_world: World) -> None:
    world = empty_world
    await world.register(busy("a", mode="recommend"), busy("b", mode="recommend"), busy("c"))
    for one in ("a", "b", "c"):
        call(world, one)
    await turn(world)
    waiting = {one.component_id: one.approval_required for one in world.book.candidates()}
    assert waiting == {"a": True, "b": True, "c": False}


async def test_a_rule_that_stops_asking_is_forgotten(empty_world: World) -> None:
    world = empty_world
    await world.register(busy())
    world.model.coder_usd = 100.0
    call(world)
    await turn(world)
    assert len(world.discoveries.held()) == 1
    world.clock.advance(61)
    assert world.discoveries.held() == []


# -- budgets


async def test_without_a_budget_in_money_automatic_mode_only_recommends_and_says_why(without_budget: World) -> None:
    world = without_budget
    await world.register(busy())
    call(world)
    await turn(world)
    (candidate,) = world.book.candidates()
    assert candidate.approval_required
    assert "no budget in money is set" in candidate.reason
    assert "evolution.limits.usd_per_day" in candidate.reason
    await world.compiler.compile(candidate.id)
    assert world.state_of(candidate.id) == "discovered"


async def test_an_applications_own_budget_is_enough(without_budget: World) -> None:
    world = without_budget
    await world.register(busy(), app={"llm": {"budget": {"usdPerDay": 1.0}}})
    call(world)
    await turn(world)
    assert [one.approval_required for one in world.book.candidates()] == [False]


async def test_a_model_of_price_zero_compiles_by_itself_within_any_budget(empty_world: World) -> None:
    world = empty_world
    set_config(world, limits={"usd_per_day": 0.01})
    await world.register(busy())
    world.model.coder_usd = 0.0
    call(world, usd=0.0)
    await turn(world)
    assert len(world.book.candidates()) == 1


async def test_a_compilation_that_todays_money_does_not_cover_waits_for_tomorrow(empty_world: World) -> None:
    world = empty_world
    await world.register(busy())
    world.usage_book.called(APP, "other", "coder", tokens_in=1, tokens_out=1, usd=9.99, seconds=1)
    call(world)
    await turn(world)
    (held,) = world.discoveries.held()
    assert (held.status, "evolution has $0.01 left for today" in held.why) == ("queued", True)
    world.clock.advance(86_400)
    call(world)
    await turn(world)
    assert len(world.book.candidates()) == 1


async def test_a_spent_budget_holds_a_compilation_and_refuses_nothing(world: World) -> None:
    await world.record(lines(60))
    world.model.coder.append(coder_answer())
    world.usage_book.called(APP, "other", "coder", tokens_in=1, tokens_out=1, usd=10.0, seconds=1)
    candidate_id = await world.optimize()
    held = world.book.candidate(candidate_id)
    assert held.state == "discovered"
    assert "has spent its budget of 10 US dollars" in held.measurements["postponedBecause"]
    assert world.model.specifications == [], "the coder was not asked"
    world.clock.advance(86_400)
    await world.compiler.compile(candidate_id)
    assert world.state_of(candidate_id) == "shadow"


async def test_a_restart_does_not_give_the_day_back(world: World) -> None:
    world.usage_book.called(APP, "other", "coder", tokens_in=1, tokens_out=1, usd=10.0, seconds=1)
    await world.usage.run_cycle()
    await world.restart()
    assert world.budgets.evolution_left_usd == 0.0


async def test_a_spent_application_answers_429_and_its_handlers_go_on(empty_world: World) -> None:
    world = empty_world
    await world.register(app={"llm": {"budget": {"usdPerDay": 5.0}}})
    await world.to_state("promoted")
    world.usage_book.called(APP, PARSE, "serve", tokens_in=1, tokens_out=1, usd=5.0, seconds=1)
    answer = await world.send("3 pears", observe=False)
    assert answer.handler == "jit"
    with pytest.raises(Exception, match="has spent its model budget") as refused:
        await world.send("no order line", observe=False)
    assert (refused.value.status, refused.value.code) == (429, "BUDGET_EXHAUSTED")
    assert 0 < refused.value.retry_after_s <= 86_400


# -- recommend, off, approval


@pytest.mark.parametrize("action", ["ACTION_TRIGGER_JIT", "ACTION_RECOMMEND_JIT"])
async def test_recommend_stops_at_discovered_with_rule_saving_and_reason(empty_world: World, action: str) -> None:
    world = empty_world
    mode = "recommend" if action == "ACTION_TRIGGER_JIT" else "auto"
    await world.register(busy(rules=[{**BUSY, "action": action}], mode=mode))
    await world.record(lines(60))
    world.model.coder.append(coder_answer())
    call(world)
    await turn(world)
    (candidate,) = world.book.candidates()
    await world.compiler.compile(candidate.id)
    assert world.state_of(candidate.id) == "discovered"
    assert world.model.specifications == []
    words = "its mode is recommend" if mode == "recommend" else "the rule only recommends"
    assert candidate.reason == f"rule busy: count(requests) >= 10; waits for approval: {words}"
    await world.oversight.act(candidate.id, "approve", actor="ann", reason="worth it")
    await world.compiler.compile(candidate.id)
    assert world.state_of(candidate.id) == "shadow"


async def test_asking_by_hand_approves_what_waits(empty_world: World) -> None:
    world = empty_world
    await world.register(busy(mode="recommend"))
    await world.record(lines(60))
    world.model.coder.append(coder_answer())
    call(world)
    await turn(world)
    (waiting,) = world.book.candidates()
    assert await world.optimize() == waiting.id
    approved = world.book.candidate(waiting.id)
    assert (approved.state, approved.approved_by, approved.proposer) == ("shadow", "ann", "coder")


async def test_an_approved_candidate_still_passes_every_gate(empty_world: World) -> None:
    world = empty_world
    await world.register(busy(mode="recommend"))
    await world.record(lines(60))
    world.model.coder.extend([coder_answer(tests="def test_no():\n    assert 0\n")] * 4)
    call(world)
    await turn(world)
    candidate_id = await world.optimize()
    refused = world.book.candidate(candidate_id)
    assert (refused.state, refused.approved_by) == ("rejected", "ann")
    world.clock.advance(3600)
    world.model.coder.append(coder_answer("# once more\n" + GOOD))
    await world.record(lines(250, start=5000))
    call(world)
    await turn(world)
    second = await world.optimize()
    assert world.state_of(second) == "canary"
    assert (await world.timeline(second))[:4] == ["discovered", "synthesized", "verified", "shadow"]


async def test_an_approval_late_in_the_day_leaves_time_to_compile(empty_world: World) -> None:
    world = empty_world
    await world.register(busy(mode="recommend"))
    call(world)
    await turn(world)
    (candidate,) = world.book.candidates()
    world.clock.advance(86_000)
    await world.oversight.act(candidate.id, "approve", actor="ann", reason="yes")
    world.clock.advance(1000)
    await world.daemon.run_cycle()
    assert world.state_of(candidate.id) == "discovered"
    world.clock.advance(86_401)
    await world.daemon.run_cycle()
    assert world.state_of(candidate.id) == "expired"


async def test_off_is_never_compiled_by_nobody(empty_world: World) -> None:
    world = empty_world
    await world.register(busy(mode="off"))
    call(world)
    await turn(world)
    world.oracle._discoveries[APP, PARSE] = Discovery(APP, PARSE, "jit", "rule busy: true")
    await world.daemon.run_cycle()
    with pytest.raises(StateConflict, match="mode of parse is off"):
        await world.optimize()
    assert world.book.candidates() == []

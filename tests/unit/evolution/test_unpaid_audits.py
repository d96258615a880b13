"""Answers that are due for a check which nobody can pay: no score, no progress, and no end of unchecked answers."""

from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.unit.evolution.world import APP, PARSE, World, coder_answer, component, lines
from uhlp.evolution.config import EvolutionConfig
from uhlp.evolution.judge import Judge
from uhlp.evolution.measuring import BudgetSpent, Spending

ALLOWED = 5


def spend(world: World, usd: float = 10.0) -> None:
    """Evolution's money for today is gone."""
    world.usage_book.called("another", "x", "coder", tokens_in=1, tokens_out=1, usd=usd, seconds=1)


@pytest.fixture
async def promoted(empty_world: World) -> World:
    """A handler in service; every answer is checked, five wrong ones are allowed."""
    world = empty_world
    await world.register(component(optimization={"maxWrongAnswers": ALLOWED}))
    await world.to_state("promoted")
    return world


def candidate(world: World) -> Any:
    return world.book.candidates()[0]


async def handlers(world: World, count: int, *, start: int = 50_000) -> list[str]:
    return [answer.handler for answer in await world.send_all(lines(count, start=start))]


async def test_the_handler_answers_for_as_many_unpaid_audits_as_wrong_answers_are_allowed(promoted: World) -> None:
    spend(promoted)
    with capture_logs() as logs:
        answered = await handlers(promoted, 30)
    assert answered == ["jit"] * ALLOWED + ["llm"] * (30 - ALLOWED)
    assert [one["log_level"] for one in logs if one["event"] == "audits_unpaid"] == ["warning"]
    assert promoted.state_of(candidate(promoted).id) == "promoted"


async def test_unpaid_audits_are_no_score_and_pause_nothing(promoted: World) -> None:
    live = promoted.governor.evidence_of(candidate(promoted).id)
    before = (live.account.n, live.audits.n, live.figures.agreed)
    spend(promoted)
    await handlers(promoted, ALLOWED)
    assert (live.account.n, live.audits.n, live.figures.agreed) == before
    assert (candidate(promoted).paused, live.measuring_errors) == (False, 0)
    assert len(live.unasked) == ALLOWED


async def test_when_the_day_turns_it_answers_again_and_the_audits_are_made_up(promoted: World) -> None:
    spend(promoted)
    await handlers(promoted, 10)
    live = promoted.governor.evidence_of(candidate(promoted).id)
    asked = len(promoted.model.asked)
    promoted.clock.advance(86_400)
    assert await handlers(promoted, 10, start=60_000) == ["jit"] * 10
    assert len(live.unasked) == 0
    assert len(promoted.model.asked) == asked + 10 + ALLOWED


async def test_an_audit_that_is_owed_is_kept_while_the_model_is_down(promoted: World) -> None:
    spend(promoted)
    await handlers(promoted, 1)
    live = promoted.governor.evidence_of(candidate(promoted).id)
    promoted.clock.advance(86_400)
    promoted.model.answers_left = 1
    await handlers(promoted, 1, start=60_000)
    assert len(live.unasked) == 1
    promoted.model.answers_left = None
    await handlers(promoted, 1, start=70_000)
    assert len(live.unasked) == 0


async def test_a_wrong_answer_that_was_never_paid_for_is_found_afterwards(promoted: World) -> None:
    spend(promoted)
    promoted.model.answer = lambda inputs: {"quantity": 1, "product": "other"}
    await handlers(promoted, ALLOWED)
    one = candidate(promoted)
    assert promoted.state_of(one.id) == "promoted"
    promoted.clock.advance(86_400)
    await handlers(promoted, 4, start=60_000)
    assert promoted.state_of(one.id) == "rolled_back"


async def test_a_higher_budget_helps_at_once(promoted: World) -> None:
    spend(promoted)
    assert (await handlers(promoted, 10))[-1] == "llm"
    promoted.config = promoted.config.with_overrides({"limits": {"usd_per_day": 20.0}})
    assert await handlers(promoted, 3, start=60_000) == ["jit"] * 3


async def test_a_restart_forgets_no_unpaid_audit(promoted: World) -> None:
    spend(promoted)
    await handlers(promoted, ALLOWED)
    await promoted.usage.run_cycle()
    await promoted.restart()
    assert await handlers(promoted, 1, start=60_000) == ["llm"]


async def test_where_the_model_cannot_be_paid_either_the_handler_goes_on(empty_world: World) -> None:
    world = empty_world
    budget = {"llm": {"budget": {"usdPerDay": 5.0}}}
    await world.register(component(optimization={"maxWrongAnswers": ALLOWED}), app=budget)
    await world.to_state("promoted")
    world.usage_book.called(APP, PARSE, "serve", tokens_in=1, tokens_out=1, usd=5.0, seconds=1)
    assert await handlers(world, 20) == ["jit"] * 20
    assert world.audit_debt.unpaid(APP, PARSE) == 20


async def test_a_suspended_handler_runs_beside_the_model_for_nothing(promoted: World) -> None:
    spend(promoted)
    await handlers(promoted, ALLOWED)
    live = promoted.governor.evidence_of(candidate(promoted).id)
    agreed, asked = live.figures.agreed, len(promoted.model.asked)
    assert await handlers(promoted, 5, start=60_000) == ["llm"] * 5
    assert live.figures.agreed == agreed + 5
    assert len(promoted.model.asked) == asked + 5, "the answers to users, and nothing else"


async def test_a_canary_does_not_advance_over_unpaid_audits(world: World) -> None:
    candidate_id = await world.to_state("canary")
    live = world.live()
    assert live is not None
    world.rollouts.put(replace(live, audit_share=1.0))
    spend(world)
    await world.send_all(lines(400, start=20_000))
    world.clock.advance(61)
    await world.daemon.run_cycle()
    assert world.book.candidate(candidate_id).canary_step == 0
    assert "wait to be judged" in (world.governor.what_holds(world.book.candidate(candidate_id)) or "")
    world.clock.advance(86_400)
    await world.send_all(lines(100, start=30_000))
    world.clock.advance(61)
    await world.daemon.run_cycle()
    assert world.book.candidate(candidate_id).canary_step >= 1


async def test_before_epsilon_is_proven_wrong_and_unpaid_answers_count_together(empty_world: World) -> None:
    world = empty_world
    await world.register(component(optimization={"trust": "serve-and-check", "epsilon": 0.05, "maxWrongAnswers": 4}))
    await world.record(lines(30, split="train") + lines(50, split="held_out"))
    world.model.coder.append(coder_answer())
    await world.optimize()
    assert world.state_of(candidate(world).id) == "canary"
    right, world.model.answer = world.model.answer, lambda inputs: {"quantity": 1, "product": "other"}
    await world.send_all(lines(1, start=20_000))
    world.model.answer = right
    assert world.governor.evidence_of(candidate(world).id).audits.failures == 1
    spend(world)
    assert await handlers(world, 6) == ["jit"] * 3 + ["llm"] * 3


async def test_asking_up_that_cannot_be_paid_is_kept_and_pauses_nothing(world: World) -> None:
    candidate_id = await world.to_state("shadow")
    spend(world)
    world.model.answer = lambda inputs: {"quantity": 1, "product": "other"}
    await world.send_all(lines(8, start=20_000))
    live = world.governor.evidence_of(candidate_id)
    assert (len(live.unasked), live.account.k) == (8, 0)
    assert not world.book.candidate(candidate_id).paused


async def test_a_judge_that_cannot_be_paid_is_no_broken_judge(world: World) -> None:
    await world.registry.apply_files(APP, {"app.yaml": b"appId: shop\nllm: {judgeModel: wise}\n"}, message="judge")
    spend(world)
    judge = Judge(mcp_client=world.executor._tools, clock=world.clock, config=EvolutionConfig())
    app = world.registry.snapshot(APP)
    with pytest.raises(BudgetSpent, match="has spent its budget"):
        await judge.word(app, app.components[PARSE], {"text": "1 fig"}, "a", "b", spending=Spending())


async def test_what_audits_took_is_told_apart_from_what_compiling_took(promoted: World) -> None:
    before = candidate(promoted).costs
    await handlers(promoted, 10)
    after = promoted.governor.evidence_of(candidate(promoted).id).spending.costs
    assert (after.audits - before.audits, after.usd - before.usd) == (10, pytest.approx(0.01))
    assert after.usd - after.audits_usd == pytest.approx(before.usd - before.audits_usd)

"""What handlers and shorter prompts saved, against the baseline that was frozen before they served."""

from typing import Any

import pytest

from tests.unit.evolution.test_money import call, turn
from tests.unit.evolution.world import APP, PARSE, World, component, lines
from uhlp.evolution.candidate import Candidate, CandidateState, Checkpoint, Costs
from uhlp.evolution.money import Money
from uhlp.evolution.rollouts import LiveHandler
from uhlp.evolution.savings import balance_of, baseline_of, measured
from uhlp.execution import HandlerImplementation, PromptImplementation
from uhlp.llm.usage import (
    DAY_S,
    DEOPTIMISED,
    SERVED_BY_HANDLER,
    SERVED_BY_MODEL,
    SERVED_BY_PROMPT,
    Use,
    UseKey,
)
from uhlp.optimization.break_even import PerCall
from uhlp.registry.snapshot import Artifact
from uhlp.routing.rollout import Choice

MODEL = PerCall(usd=0.01, seconds=2.0, tokens=100.0)


def row(kind: str, calls: int, *, usd: float = 0.0, seconds: float = 0.0, tokens: int = 0, failed: int = 0) -> Any:
    one = "c-1" if kind.startswith("served") else ""
    return UseKey(1, APP, PARSE, kind, one), Use(calls, failed, 0, tokens, 0, usd, 0, 0, seconds)


def candidate(**changed: Any) -> Candidate:
    given: dict[str, Any] = {
        "id": "c-1", "app_id": APP, "component_id": PARSE, "proposer": "coder", "spec_hash": "s", "attempt": 1,
        "state": CandidateState.PROMOTED, "created_at": 0.0, "updated_at": 0.0, "entered_at": 0.0, "reason": "r",
    }  # fmt: skip
    return Candidate(**{**given, **changed})


ROWS = [
    row(SERVED_BY_MODEL, 50, usd=0.5, seconds=100),
    row(SERVED_BY_HANDLER, 100, seconds=1.0),
    row(DEOPTIMISED, 20, usd=0.2, seconds=41.0, tokens=2000),
    row("coder", 2, usd=0.30, tokens=5000),
    row("audit", 10, usd=0.10, tokens=1000),
    row("serve", 70, usd=0.7, tokens=7000),
]


def test_handlers_save_what_they_answer_and_lose_a_little_on_what_they_leave() -> None:
    told = balance_of(ROWS, {"c-1": MODEL}, per_second=0.001)
    assert (told["requests"], told["byHandler"]) == (120, 100)
    assert told["saved"] == {"usd": pytest.approx(1.0), "seconds": pytest.approx(198.0), "tokens": 10_000}
    assert told["spent"] == {"usd": pytest.approx(0.4), "tokens": 6000, "unpricedCalls": 0}
    assert told["net"]["usd"] == pytest.approx(0.6)
    assert told["valueUsd"] == pytest.approx(0.6 + 0.198)


def test_a_request_without_an_answer_saves_nothing_and_took_its_time() -> None:
    told = balance_of([row(SERVED_BY_HANDLER, 1, seconds=0.5, failed=1)], {"c-1": MODEL}, per_second=0.0)
    assert told["saved"] == {"usd": 0.0, "seconds": -0.5, "tokens": 0}


def test_an_unknown_price_saves_time_and_no_money() -> None:
    told = balance_of([row(SERVED_BY_HANDLER, 10, seconds=1.0)], {"c-1": PerCall(None, 2.0)}, per_second=0.0)
    assert (told["saved"]["usd"], told["saved"]["seconds"], told["unpricedRequests"]) == (0.0, 19.0, 10)


def test_what_has_no_baseline_saved_nobody_knows_what() -> None:
    assert balance_of([row(SERVED_BY_HANDLER, 10)], {"c-1": None}, per_second=0.0)["requests"] == 0


def test_break_even_is_measured_with_audits_as_running_costs() -> None:
    told = measured(candidate(costs=Costs(usd=0.4, audits=10, audits_usd=0.1)), ROWS, MODEL, 0.0)
    assert told is not None
    assert (told["requests"], told["coverage"]) == (120, pytest.approx(100 / 120))
    assert told["compileUsd"] == pytest.approx(0.3)
    assert told["savingUsdPerCall"] == pytest.approx((1.0 - 0.1) / 120)
    assert told["calls"] == 40
    assert told["isPaidBack"] is True
    assert "was paid for after 40 calls" in told["words"]


def test_what_takes_more_than_it_saves_is_said_not_to_pay() -> None:
    told = measured(candidate(costs=Costs(usd=2.0, audits=100, audits_usd=1.5)), ROWS, MODEL, 0.0)
    assert told is not None
    assert (told["calls"], told["isPaidBack"]) == (None, False)
    assert "does not pay" in told["words"]
    with_seconds = measured(candidate(costs=Costs(usd=2.0, audits=100, audits_usd=1.5)), ROWS, MODEL, 0.01)
    assert with_seconds is not None
    assert with_seconds["calls"] == 41


def test_what_a_coder_of_unknown_price_took_is_not_nothing() -> None:
    coder = UseKey(1, APP, PARSE, "coder", ""), Use(calls=1, tokens_in=5_000, unpriced=1, unpriced_tokens=5_000)
    told = measured(candidate(costs=Costs(tokens_in=5_000, tokens_out=900)), [*ROWS, coder], MODEL, 0.0)
    assert told is not None
    assert (told["compileUsd"], told["calls"], told["isPaidBack"]) == (None, None, None)
    assert told["words"].endswith("whether that pays is not known: what made it has no price")
    free = measured(candidate(costs=Costs()), ROWS, MODEL, 0.0)
    assert free is not None
    assert (free["compileUsd"], free["calls"], free["isPaidBack"]) == (0.0, 0, True)


def test_what_a_coder_whose_price_is_nothing_took_is_nothing() -> None:
    told = measured(candidate(costs=Costs(tokens_in=5_000, tokens_out=900)), ROWS, MODEL, 0.0)
    assert told is not None
    assert (told["compileUsd"], told["calls"], told["isPaidBack"]) == (0.0, 0, True)
    assert told["words"].startswith("it took $0")


def test_before_its_first_request_nothing_is_measured() -> None:
    assert measured(candidate(), [row("coder", 1, usd=1.0)], MODEL, 0.0) is None


def test_the_baseline_is_the_checkpoints_else_that_of_the_discovery() -> None:
    window = {"count": 10, "costUsd": 0.1, "latencyMs": {"avg": 2000.0}, "tokensIn": 900, "tokensOut": 100}
    known = {"expected": {"modelPerCall": {"usd": 0.5, "seconds": 1.0, "tokens": 7.0}}}
    assert baseline_of(candidate(checkpoint=Checkpoint("r", window)), known) == PerCall(0.01, 2.0, 100.0)
    assert baseline_of(candidate(checkpoint=Checkpoint("r", {"count": 0})), known) == PerCall(0.5, 1.0, 7.0)
    assert baseline_of(candidate(), {}) is None
    unpriced = {"expected": {"modelPerCall": {"usd": None, "seconds": 1.0, "tokens": 7.0}}}
    free = {**window, "costUsd": 0.0}
    assert baseline_of(candidate(checkpoint=Checkpoint("r", free)), unpriced).usd is None
    assert baseline_of(candidate(checkpoint=Checkpoint("r", free)), known).usd == 0.0


# -- in service


@pytest.fixture
async def promoted(empty_world: World) -> World:
    """A model of one second a call at 0.001, a handler in service whose answers are hardly checked."""
    world = empty_world
    world.model.latency_s = 1.0
    await world.register(component(optimization={"maxWrongAnswers": 800}))
    await world.send_all(lines(5, start=70_000))
    await world.to_state("promoted")
    return world


def money(world: World) -> Money:
    return world.money


async def test_savings_are_told_today_and_in_total_and_survive_a_restart(promoted: World) -> None:
    first = (await money(promoted).savings(APP))["total"]
    await promoted.send_all(lines(50, start=80_000))
    now = await money(promoted).savings(APP)
    gained = now["total"]["saved"]["usd"] - first["saved"]["usd"]
    assert gained == pytest.approx(50 * 0.001)
    assert now["total"]["saved"]["seconds"] - first["saved"]["seconds"] == pytest.approx(50.0)
    assert now["today"] == now["total"]
    promoted.clock.advance(DAY_S)
    await promoted.restart()
    later = await money(promoted).savings(APP)
    assert later["total"]["saved"]["usd"] == pytest.approx(now["total"]["saved"]["usd"])
    assert later["today"]["requests"] == 0


async def test_savings_are_told_day_by_day_for_35_days_and_over_restarts(promoted: World) -> None:
    per_call = 0.001
    promoted.clock.advance(DAY_S)
    for day in range(4):
        await promoted.send_all(lines(10 * (day + 1), start=90_000 + 1_000 * day))
        promoted.clock.advance(DAY_S)
        if day == 1:
            await promoted.restart()
    told = await money(promoted).savings(APP, 5)
    assert [one["requests"] for one in told["days"]] == [40, 30, 20, 10]
    assert [one["saved"]["usd"] for one in told["days"]] == pytest.approx([n * per_call for n in (40, 30, 20, 10)])
    assert [one["saved"]["seconds"] for one in told["days"]] == pytest.approx([40, 30, 20, 10], rel=0.01)
    assert [one["saved"]["tokens"] for one in told["days"]] == [n * 110 for n in (40, 30, 20, 10)]
    assert sorted((one["day"] for one in told["days"]), reverse=True) == [one["day"] for one in told["days"]]
    component = told["components"][PARSE]
    assert component["days"] == told["days"]
    assert component["candidates"][0]["before"] == {"usd": per_call, "seconds": 1.0, "tokens": 110.0}
    assert len((await money(promoted).savings(APP, 2))["days"]) == 1, "yesterday; today nothing has happened"
    before = told["total"]
    promoted.clock.advance(40 * DAY_S)
    await promoted.restart()
    later = await money(promoted).savings(APP, 35)
    assert later["days"] == []
    for what in ("usd", "seconds", "tokens"):
        assert later["total"]["saved"][what] == pytest.approx(before["saved"][what])


async def test_the_newest_that_served_are_shown_and_all_are_in_the_sums(world: World) -> None:
    baseline = {"count": 1, "costUsd": 0.5, "latencyMs": {"avg": 100.0}, "tokensIn": 5, "tokensOut": 5}
    ids = []
    for attempt in range(52):
        one = await world.book.create(
            APP, PARSE, actor="oracle", reason="try", proposer="coder", spec_hash="s", attempt=attempt + 1
        )
        checkpoint = Checkpoint(revision="a" * 40, baseline=baseline)
        await world.book.decide(one.id, CandidateState.REJECTED, actor="ann", reason="no", checkpoint=checkpoint)
        if attempt:
            world.usage_book.served(
                APP, PARSE, SERVED_BY_HANDLER, candidate_id=one.id, ok=True, tokens_in=0, tokens_out=0, usd=0.0,
                seconds=0.0,
            )  # fmt: skip
            ids.append(one.id)
    told = await money(world).savings(APP)
    shown = [one["candidateId"] for one in told["components"][PARSE]["candidates"]]
    assert shown == ids[:0:-1]
    assert told["total"]["saved"]["usd"] == pytest.approx(51 * 0.5)


async def test_usage_is_told_by_purpose_and_adds_up(promoted: World) -> None:
    told = await money(promoted).usage(APP)
    purposes = told["components"][PARSE]["total"]["byPurpose"]
    assert {"serve", "coder", "reference", "audit"} <= set(purposes)
    assert purposes["coder"] == {
        "calls": 1, "refused": 0, "tokensIn": 100, "tokensOut": 10, "usd": 0.001, "unpricedCalls": 0, "seconds": 1.0,
    }  # fmt: skip
    assert told["total"]["calls"] == sum(one["calls"] for one in purposes.values())
    assert told["total"]["calls"] == len(promoted.model.asked) + len(promoted.model.specifications)
    assert told["total"]["evolutionUsd"] == pytest.approx(promoted.budgets.evolution_spent_usd)


async def test_a_handler_shows_what_was_expected_and_what_is_measured(promoted: World) -> None:
    await promoted.send_all(lines(100, start=80_000))
    one = promoted.book.candidates()[0]
    told = await money(promoted).break_even(one)
    assert told["expected"]["modelPerCall"]["usd"] == pytest.approx(0.001)
    figures = told["measured"]
    assert figures["coverage"] > 0.9
    assert figures["compileUsd"] == pytest.approx(one.costs.usd - one.costs.audits_usd)
    per_call = figures["savingUsdPerCall"]
    assert figures["calls"] == pytest.approx(figures["compileUsd"] / per_call, abs=1)
    assert figures["words"] in " ".join(await money(promoted).lines(APP, PARSE))


async def test_recommendations_are_listed_by_worth_with_what_starts_them(empty_world: World) -> None:
    world = empty_world
    rule = {"description": "busy", "condition": {"expression": "count(requests) >= 10"},
            "actionParams": {"windowS": 3600}}  # fmt: skip
    for_all = {"rules": [rule], "maxWrongAnswers": 800}
    await world.register(
        component("small", optimization={**for_all, "mode": "recommend"}),
        component("large", optimization={**for_all, "mode": "recommend"}),
        component("poor", optimization=for_all),
    )
    world.model.coder_usd = 10.0
    for name, times in (("small", 100), ("large", 1000), ("poor", 20)):
        call(world, name, times=times)
    await turn(world)
    listed = await money(world).recommendations()
    assert [one["componentId"] for one in listed] == ["large", "small", "poor"]
    large, _small, poor = listed
    assert (large["status"], large["candidateId"]) == ("waits_for_approval", world.book.current(APP, "large").id)
    assert large["start"] == f"/candidates/{large['candidateId']}/approve"
    assert (large["rule"]["values"]["count"], large["expected"]["isWorthIt"]) == (1000, True)
    assert (poor["status"], poor["candidateId"], poor["expected"]["isWorthIt"]) == ("not_worth_it", None, False)
    assert poor["start"] == f"/apps/{APP}/components/poor/optimize"
    assert "compiling takes about" in poor["reason"]
    assert await money(world).recommendations("another") == []
    await world.oversight.act(large["candidateId"], "approve", actor="ann", reason="yes")
    assert [one["componentId"] for one in await money(world).recommendations()] == ["small", "poor"]


async def test_why_says_what_money_holds(empty_world: World) -> None:
    world = empty_world
    await world.register(component(optimization={"rules": [], "maxWrongAnswers": 800}))
    assert await money(world).lines(APP, PARSE) == [], "nobody has asked for it yet"
    call(world)
    assert "pays after" in (await money(world).lines(APP, PARSE))[0]
    world.usage_book.called(APP, "other", "coder", tokens_in=1, tokens_out=1, usd=10.0, seconds=1)
    assert "Evolution has spent its budget of 10 US dollars for today" in (await money(world).lines(APP, PARSE))[-1]
    assert money(world).budgets()["leftUsd"] == 0.0


def test_what_a_cache_answered_and_what_the_owners_code_did_is_no_prompts_merit() -> None:
    shorter = PromptImplementation(Artifact.of("prompts/parse.yaml", b"{}"))
    live = LiveHandler("c-1", APP, PARSE, shorter, 1.0, b"", 0.1, "s", is_promoted=True)
    by_prompt = Choice(shorter, "prompt@stable", "STATIC", prompt=live)
    assert by_prompt.counted_as(is_deoptimised=False, is_cached=False) == (SERVED_BY_PROMPT, "c-1")
    assert by_prompt.counted_as(is_deoptimised=False, is_cached=True) == (SERVED_BY_MODEL, "")
    assert by_prompt.counted_as(is_deoptimised=True, is_cached=False) == (DEOPTIMISED, "c-1")
    own = Choice(HandlerImplementation(None, shorter.artifact), "jit@own", "STATIC", prompt=live)
    assert own.counted_as(is_deoptimised=False, is_cached=False) == (SERVED_BY_HANDLER, "")

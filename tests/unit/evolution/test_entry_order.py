"""Comparisons count in the order in which they began, by what their class was worth then, however long each takes."""

import asyncio
from dataclasses import replace

import pytest

from tests.unit.evolution.world import FORGETS_PEARS, GOOD, World, coder_answer, component, lines
from uhlp.errors import ModelProviderUnavailable
from uhlp.evolution.comparison import Comparison
from uhlp.evolution.entry_order import EntryOrder
from uhlp.evolution.live_evidence import LiveEvidence
from uhlp.evolution.statistics import Verdict

PEARS, MORE_PEARS = "5001 pears", "5002 pears"
MISCOUNTS_FIGS = GOOD.replace("int(found[1])", "int(found[1]) + (found[1] in ('8001', '8002'))")
A, B = (Comparison("shadow", name * 64, {}, "right", "single", 1, 1) for name in "ab")


def evidence(world: World, candidate_id: str) -> LiveEvidence:
    found = world.governor.evidence_of(candidate_id)
    assert found is not None
    return found


async def shadow_that_never_saw_pears(world: World) -> str:
    """Ten clean comparisons are known of it; it takes thirty-one more."""
    return await world.to_state("shadow", code=FORGETS_PEARS, without="pears")


async def send_with_two_observers(world: World, texts: list[str]) -> "asyncio.Task[None]":
    """Those texts are observed beside whatever comes next; until the first of them has to ask up."""
    for text in texts:
        await world.send(text, observe=False)
    observing = asyncio.gather(*(world.observer.run_cycle() for _ in texts))
    for _ in range(200):
        await asyncio.sleep(0)
    return observing  # type: ignore[return-value]


def test_who_ends_first_waits_for_who_began_first() -> None:
    order = EntryOrder()
    first, second, third = order.take(), order.take(), order.take()
    assert list(order.settle(second, B)) == []
    assert list(order.settle(third, None)) == []
    assert list(order.settle(first, A)) == [(A, "trusted"), (B, "trusted")]
    assert (len(order), list(order.settle(first, A))) == (0, [])


def test_behind_too_many_that_wait_nothing_counts_and_nobody_is_let_past() -> None:
    order = EntryOrder()
    blocking = order.take()
    waiting = [order.take() for _ in range(1500)]
    assert [list(order.settle(place, B)) for place in waiting if not place.is_counted] == [[]] * 501
    assert [found for place in waiting for found in order.settle(place, B)] == []
    assert len(list(order.settle(blocking, None))) == 999
    assert order.take().is_counted


async def test_answers_that_agree_do_not_overtake_one_that_has_to_ask_up(world: World) -> None:
    candidate_id = await shadow_that_never_saw_pears(world)
    live, n = evidence(world, candidate_id), evidence(world, candidate_id).account.n
    world.model.second_thoughts[PEARS] = answered = asyncio.Event()
    observing = await send_with_two_observers(world, [PEARS])
    await world.send_all(lines(60, start=6001, without="pears"))
    assert (live.account.n, live.account.verdict) == (n, Verdict.HOLD), "enough agree, and one is not judged yet"
    assert world.state_of(candidate_id) == "shadow"
    answered.set()
    await asyncio.wait_for(observing, 30)
    assert (live.account.n, live.account.k) == (n + 61, 1)


async def test_what_nobody_can_judge_keeps_its_place(world: World) -> None:
    candidate_id = await shadow_that_never_saw_pears(world)
    live, n = evidence(world, candidate_id), evidence(world, candidate_id).account.n
    world.model.second_thoughts[PEARS] = ModelProviderUnavailable("too many requests")
    await world.send(PEARS)
    await world.send_all(lines(60, start=6001, without="pears"))
    assert (live.account.n, live.account.verdict, len(live.unasked)) == (n, Verdict.HOLD, 1)
    world.model.second_thoughts.clear()
    await world.send("6500 apples")
    assert (live.account.n, live.account.k, len(live.unasked)) == (n + 62, 1, 0)


async def test_a_comparison_that_breaks_off_holds_up_nobody(world: World) -> None:
    candidate_id = await shadow_that_never_saw_pears(world)
    live, n = evidence(world, candidate_id), evidence(world, candidate_id).account.n
    world.model.second_thoughts[PEARS] = asyncio.Event()
    observing = await send_with_two_observers(world, [PEARS])
    await world.send("6500 apples")
    assert live.account.n == n
    observing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await observing
    assert (live.account.n, len(live.order)) == (n + 1, 0)


async def test_an_alarm_does_not_wait_in_line(world: World) -> None:
    candidate_id = await world.to_state("promoted", code=FORGETS_PEARS, without="pears")
    world.model.second_thoughts[PEARS] = asyncio.Event()
    observing = await send_with_two_observers(world, [PEARS])
    await world.send_all(lines(40, start=7001, product="pears"))
    assert world.state_of(candidate_id) == "rolled_back"
    observing.cancel()


# -- classes that are decided late


async def by_product(world: World, code: str, held_out: list[str]) -> LiveEvidence:
    await world.register(component(optimization={"decisionField": "product"}))
    await world.record(lines(30, split="train"))
    await world.record(held_out)
    world.model.coder.append(coder_answer(code))
    candidate_id = await world.optimize()
    answer_all_and_check_all(world)
    return evidence(world, candidate_id)


def answer_all_and_check_all(world: World) -> None:
    live = world.live()
    assert live is not None
    world.rollouts.put(replace(live, weight=1.0, audit_share=1.0))


def held_out(product: str, count: int) -> list[str]:
    return lines(count, split="held_out", product=product)


async def test_of_a_class_that_is_given_up_the_answers_on_their_way_still_count(empty_world: World) -> None:
    world = empty_world
    live = await by_product(world, MISCOUNTS_FIGS, held_out("figs", 80))
    n = live.account.n
    answers = [await world.send(text, observe=False) for text in ("8001 figs", "8002 figs", "8003 figs")]
    assert {answer.handler for answer in answers} == {"jit"}, "its class was trusted when they were answered"
    await world.observe()
    assert live.classes.counts.trusted == ()
    assert (live.account.n - n, live.account.k) == (3, 2)
    answer_all_and_check_all(world)
    assert (await world.send("8004 figs")).handler == "llm"
    assert (live.account.n - n, live.account.k) == (3, 2), "and what comes after only helps the class"


async def test_of_a_class_that_is_trusted_meanwhile_the_answers_on_their_way_do_not_count(empty_world: World) -> None:
    world = empty_world
    live = await by_product(world, GOOD, held_out("figs", 80) + held_out("limes", 29))
    n = live.account.n
    for text in ("8001 limes", "8002 limes"):
        assert (await world.send(text, observe=False)).handler == "llm"
    await world.observe()
    assert live.classes.counts.trusted == ('"figs"', '"limes"')
    assert live.account.n == n
    answer_all_and_check_all(world)
    assert (await world.send("8003 limes")).handler == "jit"
    assert live.account.n == n + 1

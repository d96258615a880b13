"""A better handler replaces a handler, by the same gates; the one in service serves until then, whatever happens."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.evolution.test_restarts import Crash, crash_after
from tests.unit.evolution.world import (
    APP,
    CONFIG,
    FORGETS_PEARS,
    GOOD,
    PARSE,
    TESTS,
    World,
    coder_answer,
    component,
    line,
    lines,
    parse,
)
from uhlp.errors import StateConflict
from uhlp.evolution.config import EvolutionConfig
from uhlp.evolution.rollouts import InTraffic
from uhlp.evolution.statistics import Outcome
from uhlp.optimization.optimization_oracle import Discovery

ONLY_FRUIT = GOOD.replace(
    "    if found is None:", '    if found is None or found[2] not in ("apples", "pears", "plums", "nuts"):'
)
"""Right in four of seven products; leaves the others to the model."""
BETTER = GOOD + "\n# reads every product\n"


@pytest.fixture
def evolution_config() -> EvolutionConfig:
    """A step of a canary takes half the requests: each story begins with the canary of another handler."""
    return CONFIG.model_copy(update={"canary": CONFIG.canary.model_copy(update={"min_executions": 5})})


async def in_service(world: World, code: str = ONLY_FRUIT, *, without: str = "-") -> str:
    """A handler in full service, v1."""
    await world.record(lines(30, split="train", without=without) + lines(80, split="held_out", without=without))
    first = await challenge(world, code)
    await world.pass_canary(first, without=without)
    assert world.state_of(first) == "promoted"
    return first


async def beside(world: World) -> tuple[str, str]:
    """(in service, candidate in shadow): recordings alone have not proven it."""
    first = await in_service(world)
    await world.samples.delete_application(APP)
    await world.record(lines(30, split="train") + lines(20, split="held_out"))
    second = await challenge(world)
    assert world.state_of(second) == "shadow", world.book.candidate(second).reason
    return first, second


async def challenge(world: World, code: str = BETTER) -> str:
    world.model.coder.append(coder_answer(code))
    return await world.optimize()


async def to_canary(world: World, code: str = BETTER) -> tuple[str, str]:
    """(in service, candidate in its canary)."""
    first = await in_service(world)
    second = await challenge(world, code)
    assert world.state_of(second) == "canary", world.book.candidate(second).reason
    return first, second


def traffic(world: World) -> InTraffic:
    return world.rollouts.in_traffic(APP, PARSE)


def weigh(world: World, weight: float) -> None:
    candidate = traffic(world).candidate
    assert candidate is not None
    world.rollouts.put(replace(candidate, weight=weight))


async def answers(world: World, texts: list[str]) -> Counter[str]:
    return Counter(answer.implementation for answer in await world.send_all(texts))


# -- the whole way


async def test_a_better_handler_replaces_the_one_in_service(world: World) -> None:
    first = await in_service(world)
    assert (await world.send("3 figs")).handler == "llm"
    second = await challenge(world)
    assert (world.state_of(first), world.state_of(second)) == ("promoted", "canary")
    await to_the_end(world, second)
    assert (world.state_of(first), world.state_of(second)) == ("superseded", "promoted")
    assert world.book.candidate(first).cause == "replaced"
    assert world.book.candidate(first).reason == f"replaced by v2, candidate {second}"
    assert (await world.send("3 figs")).implementation == "jit@v2"
    definition = world.registry.snapshot(APP).components[PARSE]
    assert (definition.handler_version, definition.definition.handler_type) == (2, "JIT")


async def to_the_end(world: World, candidate_id: str) -> None:
    for sent in range(6000):
        if world.state_of(candidate_id) not in ("shadow", "canary"):
            return
        await world.send(line(600_000 + sent))
        if sent % 40 == 39:
            world.clock.advance(61)
            await world.daemon.run_cycle()
    raise AssertionError(world.book.candidate(candidate_id))


async def test_the_replacement_is_one_commit_and_one_transaction(world: World) -> None:
    _first, second = await to_canary(world)
    commits = len(await world.state.history(APP))
    await to_the_end(world, second)
    assert len(await world.state.history(APP)) == commits + 1
    last = (await world.store.entries(limit=-1))[-2:]
    assert [(one.entry.to_state, one.entry.actor) for one in last] == [
        ("superseded", "governor"),
        ("promoted", "governor"),
    ]


async def test_the_proposer_is_told_of_the_handler_in_service(world: World) -> None:
    await in_service(world)
    await challenge(world)
    told = world.model.specifications[-1]
    assert ONLY_FRUIT in told
    assert "figs" in told


async def test_what_the_handler_in_service_was_fitted_to_is_no_evidence_for_the_next(world: World) -> None:
    first = await in_service(world)
    trained = world.governor.evidence_of(first).trained
    second = await challenge(world)
    assert trained <= world.governor.evidence_of(second).trained


# -- who answers


async def test_the_handler_in_service_answers_while_the_candidate_runs_beside(world: World) -> None:
    _first, second = await beside(world)
    seen = world.book.candidate(second).figures.seen
    assert set(await answers(world, lines(40, start=500_000, product="apples"))) == {"jit@v1"}
    figures = world.governor.evidence_of(second).figures
    assert figures.seen > seen, "a share of the requests is put to it"
    assert figures.wrong == 0


async def test_in_its_canary_both_answer_and_each_is_named(world: World) -> None:
    _first, second = await to_canary(world)
    weigh(world, 0.5)
    told = [await world.send(text) for text in lines(60, start=700_000, product="apples")]
    assert {(one.implementation, one.reason) for one in told} == {("jit@v1", "SPLIT"), (f"jit@{second}", "SPLIT")}
    tests = world.governor.evidence_of(second).canary
    assert tests.assignment.n > 50


async def test_what_the_candidate_does_not_answer_the_model_does(world: World) -> None:
    await to_canary(world)
    weigh(world, 0.9999)
    world.runner.faults = {"3 apples": "die"}
    answer = await world.send("3 apples")
    assert (answer.handler, answer.deoptimized) == ("llm", "sandbox")


async def test_one_model_answer_serves_the_audit_and_the_shadow(world: World) -> None:
    await beside(world)
    before = len(world.model.asked)
    await world.send_all(lines(50, start=500_000, product="apples"))
    assert len(world.model.asked) - before <= 50


async def test_the_evidence_of_a_candidate_is_about_all_requests_alike(world: World) -> None:
    """Not about those that the handler in service leaves to the model, which would cost nothing."""
    _first, second = await beside(world)
    evidence = world.governor.evidence_of(second)
    before = evidence.figures.seen
    await world.send_all(lines(150, start=500_000, product="figs"))
    share = (evidence.figures.seen - before) / 150
    baseline, candidate = traffic(world).baseline, traffic(world).candidate
    assert baseline is not None
    assert candidate is not None
    assert share == pytest.approx(max(baseline.audit_share, candidate.audit_share), abs=0.12)


# -- the gates


async def test_the_same_code_is_refused_before_it_bars_itself(world: World) -> None:
    first = await in_service(world)
    second = await challenge(world, ONLY_FRUIT)
    refused = world.book.candidate(second)
    assert (refused.state, refused.cause, refused.code_sha) == ("rejected", "no_better", None)
    assert refused.reason == "coder wrote the code that is in service as v1"
    await world.restart()
    assert world.state_of(first) == "promoted"
    assert (await world.send("3 apples")).implementation == "jit@v1"


async def test_a_handler_that_answers_less_is_refused_with_the_figures(world: World) -> None:
    await in_service(world, GOOD)
    second = await challenge(world, ONLY_FRUIT)
    refused = world.book.candidate(second)
    assert (refused.state, refused.cause) == ("rejected", "no_better")
    assert "recorded inputs it would answer" in refused.reason
    assert (await world.send("3 figs")).implementation == "jit@v1"


async def test_a_handler_that_is_wrong_more_often_is_refused(empty_world: World) -> None:
    world = empty_world
    await world.register(component(optimization={"epsilon": 0.4}))
    await in_service(world, GOOD)
    await world.record(lines(60, start=3000, split="held_out"))
    tests = TESTS.replace("apples", "plums")
    world.model.coder.append(coder_answer(FORGETS_PEARS, tests))
    second = await world.optimize()
    refused = world.book.candidate(second)
    assert (refused.state, refused.cause) == ("rejected", "no_better"), refused.reason
    assert "wrong that the handler in service gets right" in refused.reason


async def test_trust_never_lets_a_candidate_answer_for_a_proven_handler_early(empty_world: World) -> None:
    world = empty_world
    await world.register(component(optimization={"epsilon": 0.02, "trust": "serve-and-check", "maxWrongAnswers": 50}))
    await world.record(lines(30, split="train") + lines(250, split="held_out"))
    world.model.coder.append(coder_answer(ONLY_FRUIT))
    first = await world.optimize()
    await to_the_end(world, first)
    assert world.state_of(first) == "promoted"
    await world.samples.delete_application(APP)
    await world.record(lines(30, split="train") + lines(80, split="held_out"))
    second = await challenge(world)
    assert world.governor.evidence_of(second).account.is_proven(0.1)
    assert world.state_of(second) == "shadow"


async def test_at_most_one_candidate_is_open(world: World) -> None:
    _first, second = await beside(world)
    with pytest.raises(StateConflict, match=second):
        await world.optimize()


# -- the ways back


async def test_a_candidate_that_fails_leaves_the_handler_in_service(world: World) -> None:
    first, second = await to_canary(world)
    commits = len(await world.state.history(APP))
    await world.oversight.act(second, "rollback", actor="ann", reason="no")
    assert (world.state_of(first), world.state_of(second)) == ("promoted", "rolled_back")
    assert traffic(world).candidate is None
    assert set(await answers(world, lines(10, start=700_000, product="apples"))) == {"jit@v1"}
    await world.daemon.run_cycle()
    assert len(await world.state.history(APP)) == commits


async def test_an_alarm_of_the_candidate_is_not_the_handlers_in_service(world: World) -> None:
    first, second = await to_canary(world, BETTER.replace("int(found[1])", "int(found[1]) % 700_000"))
    weigh(world, 0.9)
    for number in range(60):
        if world.state_of(second) != "canary":
            break
        await world.send(f"{700_001 + number} apples")
    assert (world.state_of(first), world.state_of(second)) == ("promoted", "rolled_back")
    assert world.book.candidate(second).cause == "audit"


async def test_when_the_handler_in_service_goes_the_candidate_keeps_its_evidence_and_begins_its_canary_anew(
    world: World,
) -> None:
    first, second = await to_canary(world)
    world.clock.advance(61)
    sent = 0
    while world.book.candidate(second).canary_step == 0:
        await world.send(line(700_000 + sent))
        sent += 1
        if sent % 40 == 0:
            await world.daemon.run_cycle()
    evidence = world.governor.evidence_of(second)
    n, tests = evidence.account.n, evidence.canary
    await world.oversight.act(first, "rollback", actor="ann", reason="drifts")
    await world.daemon.run_cycle()
    candidate = world.book.candidate(second)
    assert (candidate.state, candidate.canary_step) == ("canary", 0)
    assert candidate.checkpoint.baseline["arm"]["implementation"] == "prompt@stable"
    assert evidence.account.n == n
    assert evidence.canary is not tests
    assert {one.implementation for one in await world.send_all(lines(20, start=800_000))} <= {
        "prompt@stable",
        f"jit@{second}",
    }
    await to_the_end(world, second)
    assert world.state_of(second) == "promoted"


async def test_a_quarantine_of_the_component_ends_what_was_to_replace_its_handler(world: World) -> None:
    first, second = await to_canary(world)
    await world.oversight.act(first, "quarantine", actor="ann", reason="it deceives us")
    assert (world.state_of(first), world.state_of(second)) == ("quarantined", "superseded")
    assert (await world.send("3 apples")).implementation == "prompt@stable"


async def test_a_changed_prompt_voids_both(world: World) -> None:
    first, second = await to_canary(world)
    await world.change_prompt()
    assert (await world.send("3 apples", observe=False)).handler == "llm"
    await world.daemon.run_cycle()
    assert (world.state_of(first), world.state_of(second)) == ("superseded", "superseded")


async def test_a_replaced_handlers_mistakes_join_the_regression_set(empty_world: World) -> None:
    world = empty_world
    await world.register(component(optimization={"epsilon": 0.3}))
    await in_service(world, FORGETS_PEARS, without="pears")
    for number in range(12):
        await world.send(f"{40_000 + number} pears")
        await world.send_all(lines(6, start=41_000 + 10 * number, product="apples"))
    second = await challenge(world)
    await to_the_end(world, second)
    cases = await world.store.regressions(APP, PARSE)
    assert any("pears" in one.case["input"]["text"] for one in cases)


# -- restarts (I2)


@pytest.mark.parametrize("stage", ["shadow", "canary"])
@pytest.mark.parametrize("crash", [False, True])
async def test_a_restart_keeps_both(world: World, stage: str, crash: bool) -> None:
    first, second = await (beside(world) if stage == "shadow" else to_canary(world))
    await world.daemon.run_cycle()
    before = traffic(world)
    await world.restart(crash=crash)
    after = traffic(world)
    assert (world.state_of(first), world.state_of(second)) == ("promoted", stage)
    for was, now in ((before.baseline, after.baseline), (before.candidate, after.candidate)):
        assert was is not None
        assert now is not None
        assert (now.candidate_id, now.weight, now.salt) == (was.candidate_id, was.weight, was.salt)
    assert (await world.send("3 apples")).implementation in ("jit@v1", f"jit@{second}")
    await to_the_end(world, second)
    assert world.state_of(second) == "promoted"


async def test_a_crash_between_the_replacement_and_its_commit_is_made_good(world: World) -> None:
    first, second = await to_canary(world)
    reconcile = world.promotion.reconcile

    async def crashing(*args: Any) -> None:
        if world.state_of(second) == "promoted":
            raise Crash
        await reconcile(*args)

    world.promotion.reconcile = crashing  # type: ignore[method-assign]
    with pytest.raises(Crash):
        await to_the_end(world, second)
    await world.restart(crash=True)
    assert (world.state_of(first), world.state_of(second)) == ("superseded", "promoted")
    assert world.registry.snapshot(APP).components[PARSE].handler_version == 1
    assert (await world.send("3 figs")).implementation == "jit@v2", "the ledger has decided"
    await world.daemon.run_cycle()
    await world.daemon.run_cycle()
    assert world.registry.snapshot(APP).components[PARSE].handler_version == 2


async def test_a_crash_between_the_end_of_the_handler_and_the_new_beginning_of_the_canary_is_made_good(
    world: World,
) -> None:
    first, second = await to_canary(world)

    async def act() -> None:
        await world.oversight.act(first, "rollback", actor="ann", reason="drifts")

    await crash_after(world, first, "rolled_back", act)
    await world.daemon.run_cycle()
    candidate = world.book.candidate(second)
    assert candidate.checkpoint.baseline["arm"]["implementation"] == "prompt@stable"
    assert candidate.state == "canary"


async def test_alarms_of_both_are_heard_after_a_restart(world: World) -> None:
    first, second = await to_canary(world)
    evidence = world.governor.evidence_of(second)
    for number in range(200):
        assigned = evidence.canary.assign(f"u{number}", is_candidate=number % 20 == 0, weight=0.05)
        evidence.canary.finish(assigned, Outcome(failed=number % 20 == 0))
    await world.restart(crash=False)
    await world.daemon.run_cycle()
    assert (world.state_of(first), world.state_of(second)) == ("promoted", "rolled_back")
    assert world.book.candidate(second).cause == "share_errors"


# -- when it is started


async def wanted(world: World) -> list[Discovery]:
    return world.governor.improvements()


async def test_a_handler_that_leaves_much_to_the_model_is_compiled_anew_when_the_clocks_allow(world: World) -> None:
    await in_service(world)
    world.clock.advance(3601)
    assert await wanted(world) == []
    await world.send_all(lines(210, start=500_000))
    (found,) = await wanted(world)
    assert (found.action, found.is_correction) == ("jit", False)
    assert found.reason == "v1 left 90 of 210 requests to the model within the hour"
    await world.daemon.run_cycle()
    assert world.book.open_candidate(APP, PARSE) is not None


@pytest.mark.parametrize(("why", "is_wanted"), [("guard", True), ("sandbox", False), ("timeout", False)])
async def test_no_other_handler_is_asked_for_where_sandboxes_are_missing(
    world: World, why: str, is_wanted: bool
) -> None:
    await in_service(world)
    world.clock.advance(3601)
    for _ in range(210):
        world.windows.observe(
            APP, PARSE, handler="llm", latency_ms=1.0, ok=True, tokens_in=1, tokens_out=1, cost_usd=0.0,
            deoptimized=why,
        )  # fmt: skip
    assert bool(await wanted(world)) is is_wanted


async def test_not_before_the_clocks_have_run(world: World) -> None:
    await in_service(world)
    world.clock.advance(3601)
    assert world.state_of(await challenge(world, ONLY_FRUIT)) == "rejected"
    world.clock.advance(1)
    await world.send_all(lines(210, start=500_000))
    assert await wanted(world)
    await world.daemon.run_cycle()
    assert world.book.open_candidate(APP, PARSE) is None
    world.clock.advance(700)
    await world.daemon.run_cycle()
    assert world.book.open_candidate(APP, PARSE) is not None


async def test_a_new_counterexample_is_a_reason_whatever_it_saves(empty_world: World) -> None:
    world = empty_world
    await world.register(component(optimization={"epsilon": 0.3}))
    first = await in_service(world, FORGETS_PEARS, without="pears")
    world.clock.advance(1)
    for text in lines(8, start=500_000, product="pears", split="train"):
        await world.send_all(lines(30, start=int(text.split()[0]) * 1_000, product="apples"))
        await world.send(text)
    assert world.state_of(first) == "promoted"
    (found,) = await wanted(world)
    assert found.is_correction
    assert "new counterexample" in found.reason


async def test_a_run_that_was_cut_off_is_kept_and_is_no_reason_to_pay_a_coder(world: World) -> None:
    first = await in_service(world)
    world.clock.advance(1)
    (text,) = lines(1, start=500_000, split="train")
    world.runner.faults = {text: "die"}
    assert (await world.send(text)).deoptimized == "sandbox"
    assert [one.unanswered for one in world.book.candidate(first).mismatches if one.stage == "audit"] == [True]
    assert await wanted(world) == []


@pytest.mark.parametrize(("mode", "actions"), [("off", []), ("recommend", ["recommend"]), ("auto", ["jit"])])
async def test_the_mode_holds_for_better_handlers_too(world: World, mode: str, actions: list[str]) -> None:
    await in_service(world)
    registry = {"components": [component(optimization={"mode": mode})]}
    one = world.registry.snapshot(APP).components[PARSE].definition
    registry["components"][0] |= {
        "handlerType": "JIT",
        "taskDetails": {"prompt_template": PARSE, "script": one.task_details.script, "function": "handle"},
    }
    import json

    await world.registry.apply_files(
        APP, {"component_registry.yaml": json.dumps(registry).encode()}, message="Change the mode"
    )
    world.clock.advance(3601)
    await world.send_all(lines(210, start=500_000))
    assert [found.action for found in await wanted(world)] == actions


async def test_a_rule_may_ask_for_a_component_that_runs_as_code(empty_world: World) -> None:
    world = empty_world
    rule = {"description": "busy", "condition": {"expression": "count(requests) > 3"}, "actionParams": {"windowS": 60}}
    await world.register(component(optimization={"rules": [rule]}))
    await in_service(world)
    await world.send_all(lines(5, start=500_000))
    await world.oracle.run_optimization_cycle()
    (found,) = world.oracle.take_discoveries()
    assert found.component_id == PARSE


# -- what is forgiven, and what is quarantined


async def test_a_failure_is_forgiven_after_seven_clean_days_with_a_thousand_executions(world: World) -> None:
    failed = await world.to_state("shadow")
    await world.oversight.act(failed, "reject", actor="ann", reason="no")
    first = await challenge(world, ONLY_FRUIT)
    await world.send_all(lines(80, start=300_000))
    await to_the_end(world, first)
    evidence = world.governor.evidence_of(first)
    evidence.executions = 999
    await world.daemon.run_cycle()
    assert (await attempts(world)).failures == 1
    world.clock.advance(7 * 86_400)
    await world.daemon.run_cycle()
    assert (await attempts(world)).failures == 1, "999 executions"
    evidence.executions = 1000
    await world.restart(crash=False)
    await world.daemon.run_cycle()
    assert (await attempts(world)).failures == 0
    entry = (await world.store.entries(candidate_id=first, limit=-1))[-1].entry
    assert (entry.event, entry.actor) == ("forgiven", "governor")
    assert entry.reason == "7 days in service without an alarm: one of 1 failures is forgiven"


async def test_a_failure_of_a_candidate_beside_it_begins_the_clean_days_anew(world: World) -> None:
    first = await in_service(world)
    evidence = world.governor.evidence_of(first)
    world.clock.advance(6 * 86_400)
    second = await challenge(world, ONLY_FRUIT)
    assert world.state_of(second) == "rejected"
    evidence.executions += 5000
    world.clock.advance(86_400 + 1)
    await world.daemon.run_cycle()
    assert (await attempts(world)).failures == 1
    evidence.executions += 1000
    world.clock.advance(6 * 86_400)
    await world.daemon.run_cycle()
    assert (await attempts(world)).failures == 0


async def attempts(world: World) -> Any:
    return await world.store.attempts(APP, PARSE, world.spec_hash())


async def test_another_coder_lifts_a_quarantine(world: World) -> None:
    await world.record(lines(60))
    for _ in range(3):
        world.model.coder.extend(["no idea", "none"])
        last = await world.optimize()
    assert world.state_of(last) == "quarantined"
    await world.daemon.run_cycle()
    assert world.state_of(last) == "quarantined"
    await world.registry.apply_files(APP, {"app.yaml": b"appId: shop\nllm: {coderModel: wiser}\n"}, message="coder")
    await world.daemon.run_cycle()
    assert world.state_of(last) == "rejected"
    found = await attempts(world)
    assert (found.quarantined, found.failures) == (False, 2)
    entries = await world.store.entries(candidate_id=last, limit=-1)
    assert entries[-1].entry.reason == (
        "it failed with model the server's, coder the same; now there is model the server's, coder wiser"
    )


def test_the_world_judges_like_the_model() -> None:
    assert parse({"text": "3 figs"}) == {"quantity": 3, "product": "figs"}
    assert CONFIG.replace.min_requests == 200

"""A canary compares its two arms side by side: latency, cost, failures, and whether routing keeps its weight."""

import asyncio
from dataclasses import replace

import pytest

from tests.unit.evolution.world import APP, GOOD, PARSE, World, coder_answer, line, lines
from uhlp.evolution.candidate import Checkpoint
from uhlp.evolution.checkpoints import _tolerance_left
from uhlp.evolution.live_evidence import LiveEvidence
from uhlp.evolution.statistics import CanaryTests, Outcome
from uhlp.registry.snapshot import ComponentSnapshot
from uhlp.routing.request import RoutedRequest
from uhlp.routing.rollout import Rollout


async def canary(world: World, *, model_s: float = 0.1, handler_s: float = 0.0, code: str = GOOD) -> str:
    """A candidate in its first step; its baseline is known from 60 answers of the model."""
    world.model.latency_s = model_s
    await world.send_all(lines(60, start=90_000))
    await world.record(lines(60, split="held_out"))
    world.model.coder.append(coder_answer(code))
    candidate_id = await world.optimize()
    assert world.state_of(candidate_id) == "canary", world.book.candidate(candidate_id).reason
    world.runner.handler_latency_s = handler_s
    return candidate_id


def evidence(world: World, candidate_id: str) -> LiveEvidence:
    found = world.governor.evidence_of(candidate_id)
    assert found is not None
    return found


def arms(world: World, candidate_id: str) -> CanaryTests:
    tests = evidence(world, candidate_id).canary
    assert tests is not None
    return tests


def weigh(world: World, weight: float) -> None:
    live = world.live()
    assert live is not None
    world.rollouts.put(replace(live, weight=weight))


async def play(world: World, candidate_id: str, *, most: int = 3000) -> int:
    """Requests until the candidate is no canary any more."""
    for sent in range(most):
        if world.state_of(candidate_id) != "canary":
            return sent
        await world.send(line(200_000 + sent))
        if sent % 50 == 49:
            world.clock.advance(61)
            await world.daemon.run_cycle()
    return most


async def test_a_handler_slower_than_the_model_is_rolled_back_with_the_reason(world: World) -> None:
    candidate_id = await canary(world, handler_s=0.13)
    await play(world, candidate_id)
    candidate = world.book.candidate(candidate_id)
    assert (candidate.state, candidate.cause) == ("rolled_back", "share_latency_p50")
    assert candidate.reason.startswith("the candidate is worse in latency: of the answers slower than the median of 10")


async def test_a_faster_handler_passes_every_step(world: World) -> None:
    candidate_id = await canary(world, handler_s=0.001)
    await play(world, candidate_id)
    assert world.state_of(candidate_id) == "promoted"


async def test_a_request_that_the_model_took_over_is_the_candidates_with_its_whole_latency(world: World) -> None:
    candidate_id = await canary(world)
    weigh(world, 0.5)
    world.runner.handler_latency_s = 0.02
    world.model.latency_s = 0.099
    for number in range(40):
        await world.send(f"please {number} things", observe=False)
    latency = arms(world, candidate_id).latency
    assert latency is not None
    assert latency.p50.test.bad_candidate > 5, "0.099 s of the model and 0.02 s of the handler before it"
    assert latency.p50.test.bad_baseline == 0


async def test_a_handler_that_costs_what_the_model_costs_is_not_dearer(world: World) -> None:
    candidate_id = await canary(world)
    weigh(world, 0.5)
    for number in range(60):
        await world.send(f"please {number} things", observe=False)
    tests = arms(world, candidate_id)
    assert tests.cost is not None
    assert tests.cost.threshold == pytest.approx(0.001)
    assert tests.cost.test.bad_candidate == 0


async def test_a_user_counts_once_however_often_they_come(world: World) -> None:
    candidate_id = await canary(world)
    for number in range(30):
        await world.send(line(300_000 + number), session="ann", observe=False)
    assignment = arms(world, candidate_id).assignment
    assert assignment is not None
    assert assignment.n == 1


async def test_a_client_that_leaves_holds_up_nobody_elses_outcome(world: World) -> None:
    candidate_id = await canary(world)
    weigh(world, 0.5)
    world.runner.faults = dict.fromkeys(lines(40, start=400_000), "hang")
    requests = [asyncio.create_task(world.send(text, observe=False)) for text in world.runner.faults]
    await asyncio.sleep(0)
    for request in requests:
        request.cancel()
    await asyncio.gather(*requests, return_exceptions=True)
    world.model.latency_s = 0.5
    await world.send_all(lines(20, start=410_000))
    latency = arms(world, candidate_id).latency
    assert latency is not None
    assert latency.p50.test.bad_baseline > 3, "what came later has been entered"
    assert not arms(world, candidate_id)._pending


async def test_a_request_that_fails_is_its_arms_failure(world: World) -> None:
    candidate_id = await canary(world)
    weigh(world, 0.5)
    world.model.is_down = True
    for number in range(30):
        with pytest.raises(Exception, match="down"):
            await world.send(f"please {number} things", observe=False)
    errors = arms(world, candidate_id).errors
    assert errors.bad_baseline + errors.bad_candidate == 30
    assert min(errors.bad_baseline, errors.bad_candidate) > 5, "the model is behind both arms"


async def test_an_alarm_is_heard_while_the_candidate_is_paused(world: World) -> None:
    candidate_id = await canary(world, handler_s=0.13)
    await world.oversight.act(candidate_id, "pause", actor="ann", reason="holiday")
    weigh(world, 0.5)
    tests = arms(world, candidate_id)
    for number in range(200):
        assigned = tests.assign(f"u{number}", is_candidate=number % 20 == 0, weight=0.05)
        tests.finish(assigned, Outcome(failed=number % 20 == 0))
    assert tests.alarm is not None
    await world.daemon.run_cycle()
    assert world.state_of(candidate_id) == "rolled_back"
    assert world.book.candidate(candidate_id).cause == "share_errors"


async def test_a_routing_bug_holds_the_step_scores_nothing_and_is_cleared_by_a_person(world: World) -> None:
    candidate_id = await canary(world)
    tests = arms(world, candidate_id)
    for number in range(60):
        tests.finish(tests.assign(f"u{number}", is_candidate=True, weight=0.05), Outcome(failed=True))
    assert tests.has_mismatch
    assert tests.alarm is not None, "which means nothing now"
    world.clock.advance(61)
    await world.send_all(lines(300, start=200_000))
    await world.daemon.run_cycle()
    candidate = world.book.candidate(candidate_id)
    assert (candidate.state, candidate.canary_step) == ("canary", 0)
    assert "a routing bug: the candidate got " in str(world.governor.what_holds(candidate))
    await world.oversight.act(candidate_id, "resume", actor="ann", reason="repaired")
    assert world.governor.what_holds(candidate) is None
    assert not arms(world, candidate_id).has_mismatch
    await play(world, candidate_id)
    assert world.state_of(candidate_id) == "promoted"


async def test_a_restart_keeps_what_was_counted(world: World) -> None:
    candidate_id = await canary(world, handler_s=0.13)
    weigh(world, 0.5)
    await world.send_all(lines(15, start=200_000))
    before = arms(world, candidate_id).to_dict()
    await world.restart(crash=False)
    assert arms(world, candidate_id).to_dict() == before
    live = world.live()
    assert live is not None
    assert live.canary is arms(world, candidate_id)


async def test_a_crash_loses_the_newest_requests_of_both_arms_and_nothing_else(world: World) -> None:
    candidate_id = await canary(world)
    await world.send_all(lines(130, start=200_000))
    await world.daemon.run_cycle()
    await world.send_all(lines(110, start=210_000))
    await world.restart(crash=True)
    assignment = arms(world, candidate_id).assignment
    assert assignment is not None
    assert 80 <= assignment.n <= 130


async def test_thresholds_that_were_not_known_are_frozen_at_the_next_step(world: World) -> None:
    candidate_id = await world.to_state("canary")
    assert arms(world, candidate_id).latency is None
    world.clock.advance(61)
    sent = 0
    while world.book.candidate(candidate_id).canary_step == 0:
        await world.send(line(200_000 + sent))
        sent += 1
    assert sent > 50
    assert arms(world, candidate_id).latency is not None


@pytest.mark.parametrize("state", ["shadow", "promoted"])
async def test_outside_a_canary_nothing_is_drawn_or_counted(world: World, state: str) -> None:
    await world.to_state(state)
    app = world.registry.snapshot(APP)
    component: ComponentSnapshot = app.components[PARSE]
    request = RoutedRequest(app=app, component=component, input={"text": "1 fig"}, trace_id="t")
    choice = Rollout(rollouts=world.rollouts, audit_debt=world.audit_debt).choose(request)
    assert (choice.canary, choice.assigned) == (None, None)


async def test_the_checkpoint_holds_the_model_figures_and_those_of_the_arm(world: World) -> None:
    candidate_id = await canary(world)
    checkpoint = world.book.candidate(candidate_id).checkpoint
    assert isinstance(checkpoint, Checkpoint)
    assert checkpoint.baseline["count"] == 60
    arm = checkpoint.baseline["arm"]
    assert (arm["implementation"], arm["requests"], arm["tolerance"]) == ("prompt@stable", 60, 0.05)
    assert arm["p50Ms"] == pytest.approx(100, rel=0.05)
    assert arm["best"]["p50Ms"] == arm["p50Ms"]


def test_five_small_losses_cannot_add_up() -> None:
    best = {"p50Ms": 100.0, "p95Ms": 200.0, "costUsd": None}
    left = [_tolerance_left({**best, "p50Ms": p50}, best, 0.05) for p50 in (100.0, 102.0, 104.0, 105.0, 140.0)]
    assert left == pytest.approx([0.05, 0.0294, 0.0096, 0.0, 0.0], abs=1e-3)

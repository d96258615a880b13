"""A candidate in live traffic: asking up, audits, alarms, holds; what every state does with them."""

import asyncio
from typing import Any

import pytest

from tests.unit.evolution.world import (
    APP,
    CONFIG,
    FORGETS_PEARS,
    GOOD,
    PARSE,
    World,
    coder_answer,
    component,
    line,
    lines,
    parse,
)
from uhlp.errors import DeadlineExceeded, SandboxDied, StateConflict
from uhlp.evolution.statistics import Verdict
from uhlp.evolution.traffic_switch import TrafficSwitch
from uhlp.execution import ExecutionResult
from uhlp.sandbox.driver import Sandbox, SandboxSpec
from uhlp.sandbox.drivers.fake import FakeDriver
from uhlp.tools import Usage

BREAKS_ON_PEARS = GOOD.replace(
    "    return {", '    if found[2] == "pears":\n        raise KeyError("pears")\n    return {'
)


# -- asking up


async def test_agreement_costs_no_extra_call_and_disagreement_no_more_than_settles_it(world: World) -> None:
    await world.to_state("shadow")
    before = len(world.model.asked)
    await world.send(line(5001))
    assert len(world.model.asked) == before + 1
    world.model.answer = lambda inputs: {"quantity": 1, "product": "x"}
    await world.send(line(5002))
    assert len(world.model.asked) == before + 1 + 2, "two of three agree: the third is not asked"
    answers = iter([{"quantity": number, "product": "x"} for number in (1, 2, 3)])
    world.model.answer = lambda inputs: next(answers)
    await world.send(line(5003))
    assert len(world.model.asked) == before + 3 + 3


async def test_a_model_that_was_wrong_once_is_outvoted_and_the_handler_was_right(world: World) -> None:
    candidate_id = await world.to_state("shadow")
    answers = iter([{"quantity": 1, "product": "x"}])
    world.model.answer = lambda inputs: next(answers, parse(inputs))
    await world.send(line(5001))
    figures = world.book.candidate(candidate_id).figures
    assert (figures.handler_right, figures.wrong) == (1, 0)
    assert world.book.candidate(candidate_id).evidence["k"] == 0


async def test_no_majority_is_left_out_and_counted(world: World) -> None:
    candidate_id = await world.to_state("shadow")
    n = world.book.candidate(candidate_id).evidence["n"]
    answers = iter([{"quantity": number, "product": "x"} for number in (1, 2, 3)])
    world.model.answer = lambda inputs: next(answers)
    await world.send(line(5001))
    candidate = world.book.candidate(candidate_id)
    assert (candidate.figures.ambiguous, candidate.evidence["n"]) == (1, n)


async def test_golden_outranks_every_model(empty_world: World) -> None:
    world = empty_world
    text = lines(1, start=5001)[0]
    await world.register(golden={PARSE: [(text, {"quantity": 99, "product": "crates"})]})
    candidate_id = await world.to_state("shadow")
    asked = len(world.model.asked)
    await world.send(text)
    candidate = world.book.candidate(candidate_id)
    assert candidate.mismatches[-1].reference == "golden"
    assert candidate.evidence["k"] == 1
    assert len(world.model.asked) == asked + 1, "golden needs no further call"


async def test_a_disagreement_that_cannot_be_judged_is_asked_again_and_holds_until_then(world: World) -> None:
    candidate_id = await world.to_state("shadow")
    n = world.book.candidate(candidate_id).evidence["n"]
    world.model.answer = lambda inputs: {"quantity": 1, "product": "x"}
    world.model.answers_left = 1
    await world.send("5001 pears")
    candidate = world.book.candidate(candidate_id)
    assert candidate.evidence["n"] == n
    assert "wait to be judged" in str(world.governor.what_holds(candidate))
    world.model.answers_left = None
    world.model.answer = lambda inputs: {"quantity": 1, "product": "x"} if "5001" in inputs["text"] else parse(inputs)
    await world.send(line(5002))
    candidate = world.book.candidate(candidate_id)
    assert (candidate.evidence["n"], candidate.evidence["k"]) == (n + 2, 1)
    assert world.governor.what_holds(candidate) is None


async def test_errors_of_measuring_pause_after_four_in_a_row_and_are_no_score(world: World) -> None:
    candidate_id = await world.to_state("shadow")
    n = world.book.candidate(candidate_id).evidence["n"]
    world.model.answer = lambda inputs: {"quantity": 1, "product": "x"}
    for number in range(4):
        world.model.answers_left = 1
        await world.send(line(5001 + number))
    candidate = world.book.candidate(candidate_id)
    assert (candidate.paused, candidate.state, candidate.evidence["n"]) == (True, "shadow", n)


async def test_mismatches_are_kept_redacted(empty_world: World) -> None:
    world = empty_world
    await world.register(component(configurationOverrides={"redact": ["text"]}))
    candidate_id = await world.to_state("shadow")
    world.model.answer = lambda inputs: {"quantity": 1, "product": "x"}
    await world.send("5001 pears")
    shown = await world.oversight.candidate(candidate_id)
    assert shown["mismatches"][-1]["case"]["input"] == {"text": "[redacted]"}


# -- shadow


async def test_the_model_answers_while_the_candidate_runs_beside(world: World) -> None:
    candidate_id = await world.to_state("shadow", code=GOOD)
    n = world.book.candidate(candidate_id).evidence["n"]
    answer = await world.send(line(5001))
    assert (answer.handler, answer.reason) == ("llm", "STATIC")
    candidate = world.book.candidate(candidate_id)
    assert (candidate.evidence["n"], candidate.executions) == (n + 1, 0)


async def test_a_machine_without_a_sandbox_for_shadows_holds_a_candidate_and_asks_for_nobody(world: World) -> None:
    class NoTrials(FakeDriver):
        async def start(self, spec: SandboxSpec) -> Sandbox:
            if spec.group == "trial":
                raise SandboxDied("no memory is left")
            return await super().start(spec)

    candidate_id = await world.to_state("shadow")
    world.make_driver = lambda: NoTrials(world.runner)
    await world.restart(crash=False)
    await world.send_all(lines(8, start=5001))
    candidate = world.book.candidate(candidate_id)
    assert (candidate.state, candidate.paused) == ("shadow", False)
    assert "8 in a row, could not be made" in (world.governor.what_holds(candidate) or "")
    world.make_driver = lambda: FakeDriver(world.runner)
    await world.restart(crash=False)
    await world.send_all(lines(40, start=6001))
    assert world.state_of(candidate_id) == "canary"


@pytest.mark.parametrize(("ends", "lost"), [(1, 0), (2, 1)])
async def test_a_run_in_shadow_that_was_cut_off_once_is_no_loss(world: World, ends: int, lost: int) -> None:
    class Ending(dict[str, str]):
        """What ends its sandbox so often, and then answers."""

        left = ends

        def get(self, text: str, default: Any = None) -> Any:
            self.left -= text in self
            return super().get(text, default) if self.left >= 0 else default

    candidate_id = await world.to_state("shadow")
    before = world.book.candidate(candidate_id).evidence
    world.runner.faults = Ending({line(5001): "die"})
    await world.send(line(5001))
    after = world.book.candidate(candidate_id).evidence
    assert (after["n"], after["k"]) == (before["n"] + 1, before["k"] + lost)


async def test_shadow_evidence_leads_to_canary_and_evidence_against_to_rejection(world: World) -> None:
    candidate_id = await world.to_state("shadow")
    await world.send_all(lines(40, start=5001))
    assert world.state_of(candidate_id) == "canary"
    world.model.answer = lambda inputs: {"quantity": 1, "product": "x"}
    for number in range(15):
        await world.send(line(6001 + number))
    candidate = world.book.candidate(candidate_id)
    assert (candidate.state, candidate.cause) == ("rolled_back", "audit"), "what runs beside the model is watched, too"


async def test_a_handler_whose_coverage_falls_in_shadow_is_refused(world: World) -> None:
    candidate_id = await world.to_state("shadow")
    await world.send_all([f"please {number} things" for number in range(60)])
    await world.daemon.run_cycle()
    candidate = world.book.candidate(candidate_id)
    assert (candidate.state, candidate.cause) == ("rejected", "coverage")


async def test_no_verdict_within_the_limit_stays_on_the_model(empty_world: World) -> None:
    world = empty_world
    await world.close()
    world.config = CONFIG.with_overrides({"n_max": 100})
    await world.open()
    await world.register(component(optimization={"epsilon": 0.04}))
    world.model.answer = lambda inputs: {"quantity": 1, "product": "x"} if inputs["text"] in odd else parse(inputs)
    odd: set[str] = set()
    candidate_id = await world.to_state("shadow")
    for number, text in enumerate(lines(95, start=5001)):
        odd |= {text} if number in (30, 60) else set()
        await world.send(text)
    candidate = world.book.candidate(candidate_id)
    assert (candidate.state, candidate.evidence["verdict"]) == ("inconclusive", "inconclusive")
    assert (await world.send("3 pears")).handler == "llm"
    await world.restart()
    await world.daemon.run_cycle()
    assert world.state_of(candidate_id) == "inconclusive"
    await world.oversight.act(candidate_id, "reject", actor="ann", reason="enough")
    assert world.state_of(candidate_id) == "rejected"


# -- in service


async def test_an_audit_finds_a_wrong_handler_and_rolls_it_back(world: World) -> None:
    candidate_id = await world.to_state("promoted", code=FORGETS_PEARS, without="pears")
    sent = 0
    while world.state_of(candidate_id) == "promoted" and sent < 300:
        await world.send(f"{30_000 + sent} pears")
        sent += 1
    candidate = world.book.candidate(candidate_id)
    assert (candidate.state, candidate.cause) == ("rolled_back", "audit")
    assert sent <= 40
    world.model.is_down = True
    assert world.live() is None
    assert world.registry.snapshot(APP).components[PARSE].definition.handler_type == "LLM"


async def test_a_rollback_needs_neither_model_nor_candidate(world: World) -> None:
    candidate_id = await world.to_state("promoted")
    world.model.is_down = True
    await world.state.delete_ref(APP, f"refs/uhlp/candidates/{candidate_id}")
    await world.oversight.act(candidate_id, "rollback", actor="ann", reason="now")
    assert world.live() is None
    assert world.state_of(candidate_id) == "rolled_back"


async def test_a_handler_that_breaks_raises_the_crash_alarm_and_every_request_is_answered(world: World) -> None:
    candidate_id = await world.to_state("promoted", code=BREAKS_ON_PEARS, without="pears")
    for number in range(4):
        answer = await world.send(f"{30_000 + number} pears")
        assert (answer.handler, answer.deoptimized) == ("llm", "exception")
        assert answer.result.data["product"] == "pears"
    candidate = world.book.candidate(candidate_id)
    assert (candidate.state, candidate.cause) == ("rolled_back", "crashes")
    assert candidate.reason == (
        f"4 of {candidate.monitor['crashes']['n']} executions failed: more than the 1 % that may be, and not by chance"
    )


def cut_off(began_s: float) -> ExecutionResult:
    """A call that had a second, and did not end in it."""
    return ExecutionResult(
        outcome="failed", failure="timeout", error=DeadlineExceeded(), latency_ms=1000.0, usage=Usage(), began_s=began_s
    )


async def test_a_machine_that_stood_still_once_takes_no_handler_out_however_many_calls_were_under_way(
    world: World,
) -> None:
    candidate_id = await world.to_state("promoted")
    for number in range(30):
        await world.governor.record_execution(candidate_id, cut_off(100 + number / 100), is_live=True)
    assert world.state_of(candidate_id) == "promoted"
    assert world.book.candidate(candidate_id).monitor["crashes"]["failures"] == 30


async def test_a_handler_that_hangs_is_taken_out_also_where_many_of_its_calls_are_under_way_at_once(
    world: World,
) -> None:
    candidate_id = await world.to_state("promoted")
    for number in range(30):
        if world.state_of(candidate_id) == "promoted":
            await world.governor.record_execution(candidate_id, cut_off(100 + number / 8), is_live=True)
    candidate = world.book.candidate(candidate_id)
    assert (candidate.state, candidate.cause) == ("rolled_back", "crashes")


async def test_a_provider_that_is_down_keeps_the_handler_serving(world: World) -> None:
    candidate_id = await world.to_state("promoted")
    world.model.is_down = True
    for number in range(60):
        assert (await world.send(line(30_000 + number))).handler == "jit"
    assert world.state_of(candidate_id) == "promoted"


async def test_coverage_and_agreement_in_service_do_not_depend_on_the_audit_share(world: World) -> None:
    candidate_id = await world.to_state("promoted")
    figures = world.book.candidate(candidate_id).figures
    assert figures.coverage == 1.0
    assert figures.agreement == 1.0
    assert figures.agreed < figures.answered, "only a share was audited"


async def test_bounds_go_on_being_proven_in_service_until_the_account_is_full(world: World) -> None:
    await world.close()
    world.config = CONFIG.with_overrides({"n_max": 100})
    await world.open()
    candidate_id = await world.to_state("promoted")
    evidence = world.governor.evidence_of(candidate_id)
    for number in range(400):
        await world.send(line(50_000 + number))
    assert (evidence.account.n, evidence.account.verdict) == (100, Verdict.ACCEPT)
    assert len(evidence.inputs) == 100
    assert evidence.account.proven == 0.05


# -- serve and check


async def checked(world: World, **optimization: Any) -> None:
    await world.register(component(optimization={"epsilon": 0.05, "trust": "serve-and-check", **optimization}))


async def test_serve_and_check_serves_all_at_ten_percent_and_checks_every_answer(empty_world: World) -> None:
    world = empty_world
    await checked(world, maxWrongAnswers=100)
    await world.record(lines(30, split="train") + lines(45, split="held_out"))
    world.model.coder.append(coder_answer())
    candidate_id = await world.optimize()
    live = world.live()
    assert live is not None
    assert (world.state_of(candidate_id), live.weight, live.audit_share) == ("canary", 1.0, 1.0)
    asked = len(world.model.asked)
    answer = await world.send(line(5001))
    assert answer.handler == "jit"
    assert len(world.model.asked) == asked + 1
    await world.send_all(lines(45, start=5100))
    live = world.live()
    assert live is not None
    assert live.audit_share == 0.5, "5 % is proven now"
    world.clock.advance(61)
    await world.daemon.run_cycle()
    assert world.state_of(candidate_id) == "promoted"


async def test_serve_and_check_answers_all_at_once_when_epsilon_is_proven_outright(empty_world: World) -> None:
    world = empty_world
    await checked(world)
    candidate_id = await world.optimize_proven(PARSE, held_out=100)
    live = world.live()
    assert live is not None
    assert (world.state_of(candidate_id), live.weight) == ("canary", 1.0)


async def test_what_its_owner_tolerates_raises_no_alarm(empty_world: World) -> None:
    world = empty_world
    await world.register(component(optimization={"epsilon": 0.3}))
    candidate_id = await world.to_state("promoted")
    world.model.answer = lambda inputs: {"quantity": 1, "product": "x"} if inputs["text"] in odd else parse(inputs)
    asked = lines(200, start=50_000)
    odd = set(asked[::12])
    await world.send_all(asked)
    assert world.state_of(candidate_id) == "promoted"
    assert world.governor.evidence_of(candidate_id).audits.failures > 5


async def test_serve_and_check_rolls_back_at_the_most_wrong_answers(empty_world: World) -> None:
    world = empty_world
    await checked(world, maxWrongAnswers=2)
    await world.record(lines(30, split="train") + lines(45, split="held_out"))
    world.model.coder.append(coder_answer())
    candidate_id = await world.optimize()
    odd = {line(5003), line(5006)}
    world.model.answer = lambda inputs: {"quantity": 1, "product": "x"} if inputs["text"] in odd else parse(inputs)
    for number in range(5001, 5008):
        await world.send(line(number))
    candidate = world.book.candidate(candidate_id)
    assert (candidate.state, candidate.cause) == ("rolled_back", "max_wrong_answers")
    assert candidate.reason.startswith("2 wrong answers")


async def test_prove_first_serves_nothing_at_ten_percent(empty_world: World) -> None:
    world = empty_world
    await checked(world, trust="prove-first")
    await world.record(lines(30, split="train") + lines(45, split="held_out"))
    world.model.coder.append(coder_answer())
    assert world.state_of(await world.optimize()) == "shadow"


# -- holds


@pytest.mark.parametrize("scope", ["global", "application", "component", "candidate"])
async def test_a_pause_holds_advances_but_no_alarm(world: World, scope: str) -> None:
    candidate_id = await world.to_state("shadow", code=BREAKS_ON_PEARS, without="pears")
    await _pause(world, candidate_id, scope)
    await world.send_all(lines(60, start=5001, without="pears"))
    assert world.state_of(candidate_id) == "shadow"
    assert (await world.oversight.candidate(candidate_id))["holds"] == "paused"
    await _pause(world, candidate_id, scope, resume=True)
    await world.daemon.run_cycle()
    assert world.state_of(candidate_id) == "canary"
    await _pause(world, candidate_id, scope)
    world.clock.advance(61)
    await world.send_all(lines(260, start=6001, without="pears"))
    assert world.book.candidate(candidate_id).canary_step == 0
    for number in range(400):
        await world.send(f"{7001 + number} pears")
        if world.state_of(candidate_id) != "canary":
            break
    assert world.state_of(candidate_id) == "rolled_back"


async def _pause(world: World, candidate_id: str, scope: str, *, resume: bool = False) -> None:
    if scope == "candidate":
        await world.oversight.act(candidate_id, "resume" if resume else "pause", actor="ann", reason="holiday")
        return
    where = {"global": {}, "application": {"app_id": APP}, "component": {"app_id": APP, "component_id": PARSE}}[scope]
    act = world.oversight.resume if resume else world.oversight.pause
    await act(actor="ann", reason="holiday", **where)


@pytest.mark.parametrize("state", ["discovered", "synthesized"])
async def test_a_pause_holds_a_compilation_where_it_is(world: World, state: str) -> None:
    await world.record(lines(60))
    world.model.coder.append(coder_answer())
    candidate_id = await world.optimize(compiled=False)
    if state == "synthesized":
        await _stop_after(world, candidate_id, state)
    await world.oversight.pause(actor="ann", reason="holiday")
    await world.compiler.compile(candidate_id)
    assert world.state_of(candidate_id) == state
    await world.oversight.resume(actor="ann", reason="back")
    await world.compiler.compile(candidate_id)
    assert world.state_of(candidate_id) == "shadow"


async def _stop_after(world: World, candidate_id: str, state: str) -> None:
    """Compile until the ledger says `state`, then as after a crash."""

    class Crash(BaseException):
        pass

    decide = world.book.decide

    async def crashing(*args: Any, **kwargs: Any) -> Any:
        moved = await decide(*args, **kwargs)
        if moved.state == state:
            raise Crash
        return moved

    world.book.decide = crashing  # type: ignore[method-assign]
    with pytest.raises(Crash):
        await world.compiler.compile(candidate_id)
    world.book.decide = decide  # type: ignore[method-assign]


async def test_three_rollbacks_in_an_hour_freeze_the_application(empty_world: World) -> None:
    world = empty_world
    names = ["a", "b", "c", "d"]
    await world.register(*(component(name) for name in names))
    candidates = [await world.to_state("canary", names[0])]
    for name in names[1:]:
        await world.oversight.act(candidates[-1], "rollback", actor="ann", reason="no")
        candidates.append(await world.optimize_proven(name))
    assert world.state_of(candidates[-1]) == "shadow"
    assert str(world.governor.what_holds(world.book.candidate(candidates[-1]))).startswith("frozen: 3 rollbacks")
    world.clock.advance(3601)
    await world.daemon.run_cycle()
    assert world.state_of(candidates[-1]) == "canary"


async def test_one_canary_per_application_at_a_time(empty_world: World) -> None:
    world = empty_world
    await world.register(component("a"), component("b"))
    first = await world.to_state("canary", "a")
    second = await world.optimize_proven("b")
    assert world.state_of(second) == "shadow"
    assert "a is the application's canary now" in str(world.governor.what_holds(world.book.candidate(second)))
    await world.pass_canary(first)
    await world.daemon.run_cycle()
    assert (world.state_of(first), world.state_of(second)) == ("promoted", "canary")


async def test_the_last_canary_place_is_taken_once_by_candidates_that_earn_it_together(empty_world: World) -> None:
    world = empty_world
    await world.register(component("a"), component("b"))
    await world.oversight.pause(actor="ann", reason="wait", component_id="a", app_id=APP)
    await world.oversight.pause(actor="ann", reason="wait", component_id="b", app_id=APP)
    await world.oversight.resume(actor="ann", reason="compile", component_id="a", app_id=APP)
    await world.oversight.resume(actor="ann", reason="compile", component_id="b", app_id=APP)
    first = await world.to_state("shadow", "a")
    second = await world.to_state("shadow", "b")
    await world.oversight.pause(actor="ann", reason="wait")
    for number in range(45):
        await world.send(line(5001 + number), "a")
        await world.send(line(5001 + number), "b")
    await world.oversight.resume(actor="ann", reason="go")
    await asyncio.gather(*(world.governor.evaluate_candidate(one) for one in (first, second)))
    assert sorted([world.state_of(first), world.state_of(second)]) == ["canary", "shadow"]


async def test_several_observers_lose_nothing_and_decide_once(world: World) -> None:
    candidate_id = await world.to_state("shadow")
    n = world.book.candidate(candidate_id).evidence["n"]
    for number in range(80):
        await world.send(line(5001 + number), observe=False)

    async def observer() -> None:
        for _ in range(10):
            await world.observer.run_cycle()

    await asyncio.gather(*(observer() for _ in range(8)))
    assert world.book.candidate(candidate_id).evidence["n"] == n + 80
    assert (await world.timeline(candidate_id))[-2:] == ["shadow", "canary"]


async def test_recommendations_wait_for_approval_before_anything_is_spent(empty_world: World) -> None:
    world = empty_world
    rule = {"condition": {"expression": "count(requests) > 3"}, "actionParams": {"windowS": 300}}
    await world.register(component(optimization={"mode": "recommend", "rules": [rule]}))
    await world.record(lines(60))
    await world.send_all(lines(5))
    asked = len(world.model.asked)
    await world.oracle.run_optimization_cycle()
    await world.daemon.run_cycle()
    (candidate,) = world.book.candidates()
    await world.compiler.run_cycle()
    assert (world.state_of(candidate.id), len(world.model.asked)) == ("discovered", asked)
    assert "It is held: waits for approval." in (await world.oversight.why(APP, PARSE))["lines"]
    world.model.coder.append(coder_answer())
    await world.oversight.act(candidate.id, "approve", actor="ann", reason="looks good")
    await world.compiler.run_cycle()
    assert world.state_of(candidate.id) == "shadow"
    assert world.book.candidate(candidate.id).approved_by == "ann"
    with pytest.raises(StateConflict):
        await world.oversight.act(candidate.id, "approve", actor="ann", reason="twice")


async def test_the_stress_switch_audits_every_answer(world: World) -> None:
    switch = TrafficSwitch(
        rollouts=world.rollouts, app_registry=world.registry, windows=world.windows, config=world.config,
        always_shadow=True,
    )  # fmt: skip
    await world.record(lines(30, split="train") + lines(90, split="held_out"))
    world.model.coder.append(coder_answer())
    candidate_id = await world.optimize()
    evidence = world.governor.evidence_of(candidate_id)
    assert evidence is not None
    assert world.state_of(candidate_id) == "canary"
    assert switch.audit_share(world.book.candidate(candidate_id), evidence) == 1.0


@pytest.mark.parametrize(("latency_s", "deadline_s"), [(0.0, 0.05), (0.02, 0.2), (0.1, 1.0)])
async def test_a_handlers_deadline_follows_its_own_latency(
    empty_world: World, latency_s: float, deadline_s: float
) -> None:
    world = empty_world
    await world.close()
    world.config = CONFIG.with_overrides({"deadline": {"least_s": 0.05}})
    await world.open()
    await world.register()
    world.runner.handler_latency_s = latency_s
    await world.to_state("shadow")
    live = world.live()
    assert live is not None
    assert live.timeout_s == pytest.approx(deadline_s, rel=0.01)

"""The twelve invariants of evolution, each by its name. They hold in the whole machine, so they are tested in it."""

from dataclasses import replace
from math import nan
from typing import Any

import pytest

from tests.unit.evolution.test_effects import CONFIG_TOOL, LOG_TOOL, UNIT, calls_of_tools, serve
from tests.unit.evolution.test_notifications import watch_of
from tests.unit.evolution.world import (
    APP,
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
from uhlp.errors import FallbackTooLate, NotRepeated, StateConflict
from uhlp.evolution.candidate import CandidateState
from uhlp.evolution.decisions import fold
from uhlp.evolution.statistics import EvidenceAccount, Verdict
from uhlp.traffic.split import input_hash, split_of

BREAKS = """\
from uhlp_runtime import Deoptimize


def handle(inputs, context):
    text = inputs["text"]
    if text == "guard":
        raise Deoptimize("not mine")
    if text == "exception":
        raise KeyError(text)
    if text == "schema":
        return {"quantity": "many"}
    if text == "oom":
        raise MemoryError
    quantity, product = text.split()
    return {"quantity": int(quantity), "product": product}
"""
LIVE = ("shadow", "canary", "promoted")


def weigh(world: World, weight: float) -> None:
    live = world.live()
    assert live is not None
    world.rollouts.put(replace(live, weight=weight))


def is_out_of_traffic(world: World) -> bool:
    return world.live() is None


async def lose(world: World, candidate_id: str, count: int) -> None:
    """The model, and so the reference, says otherwise from now on."""
    weigh(world, 1.0)
    world.model.answer = lambda inputs: {"quantity": 1, "product": "other"}
    for number in range(count):
        if world.state_of(candidate_id) not in LIVE:
            break
        await world.send(line(900_000 + number))


# -- I1: the model path can be called until superseded


@pytest.mark.parametrize("state", LIVE)
async def test_i1_the_model_can_be_called_in_every_state(world: World, state: str) -> None:
    await world.to_state(state)
    world.runner.faults = {"3 pears": "die"}
    answer = await world.send("3 pears")
    assert (answer.handler, answer.result.data) == ("llm", {"quantity": 3, "product": "pears"})
    served = world.registry.snapshot(APP).components[PARSE]
    assert served.prompt_artifact is not None
    assert served.definition.task_details.prompt_template == PARSE


async def test_i1_beside_a_handler_that_is_replaced_too(world: World) -> None:
    await world.to_state("promoted")
    world.model.coder.append(coder_answer(GOOD + "\n# again\n"))
    await world.optimize()
    world.runner.faults = {"3 pears": "die"}
    assert (await world.send("3 pears")).handler == "llm"


# -- I2: ledger first, then the switch; state = fold(ledger); a restart in between loses nothing


async def test_i2_nothing_is_switched_that_the_ledger_does_not_say(world: World) -> None:
    candidate_id = await world.to_state("shadow")
    append, seen = world.store.append, []

    async def looking(*args: Any, **kwargs: Any) -> int:
        live = world.live()
        seen.append((live.weight if live is not None else None, world.state_of(candidate_id)))
        return await append(*args, **kwargs)

    world.store.append = looking  # type: ignore[method-assign]
    await world.send_all(lines(45, start=5001))
    await world.oversight.act(candidate_id, "rollback", actor="ann", reason="no")
    assert seen == [(0.0, "shadow"), (0.05, "canary")], "each time the switch still stood as before"
    assert is_out_of_traffic(world)


async def test_i2_what_the_ledger_refuses_is_not_switched(world: World) -> None:
    candidate_id = await world.to_state("shadow")
    append = world.store.append

    async def full_disk(*args: Any, **kwargs: Any) -> int:
        raise OSError("the disk is full")

    world.store.append = full_disk  # type: ignore[method-assign]
    with pytest.raises(OSError, match="full"):
        await world.send_all(lines(45, start=5001))
    live = world.live()
    assert live is not None
    assert (live.weight, world.state_of(candidate_id)) == (0.0, "shadow")
    world.store.append = append  # type: ignore[method-assign]
    await world.daemon.run_cycle()
    assert world.state_of(candidate_id) == "canary"


async def test_i2_every_state_is_the_fold_of_the_ledger_also_after_a_restart(world: World) -> None:
    first = await world.to_state("promoted", code=FORGETS_PEARS, without="pears")
    await lose(world, first, 60)
    world.model.answer = parse
    world.model.coder.append(coder_answer())
    await world.optimize()
    for _ in range(2):
        for one in world.book.candidates():
            entries = [sealed.entry for sealed in await world.store.entries(candidate_id=one.id, limit=-1)]
            assert fold(entries).decided() == one.decided()
        await world.restart()


# -- I3: a rollback is a pointer switch that needs neither model nor candidate


@pytest.mark.parametrize("state", ["canary", "promoted"])
async def test_i3_a_rollback_needs_neither_model_nor_candidate_nor_sandbox_nor_repository(
    world: World, state: str
) -> None:
    candidate_id = await world.to_state(state)
    world.model.is_down = True
    await world.state.delete_ref(APP, f"refs/uhlp/candidates/{candidate_id}")
    executed = len(world.runner.executed)

    async def gone(*args: Any, **kwargs: Any) -> Any:
        raise OSError("the repository is gone")

    switch = world.registry.switch_to_prompt
    world.registry.switch_to_prompt = gone  # type: ignore[method-assign]
    try:
        await world.oversight.act(candidate_id, "rollback", actor="ann", reason="now")
    except OSError:
        assert state == "promoted", "only then there is something to commit"
    assert is_out_of_traffic(world)
    assert world.state_of(candidate_id) == "rolled_back"
    assert len(world.runner.executed) == executed
    world.model.is_down = False
    assert (await world.send("3 pears")).handler == "llm", "whatever the repository still says"
    world.registry.switch_to_prompt = switch  # type: ignore[method-assign]


# -- I4: no data, NaN, timeouts never advance anything


@pytest.mark.parametrize("state", ["shadow", "canary"])
async def test_i4_time_alone_advances_nothing(world: World, state: str) -> None:
    candidate_id = await world.to_state(state)
    before = world.book.candidate(candidate_id)
    for _ in range(30):
        world.clock.advance(86_400)
        await world.daemon.run_cycle()
    after = world.book.candidate(candidate_id)
    assert (after.state, after.canary_step) == (before.state, before.canary_step)


async def test_i4_what_the_handler_leaves_to_the_model_advances_no_step(world: World) -> None:
    candidate_id = await world.to_state("canary")
    weigh(world, 0.9999)
    world.clock.advance(61)
    await world.send_all([f"please {number} things" for number in range(60)])
    await world.daemon.run_cycle()
    assert world.book.candidate(candidate_id).canary_step == 0


def test_i4_what_is_no_number_is_no_evidence() -> None:
    account = EvidenceAccount(epsilon=0.1)
    for loss in (nan, -1.0, 2.0):
        with pytest.raises(ValueError, match="a loss lies in"):
            account.observe(loss)
    assert (account.n, account.verdict) == (0, Verdict.HOLD)


async def test_i4_a_handler_that_only_times_out_proves_nothing(world: World) -> None:
    candidate_id = await world.to_state("shadow")
    live = world.live()
    assert live is not None
    n = world.book.candidate(candidate_id).evidence["n"]
    for text in (texts := lines(4, start=5001)):
        world.rollouts.put(replace(live, timeout_s=0.3))  # a worker is had in that time on a slow machine too
        world.runner.faults[text] = "hang"
        await world.send(text)
    evidence = world.book.candidate(candidate_id).evidence
    assert (evidence["n"] - n, evidence["k"]) == (len(texts), len(texts)), "each is a loss, none is clean"
    assert world.state_of(candidate_id) != "canary"


# -- I5: alarms run in every live state, also while waiting for approval or paused


@pytest.mark.parametrize("hold", ["paused", "approval", "frozen", "routing bug"])
@pytest.mark.parametrize("alarm", ["audits", "crashes"])
async def test_i5_alarms_are_heard_whatever_holds(world: World, hold: str, alarm: str) -> None:
    candidate_id = await world.to_state("canary", code=BREAKS)
    if hold == "approval":
        await world.book.decide(candidate_id, actor="test", reason="ask first", approval_required=True)
    elif hold == "paused":
        await world.oversight.pause(actor="ann", reason="holiday")
    elif hold == "frozen":
        world.config = world.config.with_overrides({"freeze_rollbacks_per_hour": 1})
        world.governor._holds._config = world.config
        other = await world.book.create(
            APP, "other", actor="test", reason="r", proposer="coder", spec_hash="s", attempt=1
        )
        for state in ("synthesized", "verified", "shadow", "canary", "rolled_back"):
            await world.book.decide(other.id, CandidateState(state), actor="test", reason="r")
    else:
        tests = world.governor.evidence_of(candidate_id).canary
        for number in range(60):
            tests.finish(tests.assign(f"u{number}", is_candidate=True, weight=0.05), None)
    assert world.governor.what_holds(world.book.candidate(candidate_id)) is not None
    if alarm == "audits":
        await lose(world, candidate_id, 40)
    else:
        weigh(world, 1.0)
        for _ in range(8):
            await world.send("exception")
    candidate = world.book.candidate(candidate_id)
    assert (candidate.state, candidate.cause) == ("rolled_back", "audit" if alarm == "audits" else "crashes")
    assert is_out_of_traffic(world)


async def test_i5_evidence_against_it_ends_a_shadow_that_is_paused(world: World) -> None:
    candidate_id = await world.to_state("shadow")
    await world.oversight.pause(actor="ann", reason="holiday")
    world.model.answer = lambda inputs: {"quantity": 1, "product": "other"}
    await world.send_all(lines(20, start=5001))
    assert world.state_of(candidate_id) == "rejected"


# -- I6: the rollback target's health is known; if the provider is down keep serving the handler, count it, alert


async def test_i6_a_model_that_is_down_keeps_the_handler_in_service_is_counted_and_told(world: World) -> None:
    candidate_id = await world.to_state("promoted")
    watch, told = watch_of(world)
    world.clock.advance(600)
    world.model.is_down = True
    assert {answer.handler for answer in await world.send_all(lines(60, start=50_000))} == {"jit"}
    assert world.governor.unanswered_checks(candidate_id) >= 4
    await world.daemon.run_cycle()
    await watch.run_cycle()
    assert [(one.event, one.candidate_id) for one in told] == [("rollback_target_down", candidate_id)]
    candidate = world.book.candidate(candidate_id)
    assert (candidate.state, candidate.evidence["k"]) == ("promoted", 0)


# -- I7: the evaluator is out of the candidate's reach


async def test_i7_no_proposer_sees_what_is_held_out(world: World) -> None:
    await world.record(lines(200))
    held_out = [text for text in lines(200) if split_of(input_hash({"text": text})) == "held_out"]
    world.model.coder.extend([coder_answer(FORGETS_PEARS)] * 4 + [coder_answer()] * 4)
    first = await world.optimize()
    assert world.state_of(first) == "rejected"
    await world.optimize()
    assert len(world.model.specifications) > 1
    for told in world.model.specifications:
        assert not [text for text in held_out if f'"{text}"' in told]


async def test_i7_tests_that_pass_promote_nothing(world: World) -> None:
    await world.record(lines(60))
    world.model.coder.extend([coder_answer(FORGETS_PEARS, "def test_all_is_well():\n    assert True\n")] * 4)
    candidate_id = await world.optimize()
    candidate = world.book.candidate(candidate_id)
    assert (candidate.state, candidate.cause) == ("rejected", "train_replay"), "only outputs compared on the host count"


async def test_i7_a_handler_is_given_its_input_and_nothing_of_the_right_answer(world: World) -> None:
    await world.to_state("shadow")
    seen: list[Any] = []
    run = world.executor.run

    async def watching(call: Any) -> Any:
        seen.append(call)
        return await run(call)

    world.executor.run = watching  # type: ignore[method-assign]
    await world.send("3 pears")
    (shadow,) = [call for call in seen if call.purpose == "shadow"]
    assert (shadow.input, shadow.source_details, shadow.user_info) == ({"text": "3 pears"}, None, None)
    assert shadow.group == "trial"


# -- I8: errors of measuring have their own budget, never a score


async def test_i8_four_errors_of_measuring_in_a_row_pause_and_score_nothing(world: World) -> None:
    candidate_id = await world.to_state("shadow")
    before = world.book.candidate(candidate_id)
    world.model.answer = lambda inputs: {"quantity": 1, "product": "x"}
    for number in range(4):
        assert not world.book.candidate(candidate_id).paused
        world.model.answers_left = 1
        await world.send(line(5001 + number))
    after = world.book.candidate(candidate_id)
    assert (after.paused, after.state) == (True, "shadow")
    assert (after.evidence, after.figures.wrong) == (before.evidence, before.figures.wrong)
    assert (
        "4 checks in a row could not be made" in (await world.store.entries(candidate_id=candidate_id))[-1].entry.reason
    )


# -- I9: one verdict is sticky


def test_i9_an_account_changes_its_verdict_no_more() -> None:
    account = EvidenceAccount(epsilon=0.1)
    while account.verdict is Verdict.HOLD:
        account.observe(0.0)
    at = account.verdict_at
    for _ in range(500):
        account.observe(1.0)
    assert (account.verdict, account.verdict_at) == (Verdict.ACCEPT, at)
    account = EvidenceAccount(epsilon=0.1)
    while account.verdict is Verdict.HOLD:
        account.observe(1.0)
    for _ in range(5000):
        account.observe(0.0)
    assert account.verdict is Verdict.REJECT


async def test_i9_a_candidate_that_has_ended_is_never_taken_up_again(world: World) -> None:
    candidate_id = await world.to_state("shadow")
    world.model.answer = lambda inputs: {"quantity": 1, "product": "other"}
    await world.send_all(lines(20, start=5001))
    assert world.state_of(candidate_id) == "rejected"
    world.model.answer = parse
    for action in ("approve", "promote-full", "resume", "rollback"):
        with pytest.raises(StateConflict):
            await world.oversight.act(candidate_id, action, actor="ann", reason="come on")
    await world.send_all(lines(60, start=6001))
    await world.restart()
    await world.daemon.run_cycle()
    assert world.state_of(candidate_id) == "rejected"
    assert is_out_of_traffic(world)
    world.model.coder.extend([coder_answer()] * 8)
    again = world.book.candidate(await world.optimize())
    assert (again.state, again.cause in ("barred", "regression")) == ("rejected", True), "nor under another name"


# -- I10: every decision names reason and evidence


async def test_i10_every_decision_names_who_why_and_on_what_evidence(world: World) -> None:
    candidate_id = await world.to_state("promoted")
    await lose(world, candidate_id, 60)
    assert world.state_of(candidate_id) == "rolled_back"
    entries = [sealed.entry for sealed in await world.store.entries(candidate_id=candidate_id, limit=-1)]
    assert [entry.to_state for entry in entries if entry.event == "moved"] == [
        "synthesized", "verified", "shadow", "canary", "canary", "canary", "canary", "promoted", "rolled_back",
    ]  # fmt: skip
    for entry in entries:
        assert entry.actor == ("ann" if entry.event == "created" else "governor")
        assert len(entry.reason) > 5
        assert (entry.spec_hash, entry.config_hash) == (world.spec_hash(), world.config.digest)
        assert entry.baseline_revision
        if entry.to_state in ("shadow", "canary", "promoted", "rolled_back"):
            assert entry.code_sha
            known = {"n", "k", "logE", "epsilon", "deltaA", "alpha", "coverage", "agreement", "interval"}
            assert known <= entry.evidence.keys()
    assert entries[-1].evidence["auditedWrong"] > 0
    assert "audited answers are wrong" in entries[-1].reason
    assert entries[-1].payloads, "and the answers themselves"


# -- I11: no request fails because of a candidate


@pytest.mark.parametrize("state", ["shadow", "canary", "promoted"])
@pytest.mark.parametrize("fault", ["guard", "exception", "schema", "oom", "hang", "die"])
async def test_i11_whatever_the_handler_does_the_request_is_answered(world: World, state: str, fault: str) -> None:
    await world.to_state(state, code=BREAKS)
    if state == "canary":
        weigh(world, 0.9999)
    live = world.live()
    assert live is not None
    world.rollouts.put(replace(live, timeout_s=0.05))
    world.runner.faults = {"hang": "hang", "die": "die"}
    answer = await world.send(fault)
    assert (answer.handler, answer.result.data) == ("llm", parse({"text": fault}))


async def test_i11_without_time_for_the_model_the_answer_is_a_clear_504(world: World) -> None:
    await world.to_state("promoted", code=BREAKS)
    world.runner.handler_latency_s = 30.0
    with pytest.raises(FallbackTooLate) as raised:
        await world.send("exception")
    assert (raised.value.status, raised.value.code) == (504, "FALLBACK_TOO_LATE")


# -- I12: side effects


async def test_i12_none_is_shadowed_freely(world: World) -> None:
    await world.to_state("shadow")
    await world.send("3 pears")
    assert [kind for kind, value in world.runner.executed if value == {"text": "3 pears"}] == ["LLM", "JIT"]


async def test_i12_read_is_shadowed_with_recorded_results_alone(empty_world: World) -> None:
    world = empty_world
    await world.register(component(effects="read", tools=[CONFIG_TOOL]))
    candidate_id = await world.to_state("shadow")
    n = world.book.candidate(candidate_id).evidence["n"]
    world.runner.tool_calls = {"LLM": [(CONFIG_TOOL, UNIT)], "JIT": [(CONFIG_TOOL, UNIT)]}
    await world.send("5001 pears")
    assert (calls_of_tools(world), world.book.candidate(candidate_id).evidence["n"]) == (1, n + 1)
    world.runner.tool_calls = {"JIT": [(CONFIG_TOOL, UNIT)]}
    await world.send("5002 figs")
    assert (calls_of_tools(world), world.book.candidate(candidate_id).evidence["n"]) == (1, n + 1)


async def test_i12_write_is_never_run_twice_and_never_compiled(empty_world: World) -> None:
    world = empty_world
    await world.register(component(effects="write", tools=[LOG_TOOL]))
    await world.record(lines(60))
    candidate = world.book.candidate(await world.optimize())
    assert (candidate.state, candidate.cause) == ("rejected", "effects")
    serve(world)
    world.runner.tool_calls = {"JIT": [(LOG_TOOL, {"message": "charged the card"})]}
    world.runner.faults = {"3 pears": "die"}
    with pytest.raises(NotRepeated):
        await world.send("3 pears")
    assert [kind for kind, value in world.runner.executed if value == {"text": "3 pears"}] == ["JIT"]
    assert calls_of_tools(world) == 1

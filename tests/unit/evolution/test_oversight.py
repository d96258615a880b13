"""What people see of evolution and may do; what is missing, how many, by when."""

from typing import Any

import pytest

from tests.unit.evolution.world import APP, GOOD, PARSE, TESTS, World, coder_answer, component, line, lines
from uhlp.errors import AppNotFound, CandidateNotFound, ComponentNotFound, StateConflict, ValidationFailed


async def act(world: World, candidate_id: str, action: str) -> dict[str, Any]:
    return await world.oversight.act(candidate_id, action, actor="ann", reason="because")


# -- acting


@pytest.mark.parametrize(
    ("state", "refused"),
    [
        ("discovered", ["approve", "rollback", "promote-full", "clear-quarantine"]),
        ("shadow", ["approve", "rollback", "promote-full", "clear-quarantine"]),
        ("canary", ["approve", "reject", "clear-quarantine"]),
        ("promoted", ["approve", "reject", "promote-full", "clear-quarantine"]),
    ],
)
async def test_what_a_state_does_not_allow_is_a_conflict_and_changes_nothing(
    world: World, state: str, refused: list[str]
) -> None:
    candidate_id = await world.to_state(state)
    before, head = world.book.candidate(candidate_id), await world.store.head()
    for action in refused:
        with pytest.raises(StateConflict) as raised:
            await act(world, candidate_id, action)
        assert raised.value.status == 409
    assert world.book.candidate(candidate_id) == before
    assert await world.store.head() == head


async def test_an_ended_candidate_takes_no_more_decisions(world: World) -> None:
    candidate_id = await world.to_state("shadow")
    await act(world, candidate_id, "reject")
    for action in ("approve", "reject", "rollback", "promote-full", "pause", "resume", "clear-quarantine"):
        with pytest.raises(StateConflict):
            await act(world, candidate_id, action)


async def test_a_reason_and_a_known_action_are_needed(world: World) -> None:
    candidate_id = await world.to_state("discovered")
    with pytest.raises(ValidationFailed):
        await world.oversight.act(candidate_id, "reject", actor="ann", reason="  ")
    with pytest.raises(ValidationFailed):
        await act(world, candidate_id, "celebrate")


async def test_what_does_not_exist_is_not_found(world: World) -> None:
    with pytest.raises(CandidateNotFound):
        await act(world, "c-none", "reject")
    with pytest.raises(ComponentNotFound):
        await world.oversight.why(APP, "nobody")
    with pytest.raises(ComponentNotFound):
        await world.oversight.optimize(APP, "nobody", action="jit", actor="ann", reason="r")
    with pytest.raises(AppNotFound):
        await world.oversight.optimize("nowhere", PARSE, action="jit", actor="ann", reason="r")


@pytest.mark.parametrize("wrong", [{"action": "compress"}, {"proposer": "oracle of delphi"}])
async def test_an_unknown_action_or_proposer_starts_nothing(world: World, wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationFailed):
        await world.oversight.optimize(APP, PARSE, **{"action": "jit", **wrong}, actor="ann", reason="r")
    assert world.book.candidates() == []


async def test_promote_full_skips_steps_but_never_the_evidence(world: World) -> None:
    candidate_id = await world.to_state("canary")
    shown = await act(world, candidate_id, "promote-full")
    assert (shown["state"], shown["version"]) == ("promoted", 1)
    assert (await world.send("3 pears")).implementation == "jit@v1"


async def test_promote_full_is_refused_while_epsilon_is_unproven(empty_world: World) -> None:
    world = empty_world
    await world.register(component(optimization={"trust": "serve-and-check", "epsilon": 0.05}))
    await world.record(lines(30, split="train") + lines(50, split="held_out"))
    world.model.coder.append(coder_answer())
    candidate_id = await world.optimize()
    assert world.state_of(candidate_id) == "canary"
    with pytest.raises(StateConflict):
        await act(world, candidate_id, "promote-full")


async def test_every_action_is_in_the_ledger_with_actor_and_reason(world: World) -> None:
    candidate_id = await world.to_state("shadow")
    for action in ("pause", "resume", "quarantine", "clear-quarantine"):
        await act(world, candidate_id, action)
    entries = [one for one in await world.oversight.ledger(APP) if one["actor"] == "ann"]
    assert [one["reason"] for one in entries[1:]] == ["because"] * 5
    assert [one["event"] for one in entries[1:]] == ["noted", "noted", "moved", "moved", "forgiven"]
    assert (await world.oversight.verify_ledger())["ok"]


# -- seeing


async def test_a_candidate_shows_timeline_drafts_code_tests_and_figures(world: World) -> None:
    candidate_id = await world.to_state("canary")
    shown = await world.oversight.candidate(candidate_id)
    assert [one["to"] for one in shown["timeline"]] == ["discovered", "synthesized", "verified", "shadow", "canary"]
    assert (shown["code"], shown["tests"], shown["testReport"]) == (GOOD, TESTS, "1 passed, 0 failed")
    assert (shown["n"], shown["k"], shown["agreement"], shown["proven"]) == (60, 0, 1.0, 0.1)
    assert shown["drafts"][0]["stage"] is None
    assert shown["checkpoint"]["revision"]
    calls = len(world.model.specifications) + len(world.model.asked)
    assert (shown["tokensIn"], shown["costUsd"]) == (100 * calls, pytest.approx(0.001 * calls))
    decision = shown["timeline"][-1]
    assert "proven < 10 %: 0 of 60 wrong" in decision["reason"]
    assert (decision["evidence"]["n"], decision["evidence"]["deltaA"]) == (60, 0.025)
    account = shown["account"]
    assert account["interval"][0] == 0 < account["interval"][1] <= 0.1
    assert account["logE"] >= account["thresholdAccept"]
    assert shown["diff"] is None, "there was none before"


async def test_a_candidate_shows_what_it_changes_of_the_one_before(world: World) -> None:
    first = await world.to_state("shadow")
    await act(world, first, "reject")
    world.clock.advance(1)
    world.model.coder.append(coder_answer(GOOD + "\n# again\n"))
    shown = await world.oversight.candidate(await world.optimize())
    assert shown["diff"].startswith(f"--- {first}\n+++ {shown['candidateId']}\n")
    assert "+# again" in shown["diff"]


async def test_an_ended_candidate_still_shows_its_evidence(world: World) -> None:
    candidate_id = await world.to_state("promoted")
    await act(world, candidate_id, "rollback")
    shown = await world.oversight.candidate(candidate_id)
    assert shown["proven"] <= 0.05
    assert shown["evidence"].startswith("proven < ")


async def test_candidates_are_listed_newest_first_and_by_state(world: World) -> None:
    first = await world.to_state("shadow")
    await act(world, first, "reject")
    second = await world.optimize(compiled=False)
    assert [one["candidateId"] for one in (await world.oversight.candidates()).rows] == [second, first]
    assert [one["candidateId"] for one in (await world.oversight.candidates(APP, "rejected")).rows] == [first]
    assert (await world.oversight.candidates("another")).rows == []
    with pytest.raises(ValidationFailed):
        await world.oversight.candidates(APP, "happy")


async def test_the_overview_counts_states_and_pauses(world: World) -> None:
    await world.to_state("shadow")
    overview = await world.oversight.pause(actor="ann", reason="holiday", app_id=APP)
    assert overview["candidates"] == {"shadow": 1}
    assert (overview["paused"], overview["pauses"]) == (False, [{"appId": APP, "componentId": None}])
    assert overview["ledger"]["seq"] == 5


# -- why


async def why(world: World) -> tuple[list[str], dict[str, dict[str, Any]]]:
    told = await world.oversight.why(APP, PARSE)
    return told["lines"], {one["what"]: one for one in told["missing"]}


async def test_why_of_a_new_component_says_what_it_needs_and_how_to_start(world: World) -> None:
    told, missing = await why(world)
    assert told == [
        "Needs 10 recorded answers to learn from (TRAIN half), has 0.",
        "It has no rule; start it by hand with `uhlp optimize`.",
    ]
    assert missing["train samples"] == {"what": "train samples", "have": 0, "need": 10, "expectedAt": None}


async def test_why_says_when_enough_samples_are_expected(world: World) -> None:
    await world.send_all(lines(6))
    _, missing = await why(world)
    have = missing["train samples"]["have"]
    rate = 6 / 600 / 2
    assert missing["train samples"]["expectedAt"] == pytest.approx(world.clock.now() + (10 - have) / rate)


async def test_why_shows_rules_with_their_truth(empty_world: World) -> None:
    world = empty_world
    rules = [
        {"description": "busy", "condition": {"expression": "count(requests) > 2"}},
        {"description": "slow", "condition": {"expression": "avg(latency_ms) > 500"}},
    ]
    await world.register(component(optimization={"rules": rules}))
    told, _ = await why(world)
    slow = "Rule `avg(latency_ms) > 500` is"
    assert f"{slow} unknown (no data for avg(latency_ms)) now: avg(latency_ms) = no data." in told
    await world.send_all(lines(3))
    told, _ = await why(world)
    assert "Rule `count(requests) > 2` is true now: count(requests) = 3." in told
    assert f"{slow} false now: avg(latency_ms) = 0.001." in told
    await world.oracle.run_optimization_cycle()
    world.clock.advance(20)
    told, _ = await why(world)
    held = "it has held for 20 s, 1 looks."
    assert f"Rule `count(requests) > 2` is true now: count(requests) = 3; {held}" in told
    rules = (await world.oversight.why(APP, PARSE))["rules"]
    assert [(one["holds"], one["values"], one["heldWindows"]) for one in rules] == [
        (True, {"count(requests)": 3.0}, 1),
        (False, {"avg(latency_ms)": 0.001}, 0),
    ]
    assert (rules[0]["since"], rules[0]["firedAt"]) == (world.clock.now() - 20,) * 2


async def test_why_of_a_shadow_counts_the_clean_comparisons_that_are_missing(world: World) -> None:
    candidate_id = await world.to_state("shadow")
    told, missing = await why(world)
    assert told[0].startswith(f"Candidate {candidate_id} is shadow: of 10 recorded calls that it never saw")
    assert "Evidence: nothing proven yet: 0 of 10 wrong; 31 more right ones prove < 10 %." in told
    entry = missing["clean comparisons to prove < 10%"]
    assert (entry["have"], entry["need"]) == (10, 41)
    await world.send_all(lines(31, start=5001))
    assert world.state_of(candidate_id) == "canary", "and that is exactly what it took"


async def test_why_of_a_canary_says_its_share_and_what_the_step_takes(world: World) -> None:
    await world.to_state("canary")
    told, missing = await why(world)
    assert "It answers 5% of the requests; next step after 10 executions." in told
    assert missing["executions in this canary step"]["need"] == 10


async def test_why_after_a_failure_names_it_and_the_clocks(world: World) -> None:
    candidate_id = await world.to_state("shadow")
    await act(world, candidate_id, "reject")
    told, missing = await why(world)
    assert told[0] == f"The last candidate, {candidate_id}, ended as rejected: because"
    assert "A rule may try again" in told[1]
    assert missing["samples since the last failure"]["need"] == 200


async def test_why_of_a_promoted_component_tells_the_evidence(world: World) -> None:
    await world.to_state("promoted")
    told, missing = await why(world)
    assert "is promoted" in told[0]
    assert told[1].startswith("Evidence: proven < ")
    assert missing == {}


async def test_why_says_what_holds_it(world: World) -> None:
    await world.to_state("shadow")
    await world.oversight.pause(actor="ann", reason="holiday")
    assert "It is held: paused." in (await why(world))[0]
    assert (await world.send(line(4))).handler == "llm"


async def test_why_says_how_a_pause_and_a_quarantine_are_ended(world: World) -> None:
    candidate_id = await world.to_state("shadow")
    await act(world, candidate_id, "pause")
    assert f"It goes on after `uhlp resume {candidate_id}`." in (await why(world))[0]
    await act(world, candidate_id, "quarantine")
    assert any(f"`uhlp quarantine {candidate_id} --clear`" in told for told in (await why(world))[0])
    await world.oversight.pause(actor="ann", reason="holiday")
    assert any("it goes on after `uhlp resume`" in told for told in (await why(world))[0])


async def test_what_is_out_of_service_is_neither_rejected_nor_rolled_back_again(world: World) -> None:
    candidate_id = await world.to_state("shadow")
    with pytest.raises(StateConflict, match="answers nobody; use reject"):
        await act(world, candidate_id, "rollback")
    await act(world, candidate_id, "reject")
    with pytest.raises(StateConflict, match="nothing to reject"):
        await act(world, candidate_id, "reject")
    with pytest.raises(StateConflict, match="out of service"):
        await act(world, candidate_id, "rollback")


async def test_of_an_application_that_is_forgotten_no_inputs_stay_and_none_that_wait_come_after(world: World) -> None:
    candidate_id = await world.to_state("shadow")
    world.book.grow(candidate_id, payloads={"first": {"input": "Ann"}})
    await world.book.save()
    world.book.grow(candidate_id, payloads={"second": {"input": "Bob"}})
    await world.oversight.forget("another")
    assert await world.store.payload("first", APP) == {"input": "Ann"}
    await world.oversight.forget(APP)
    await world.book.save()
    await world.store.flush()
    assert await world.store.payload("first", APP) is None
    assert await world.store.payload("second", APP) is None
    assert (await world.oversight.verify_ledger())["ok"]

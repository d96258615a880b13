"""I2: ledger first, then the switch; a restart at any moment loses nothing and goes on."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.evolution.world import APP, GOOD, PARSE, World, coder_answer, line, lines, parse
from uhlp.errors import StateConflict, Unavailable


class Crash(BaseException):
    """The power fails here."""


async def crash_after(world: World, candidate_id: str, state: str, act: Callable[[], Any]) -> None:
    """Do `act` until the ledger says `state`, then end without another word, and start again."""
    decide = world.book.decide

    async def crashing(*args: Any, **kwargs: Any) -> Any:
        moved = await decide(*args, **kwargs)
        if moved.id == candidate_id and moved.state == state:
            raise Crash
        return moved

    world.book.decide = crashing  # type: ignore[method-assign]
    with pytest.raises(Crash):
        await act()
    await world.restart(crash=True)


async def compile_on(world: World, candidate_id: str) -> None:
    await world.daemon.run_cycle()
    await world.compiler.run_cycle()


@pytest.mark.parametrize("state", ["synthesized", "verified"])
async def test_a_compilation_goes_on_where_the_ledger_left_it(world: World, state: str) -> None:
    await world.record(lines(60))
    world.model.coder.append(coder_answer())
    candidate_id = await world.optimize(compiled=False)
    await crash_after(world, candidate_id, state, lambda: world.compiler.compile(candidate_id))
    assert world.state_of(candidate_id) == state
    asked = len(world.model.specifications)
    await compile_on(world, candidate_id)
    assert world.state_of(candidate_id) == "shadow"
    assert len(world.model.specifications) == asked, "the draft is kept"
    assert world.book.candidate(candidate_id).evidence["n"] > 0


async def test_a_discovered_candidate_is_compiled_after_a_restart(world: World) -> None:
    await world.record(lines(60))
    candidate_id = await world.optimize(compiled=False)
    await world.restart()
    world.model.coder.append(coder_answer())
    await compile_on(world, candidate_id)
    assert world.state_of(candidate_id) == "shadow"


async def test_a_shadow_keeps_its_evidence_and_what_the_proposer_saw(world: World) -> None:
    candidate_id = await world.to_state("shadow")
    await world.send_all(lines(10, start=5001))
    await world.daemon.run_cycle()
    before = world.book.candidate(candidate_id)
    trained = world.governor.evidence_of(candidate_id).trained
    await world.restart()
    assert world.book.candidate(candidate_id) == before
    evidence = world.governor.evidence_of(candidate_id)
    assert (evidence.account.to_dict(), evidence.trained) == (before.evidence, trained)
    await world.send_all(lines(35, start=6001))
    assert world.state_of(candidate_id) == "canary"


async def test_a_wrong_comparison_survives_a_crash_at_once(world: World) -> None:
    candidate_id = await world.to_state("shadow")
    world.model.answer = lambda inputs: {"quantity": 1, "product": "x"}
    await world.send(line(5001))
    await world.restart(crash=True)
    candidate = world.book.candidate(candidate_id)
    assert candidate.evidence["k"] == 1
    assert (await world.oversight.candidate(candidate_id))["mismatches"][0]["case"]["expected"]["product"] == "x"


async def test_an_orderly_end_keeps_everything_measured(world: World) -> None:
    candidate_id = await world.to_state("shadow")
    await world.send_all(lines(3, start=5001))
    n = world.book.candidate(candidate_id).evidence["n"]
    await world.restart(crash=False)
    assert world.book.candidate(candidate_id).evidence["n"] == n


async def test_a_canary_serves_the_same_share_again(world: World) -> None:
    candidate_id = await world.to_state("canary")
    world.clock.advance(61)
    await world.send_all(lines(400, start=5001))
    await world.daemon.run_cycle()
    step = world.book.candidate(candidate_id).canary_step
    assert step
    before = world.live()
    await world.restart()
    live = world.live()
    assert live is not None
    assert before is not None
    assert (live.weight, live.salt) == (before.weight, before.salt)
    assert world.book.candidate(candidate_id).canary_step == step
    await world.pass_canary(candidate_id)
    assert world.state_of(candidate_id) == "promoted"


async def test_a_promoted_handler_serves_and_is_audited_again(world: World) -> None:
    candidate_id = await world.to_state("promoted")
    await world.restart()
    assert (await world.send("3 pears")).implementation == "jit@v1"
    world.model.answer = lambda inputs: {"quantity": 1, "product": "x"}
    for number in range(30):
        await world.send(line(50_000 + number))
    assert world.state_of(candidate_id) == "rolled_back"


@pytest.mark.parametrize("action", ["reject", "quarantine"])
async def test_an_ended_candidate_stays_ended(world: World, action: str) -> None:
    candidate_id = await world.to_state("shadow")
    await world.oversight.act(candidate_id, action, actor="ann", reason="no")
    state = world.state_of(candidate_id)
    await world.restart()
    await world.daemon.run_cycle()
    assert world.state_of(candidate_id) == state
    assert world.live() is None
    assert world.rollouts.is_barred(APP, str(world.book.candidate(candidate_id).code_sha))


async def test_rejecting_a_candidate_that_answers_says_to_roll_it_back(world: World) -> None:
    candidate_id = await world.to_state("canary")
    with pytest.raises(StateConflict, match="is canary and answers; use rollback"):
        await world.oversight.act(candidate_id, "reject", actor="ann", reason="no")
    assert world.state_of(candidate_id) == "canary"


async def test_a_crash_between_promotion_and_commit_is_made_good(world: World) -> None:
    candidate_id = await world.to_state("canary")
    world.clock.advance(61)
    before = len(await world.state.history(APP))
    await crash_after(world, candidate_id, "promoted", lambda: world.pass_canary(candidate_id))
    assert len(await world.state.history(APP)) == before
    answer = await world.send("3 pears")
    assert (answer.handler, answer.implementation) == ("jit", "jit@v1"), "the ledger has decided"
    await world.daemon.run_cycle()
    await world.daemon.run_cycle()
    assert len(await world.state.history(APP)) == before + 1
    assert world.registry.snapshot(APP).components[PARSE].definition.handler_type == "JIT"


async def test_a_crash_between_rollback_and_commit_is_made_good(world: World) -> None:
    candidate_id = await world.to_state("promoted")

    async def act() -> None:
        await world.oversight.act(candidate_id, "rollback", actor="ann", reason="no")

    before = len(await world.state.history(APP))
    await crash_after(world, candidate_id, "rolled_back", act)
    assert world.registry.snapshot(APP).components[PARSE].definition.handler_type == "JIT"
    answer = await world.send("3 pears")
    assert (answer.handler, answer.reason) == ("llm", "DISABLED"), "barred code does not serve, whatever git says"
    await world.daemon.run_cycle()
    await world.daemon.run_cycle()
    assert len(await world.state.history(APP)) == before + 1
    assert world.registry.snapshot(APP).components[PARSE].definition.handler_type == "LLM"


async def test_a_repository_that_cannot_be_written_is_tried_again_and_serves_meanwhile(world: World) -> None:
    candidate_id = await world.to_state("canary")
    switch = world.registry.switch_to_handler

    async def full_disk(*args: Any, **kwargs: Any) -> str:
        raise Unavailable("the disk is full")

    world.registry.switch_to_handler = full_disk  # type: ignore[method-assign]
    await world.pass_canary(candidate_id)
    assert world.state_of(candidate_id) == "promoted"
    assert (await world.send("3 pears")).implementation == "jit@v1"
    world.registry.switch_to_handler = switch  # type: ignore[method-assign]
    await world.daemon.run_cycle()
    assert world.registry.snapshot(APP).components[PARSE].definition.handler_type == "JIT"


async def test_reconciling_twice_at_once_makes_one_commit(world: World) -> None:
    import asyncio

    candidate_id = await world.to_state("canary")
    before = len(await world.state.history(APP))
    await crash_after(world, candidate_id, "promoted", lambda: world.pass_canary(candidate_id))
    await asyncio.gather(*(world.promotion.reconcile(APP, PARSE) for _ in range(3)))
    assert len(await world.state.history(APP)) == before + 1


# -- what the ledger does not vouch for


@pytest.mark.parametrize("state", ["shadow", "promoted"])
async def test_code_that_was_exchanged_behind_the_ledger_does_not_serve(world: World, state: str) -> None:
    candidate_id = await world.to_state(state)
    ref = f"refs/uhlp/candidates/{candidate_id}"
    kept = await world.state.read_ref_tree(APP, ref)
    assert kept is not None
    evil = GOOD.replace("int(found[1])", "666").encode()
    await world.state.put_ref_tree(APP, ref, {**kept, "handler.py": evil}, "evil")
    await world.restart()
    candidate = world.book.candidate(candidate_id)
    assert (candidate.state, candidate.cause) == ("rolled_back" if state == "promoted" else "rejected", "lost")
    assert (await world.send("3 pears")).handler == "llm"


async def test_what_the_proposer_saw_cannot_be_made_smaller_behind_the_ledger(world: World) -> None:
    candidate_id = await world.to_state("shadow")
    ref = f"refs/uhlp/candidates/{candidate_id}"
    kept = await world.state.read_ref_tree(APP, ref)
    assert kept is not None
    await world.state.put_ref_tree(APP, ref, {**kept, "record.json": b'{"trained": []}'}, "evil")
    await world.restart()
    assert world.state_of(candidate_id) == "rejected"


@pytest.mark.parametrize("changed", ["""replace(body, '"to":"', '"to":"x')""", "replace(body, '{', '[')"])
async def test_with_a_ledger_that_somebody_changed_the_server_starts_and_models_answer(
    world: World, changed: str
) -> None:
    await world.to_state("promoted")
    database = world.store._database
    (body,) = (await world.store._run(database._db.execute, "SELECT body FROM ledger WHERE seq = 3")).fetchone()
    change = f"UPDATE ledger SET body = CAST({changed} AS BLOB) WHERE seq = 3"
    await world.store._run(database._db.execute, change)
    await world.restart()
    assert world.book.problems[0].what == "ledger entry 3"
    assert (await world.send("3 pears")).handler == "llm"
    assert (await world.oversight.verify_ledger())["firstBad"]["seq"] == 3
    await world.store._run(world.store._database._db.execute, "UPDATE ledger SET body = ? WHERE seq = 3", (body,))


@pytest.mark.parametrize(
    "row", ["json_set(decided, '$.attempt', 9)", "CAST(json_set(decided, '$.attempt', 9) AS BLOB)"]
)
async def test_with_rows_that_the_ledger_does_not_vouch_for_models_answer_everything(world: World, row: str) -> None:
    candidate_id = await world.to_state("promoted")
    database = world.store._database
    (decided,) = (await world.store._run(database._db.execute, "SELECT decided FROM candidates")).fetchone()
    await world.store._run(database._db.execute, f"UPDATE candidates SET decided = {row}")
    await world.restart()
    assert [problem.what for problem in world.book.problems] == [candidate_id]
    assert (await world.send("3 pears")).handler == "llm"
    assert (await world.oversight.overview())["problems"]
    assert not (await world.oversight.verify_ledger())["ok"]
    await world.store._run(world.store._database._db.execute, "UPDATE candidates SET decided = ?", (decided,))


async def test_a_ledger_that_cannot_be_written_does_not_keep_a_bad_handler_in_service(world: World) -> None:
    candidate_id = await world.to_state("promoted")
    append = world.store.append

    async def full_disk(*args: Any, **kwargs: Any) -> int:
        raise OSError("the disk is full")

    world.store.append = full_disk  # type: ignore[method-assign]
    with pytest.raises(OSError, match="full"):
        await world.governor.roll_back(candidate_id, cause="audit", reason="wrong")
    assert world.live() is None
    world.store.append = append  # type: ignore[method-assign]
    assert world.state_of(candidate_id) == "promoted", "what is not in the ledger has not happened"


async def test_payloads_that_come_in_while_a_decision_is_written_are_kept(world: World) -> None:
    candidate_id = await world.to_state("shadow")
    append = world.store.append

    async def slow(*args: Any, **kwargs: Any) -> int:
        world.book.grow(candidate_id, payloads={"late": {"input": 1}}, executions=7)
        return await append(*args, **kwargs)

    world.store.append = slow  # type: ignore[method-assign]
    await world.book.decide(candidate_id, actor="ann", reason="a note")
    world.store.append = append  # type: ignore[method-assign]
    await world.book.save()
    assert await world.store.payload("late", APP) == {"input": 1}
    await world.restart()
    assert world.book.candidate(candidate_id).executions == 7
    assert parse({"text": "3 pears"}) == (await world.send("3 pears")).result.data

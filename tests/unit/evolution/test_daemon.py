"""The wheel: discoveries, clocks, limits, changed and removed components, quarantine."""

from typing import Any

import pytest

from tests.unit.evolution.world import APP, CONFIG, GOOD, PARSE, World, coder_answer, component, lines
from uhlp.errors import StateConflict
from uhlp.optimization.optimization_oracle import Discovery


async def fire(world: World, *component_ids: str) -> list[str]:
    """A rule of each component fires; the candidates that exist afterwards for them, newest first."""
    for component_id in component_ids:
        world.oracle._discoveries[APP, component_id] = Discovery(APP, component_id, "jit", "rule busy: true")
    await world.daemon.run_cycle()
    return [one.id for one in world.book.candidates(APP) if one.component_id in component_ids]


async def test_two_discoveries_of_one_component_make_one_candidate(world: World) -> None:
    assert len(await fire(world, PARSE)) == 1
    assert len(await fire(world, PARSE)) == 1


async def test_two_compilations_an_hour(empty_world: World) -> None:
    world = empty_world
    await world.register(component("a"), component("b"), component("c"))
    assert len(await fire(world, "a", "b", "c")) == 2
    world.clock.advance(3601)
    assert len(await fire(world, "c")) == 1


async def test_a_paused_component_discovers_nothing(world: World) -> None:
    await world.oversight.pause(actor="ann", reason="holiday", app_id=APP, component_id=PARSE)
    assert await fire(world, PARSE) == []


async def test_a_discovery_of_a_component_that_is_gone_is_dropped(world: World) -> None:
    assert await fire(world, "nobody") == []
    world.oracle._discoveries["nowhere", "x"] = Discovery("nowhere", "x", "jit", "r")
    await world.daemon.run_cycle()
    assert world.book.candidates() == []


async def test_nothing_in_a_day_expires_and_may_be_tried_again(world: World) -> None:
    (candidate_id,) = await fire(world, PARSE)
    world.clock.advance(86_401)
    await world.daemon.run_cycle()
    assert world.state_of(candidate_id) == "expired"
    assert len(await fire(world, PARSE)) == 2
    assert world.book.current(APP, PARSE).attempt == 1, "no evidence was looked at"


async def test_after_a_failure_both_clocks_must_run(world: World) -> None:
    failed = await world.to_state("shadow")
    await world.oversight.act(failed, "reject", actor="ann", reason="no")
    await world.record(lines(250, start=2000))
    world.clock.advance(500)
    assert await fire(world, PARSE) == [failed], "500 s is too soon"
    world.clock.advance(200)
    assert await fire(world, PARSE) == [failed], "the samples came in the same second as the failure"
    await world.record(lines(150, start=3000))
    assert await fire(world, PARSE) == [failed], "150 new samples are too few"
    await world.record(lines(60, start=4000))
    assert len(await fire(world, PARSE)) == 2


async def test_by_hand_the_clocks_do_not_count(world: World) -> None:
    failed = await world.to_state("shadow")
    await world.oversight.act(failed, "reject", actor="ann", reason="no")
    assert world.state_of(await world.optimize(compiled=False)) == "discovered"


async def test_the_same_failure_three_times_quarantines_and_a_person_clears_it(world: World) -> None:
    await world.record(lines(60))
    candidates = []
    for _ in range(3):
        world.model.coder.extend(["no idea", "none"])
        candidates.append(await world.optimize())
    assert [world.state_of(one) for one in candidates] == ["rejected", "rejected", "quarantined"]
    with pytest.raises(StateConflict, match="quarantined"):
        await world.optimize()
    assert "It is quarantined" in " ".join((await world.oversight.why(APP, PARSE))["lines"])
    with pytest.raises(StateConflict):
        await world.oversight.act(candidates[-1], "reject", actor="ann", reason="wrong door")
    await world.oversight.act(candidates[-1], "clear-quarantine", actor="ann", reason="new coder")
    assert world.state_of(candidates[-1]) == "rejected"
    attempts = await world.store.attempts(APP, PARSE, world.spec_hash())
    assert (attempts.failures, attempts.quarantined) == (2, False)
    world.model.coder.append(coder_answer())
    assert world.state_of(await world.optimize()) == "shadow"


async def test_five_failures_quarantine(world: World) -> None:
    await world.record(lines(60))
    bad_import, bad_tests = coder_answer("import socket\n" + GOOD), coder_answer(tests="def test_no():\n    assert 0\n")
    for number in range(5):
        world.model.coder.extend([bad_import if number % 2 else bad_tests] * 4)
        candidate_id = await world.optimize()
        world.clock.advance(3600)
    assert world.state_of(candidate_id) == "quarantined"
    assert "5 candidates failed" in (await world.store.entries(candidate_id=candidate_id))[-1].entry.reason


async def test_a_changed_prompt_voids_a_shadow_and_frees_the_component(world: World) -> None:
    candidate_id = await world.to_state("shadow")
    await world.change_prompt()
    await world.daemon.run_cycle()
    assert world.state_of(candidate_id) == "superseded"
    await world.record(lines(60))
    world.model.coder.append(coder_answer())
    assert world.state_of(await world.optimize()) == "shadow", "the same code may serve another specification"


@pytest.mark.parametrize("state", ["canary", "promoted"])
async def test_a_changed_prompt_gives_the_component_back_to_the_model_at_once(world: World, state: str) -> None:
    candidate_id = await world.to_state(state)
    if state == "canary":
        world.rollouts.put(_all(world))
    assert (await world.send("3 pears", observe=False)).handler == "jit"
    await world.change_prompt()
    assert (await world.send("3 pears", observe=False)).handler == "llm", "before any cycle"
    await world.daemon.run_cycle()
    assert world.state_of(candidate_id) == "superseded"
    assert world.registry.snapshot(APP).components[PARSE].definition.handler_type == "LLM"
    assert world.live() is None


def _all(world: World) -> Any:
    from dataclasses import replace

    live = world.live()
    assert live is not None
    return replace(live, weight=1.0)


async def test_a_prompt_changed_in_the_repository_itself_takes_the_handler_out_at_once(world: World) -> None:
    candidate_id = await world.to_state("promoted")
    await world.state.set_definition_file_content(
        APP, f"prompts/{PARSE}.yaml", 'template: "Other: {{ text }}"\n', commit_message="push"
    )
    await world.registry.run_cycle()
    assert world.registry.snapshot(APP).components[PARSE].definition.handler_type == "JIT"
    answer = await world.send("3 pears", observe=False)
    assert (answer.handler, answer.reason) == ("llm", "DISABLED")
    await world.daemon.run_cycle()
    assert world.state_of(candidate_id) == "superseded"
    assert world.registry.snapshot(APP).components[PARSE].definition.handler_type == "LLM"


@pytest.mark.parametrize("state", ["shadow", "promoted"])
async def test_whoever_changes_a_prompt_may_ask_for_a_new_candidate_at_once(world: World, state: str) -> None:
    candidate_id = await world.to_state(state)
    await world.change_prompt()
    await world.record(lines(60))
    world.model.coder.append(coder_answer())
    assert world.state_of(await world.optimize()) == "shadow"
    assert world.state_of(candidate_id) == "superseded"


async def test_a_removed_component_voids_its_candidate(empty_world: World) -> None:
    world = empty_world
    await world.register(component("a"), component("b"))
    first = await world.to_state("shadow", "a")
    second = await world.to_state("shadow", "b")
    from tests.unit.evolution.world import files

    left = files(component("b"))["component_registry.yaml"]
    await world.registry.apply_files(APP, {"component_registry.yaml": left}, message="Drop a")
    await world.daemon.run_cycle()
    assert (world.state_of(first), world.state_of(second)) == ("superseded", "shadow")


@pytest.mark.parametrize("delete_state", [False, True])
@pytest.mark.parametrize("state", ["discovered", "shadow", "promoted"])
async def test_a_deregistered_application_voids_its_candidates(world: World, state: str, delete_state: bool) -> None:
    candidate_id = await world.to_state(state)
    await world.registry.deregister_application(APP, delete_state=delete_state)
    await world.observe()
    await world.daemon.run_cycle()
    assert world.state_of(candidate_id) == "superseded"
    assert world.live() is None
    await world.restart()
    await world.daemon.run_cycle()
    assert (await world.oversight.candidate(candidate_id))["state"] == "superseded"


async def test_one_candidates_trouble_does_not_keep_the_others_from_being_looked_at(empty_world: World) -> None:
    world = empty_world
    await world.register(component("a"), component("b"))
    first = await world.to_state("shadow", "a")
    second = await world.to_state("shadow", "b")
    evaluate = world.governor.evaluate_candidate

    async def breaks_on_the_newest(candidate_id: str) -> None:
        if candidate_id == second:
            raise RuntimeError("a bug")
        await evaluate(candidate_id)
        seen.append(candidate_id)

    seen: list[str] = []
    world.governor.evaluate_candidate = breaks_on_the_newest  # type: ignore[method-assign]
    await world.daemon.run_cycle()
    assert seen == [first]


async def test_nothing_is_proposed_where_there_would_be_no_way_back(world: World) -> None:
    revision = world.registry.snapshot(APP).revision
    repository = world.folder / "apps" / f"{APP}.git"
    repository.rename(repository.with_suffix(".gone"))
    with pytest.raises(StateConflict, match=f"no way back: {revision[:12]} cannot be restored"):
        await world.optimize(compiled=False)
    assert world.book.candidates() == []
    repository.with_suffix(".gone").rename(repository)
    candidate = world.book.candidate(await world.optimize(compiled=False))
    assert candidate.checkpoint is not None
    assert candidate.checkpoint.revision == revision


async def test_pause_is_a_toggle(world: World) -> None:
    assert await world.daemon.toggle_pause(actor="ann", reason="holiday")
    await world.restart()
    assert world.store.is_paused(APP, PARSE)
    assert not await world.daemon.toggle_pause(actor="ann", reason="back")


def test_the_defaults_are_those_that_production_offers() -> None:
    assert (CONFIG.epsilon, CONFIG.delta, CONFIG.alpha) == (0.05, 0.05, 0.05)

"""From a prompt to code in service and back, on real stores."""

import orjson

from tests.unit.evolution.world import APP, GOOD, PARSE, TESTS, World, coder_answer, line, lines

STATES = [
    "discovered", "synthesized", "verified", "shadow", "canary", "canary", "canary", "canary", "promoted",
]  # fmt: skip


async def test_a_prompt_becomes_code_step_by_step_and_answers_as_code(world: World) -> None:
    assert (await world.send("3 pears")).implementation == "prompt@stable"
    candidate_id = await world.to_state("promoted")
    assert await world.timeline(candidate_id) == STATES
    asked = len(world.model.asked)
    answer = await world.send("3 pears", observe=False)
    assert (answer.handler, answer.implementation, answer.reason) == ("jit", "jit@v1", "STATIC")
    assert answer.result.data == {"quantity": 3, "product": "pears"}
    assert len(world.model.asked) == asked


async def test_a_promotion_is_one_commit_with_handler_tests_record_and_switch(world: World) -> None:
    before = len(await world.state.history(APP))
    candidate_id = await world.to_state("promoted")
    history = await world.state.history(APP)
    assert len(history) == before + 1
    commit = history[0]
    assert commit.trailers == {"Component": PARSE, "Candidate": candidate_id, "Decision": "promote"}
    files = (await world.state.read_tree(APP)).files
    folder = f"_jit_code/{PARSE}/v1"
    assert files[f"{folder}/handler.py"].decode() == GOOD
    assert files[f"{folder}/test_handler.py"].decode() == TESTS
    record = orjson.loads(files[f"{folder}/record.json"])
    assert (record["candidate"], record["version"], record["attempt"]) == (candidate_id, 1, 1)
    assert record["statistics"]["k"] == 0
    assert (record["tokensIn"], record["costUsd"]) == (100, 0.001)
    component = world.registry.snapshot(APP).components[PARSE]
    assert component.definition.handler_type == "JIT"
    assert component.prompt_artifact is not None


async def test_the_steps_take_traffic_and_time_both(world: World) -> None:
    candidate_id = await world.to_state("canary")
    await world.send_all([line(n) for n in range(20_000, 20_600)])
    await world.daemon.run_cycle()
    assert world.book.candidate(candidate_id).canary_step == 0, "no time has passed"
    world.clock.advance(61)
    await world.daemon.run_cycle()
    assert world.book.candidate(candidate_id).canary_step == 1
    world.clock.advance(10_000)
    await world.daemon.run_cycle()
    assert world.book.candidate(candidate_id).canary_step == 1, "nothing was executed"


async def test_a_rolled_back_component_is_the_models_again_in_one_commit(world: World) -> None:
    candidate_id = await world.to_state("promoted")
    await world.oversight.act(candidate_id, "rollback", actor="ann", reason="I changed my mind")
    answer = await world.send("3 pears")
    assert (answer.handler, answer.implementation) == ("llm", "prompt@stable")
    history = await world.state.history(APP)
    assert history[0].trailers["Decision"] == "roll-back"
    assert world.registry.snapshot(APP).components[PARSE].definition.handler_type == "LLM"
    assert "I changed my mind" in history[0].message


async def test_the_next_handler_gets_the_next_version(world: World) -> None:
    first = await world.to_state("promoted")
    await world.oversight.act(first, "rollback", actor="ann", reason="again, please")
    world.model.coder.append(coder_answer(GOOD + "\n# another text\n"))
    await world.record(lines(60, start=500, split="held_out"))
    second = await world.optimize()
    await world.pass_canary(second)
    assert (await world.send("3 pears")).implementation == "jit@v2"
    assert world.book.candidate(second).attempt == 2


async def test_epsilon_is_proven_at_the_level_of_the_attempt(world: World) -> None:
    first = await world.to_state("shadow")
    await world.oversight.act(first, "reject", actor="ann", reason="no")
    world.model.coder.append(coder_answer(GOOD + "\n# another text\n"))
    second = await world.optimize()
    accounts = [world.book.candidate(one).evidence["delta"] for one in (first, second)]
    assert accounts == [0.05 / 2, 0.05 / 6]


async def test_a_rule_starts_the_chain(world: World) -> None:
    rule = {"condition": {"expression": "count(requests) > 10"}, "actionParams": {"windowS": 300}}
    app = {"optimizationConfig": {"rules": [rule]}}
    await world.registry.update_application(APP, app, update_mask=["optimizationConfig"])
    world.model.coder.append(coder_answer())
    await world.send_all(lines(40))
    await world.oracle.run_optimization_cycle()
    await world.daemon.run_cycle()
    (candidate,) = world.book.candidates(APP, PARSE)
    assert "count(requests) > 10" in candidate.reason
    await world.compiler.run_cycle()
    assert world.state_of(candidate.id) == "shadow"

"""I12: what has effects is never run twice for the sake of measuring."""

from typing import Any

import pytest

from tests.unit.evolution.world import APP, GOOD, PARSE, World, coder_answer, component, line, lines
from uhlp.errors import NotRepeated
from uhlp.evolution.live_evidence import LiveEvidence
from uhlp.evolution.rollouts import LiveHandler
from uhlp.evolution.verification import handler_of

CONFIG_TOOL = "core.framework.getConfigValue"
LOG_TOOL = "core.framework.logFrameworkMessage"
UNIT = {"key": "unit", "default": "kg"}


async def reading(world: World, **more: Any) -> None:
    await world.register(component(effects="read", tools=[CONFIG_TOOL], **more))


def told(world: World, handler_type: str) -> list[Any]:
    return [answer for kind, answer in world.runner.told if kind == handler_type]


def calls_of_tools(world: World) -> float:
    calls = {key: count for key, count in world.tool_meter.counts.items() if key[0] == "uhlp_tool_calls_total"}
    return sum(count for (_, _, _, tool, _), count in calls.items() if tool in (CONFIG_TOOL, LOG_TOOL))


# -- read


async def test_a_handler_beside_the_model_is_told_what_the_models_execution_was_told(empty_world: World) -> None:
    world = empty_world
    await reading(world)
    candidate_id = await world.to_state("shadow")
    world.runner.tool_calls = {"LLM": [(CONFIG_TOOL, UNIT)], "JIT": [(CONFIG_TOOL, UNIT)]}
    n, before = world.book.candidate(candidate_id).evidence["n"], calls_of_tools(world)
    await world.send_all(lines(5, start=5001))
    assert told(world, "JIT") == told(world, "LLM") == [{"found": False, "value": "kg"}] * 5
    assert calls_of_tools(world) == before + 5, "each tool ran once a request"
    assert world.book.candidate(candidate_id).evidence["n"] == n + 5


async def test_a_call_that_was_not_recorded_ends_the_comparison_without_a_score(empty_world: World) -> None:
    world = empty_world
    await reading(world)
    candidate_id = await world.to_state("shadow")
    before = world.book.candidate(candidate_id)
    world.runner.tool_calls = {"LLM": [(CONFIG_TOOL, UNIT)], "JIT": [(CONFIG_TOOL, {"key": "colour"})]}
    ran = calls_of_tools(world)
    await world.send_all(lines(5, start=5001))
    assert calls_of_tools(world) == ran + 5, "those of the model"
    after = world.book.candidate(candidate_id)
    assert (after.evidence["n"], after.evidence["k"], after.figures) == (
        before.evidence["n"],
        before.evidence["k"],
        before.figures,
    )


async def test_recordings_hold_no_answers_of_tools_so_nothing_is_shown_of_a_handler_that_asks(
    empty_world: World,
) -> None:
    world = empty_world
    await reading(world)
    world.runner.tool_calls = {"JIT": [(CONFIG_TOOL, UNIT)]}
    await world.record(lines(60))
    world.model.coder.extend([coder_answer()] * 4)
    candidate_id = await world.optimize()
    refused = world.book.candidate(candidate_id)
    assert (refused.state, refused.cause) == ("rejected", "effects")
    assert refused.reason.startswith(f"it calls {CONFIG_TOOL} on ")
    assert calls_of_tools(world) == 0, "and none ran"


async def test_a_component_that_reads_goes_the_whole_way(empty_world: World) -> None:
    world = empty_world
    await reading(world)
    await world.to_state("promoted")
    world.runner.tool_calls = {"JIT": [(CONFIG_TOOL, UNIT)]}
    assert (await world.send("3 pears")).handler == "jit"
    assert told(world, "JIT")[-1] == {"found": False, "value": "kg"}, "in service it asks for itself"


async def test_what_reads_may_be_taken_over_by_the_model_after_it_has_read(empty_world: World) -> None:
    world = empty_world
    await reading(world)
    await world.to_state("promoted")
    world.runner.tool_calls = {"JIT": [(CONFIG_TOOL, UNIT)]}
    world.runner.faults = {"3 pears": "die"}
    answer = await world.send("3 pears")
    assert (answer.handler, answer.deoptimized) == ("llm", "sandbox")


async def test_metrics_of_a_handler_on_trial_are_dropped(empty_world: World) -> None:
    world = empty_world
    await reading(world)
    metric = {"metric_name": "app.custom.orders", "metric_type": "counter", "value": 1}
    world.runner.tool_calls = {"JIT": [("core.metrics.record", metric)]}
    await world.to_state("shadow")  # the world's collector raises when it is told anything
    assert told(world, "JIT")[-1] == {"accepted": 1}


# -- write


async def test_what_writes_is_not_compiled_and_the_reason_says_what_to_do(empty_world: World) -> None:
    world = empty_world
    await world.register(component(tools=[LOG_TOOL]))
    await world.record(lines(60))
    candidate_id = await world.optimize()
    refused = world.book.candidate(candidate_id)
    assert (refused.state, refused.cause) == ("rejected", "effects")
    for words in ("writing twice", "an approval is no proof", "declare `effects: read`"):
        assert words in refused.reason
    assert not world.model.specifications, "no coder was paid"


def serve(world: World, **fields: Any) -> None:
    world.rollouts.put(
        LiveHandler(
            candidate_id="c-1", app_id=APP, component_id=PARSE, implementation=handler_of(GOOD), weight=1.0,
            salt=b"s", audit_share=1.0, spec_hash=world.spec_hash(), is_promoted=True, **fields,
        )
    )  # fmt: skip


@pytest.mark.parametrize("fault", ["die", "hang"])
async def test_after_a_call_was_made_what_writes_is_not_run_again(empty_world: World, fault: str) -> None:
    world = empty_world
    await world.register(component(tools=[LOG_TOOL]))
    serve(world, timeout_s=0.5)
    world.runner.tool_calls = {"JIT": [(LOG_TOOL, {"message": "charged the card"})]}
    world.runner.faults = {"3 pears": fault}
    with pytest.raises(NotRepeated) as raised:
        await world.send("3 pears", observe=False)
    assert (raised.value.code, raised.value.status, raised.value.retryable) == ("NOT_REPEATED", 502, False)
    assert [kind for kind, _ in world.runner.executed] == ["JIT"]


async def test_before_a_call_was_made_the_model_may_take_over_what_writes(empty_world: World) -> None:
    world = empty_world
    await world.register(component(tools=[LOG_TOOL]))
    serve(world)
    world.runner.faults = {"3 pears": "die"}
    assert (await world.send("3 pears", observe=False)).deoptimized == "sandbox"


async def test_what_writes_runs_beside_nothing(empty_world: World) -> None:
    world = empty_world
    await world.register(component(tools=[LOG_TOOL]))
    candidate = await world.book.create(
        APP, PARSE, actor="test", reason="as if it had come so far", proposer="coder", spec_hash=world.spec_hash(),
        attempt=1,
    )  # fmt: skip
    world.rollouts.put(
        LiveHandler(
            candidate_id=candidate.id, app_id=APP, component_id=PARSE, implementation=handler_of(GOOD), weight=0.0,
            salt=b"s", audit_share=1.0, spec_hash=world.spec_hash(),
        )
    )  # fmt: skip
    world.governor._live._evidence[candidate.id] = LiveEvidence.open(
        attempt=1, epsilon=0.1, config=world.config, trained=frozenset()
    )
    await world.send_all([line(number) for number in range(5001, 5006)])
    assert [kind for kind, _ in world.runner.executed] == ["LLM"] * 5

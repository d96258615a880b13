"""One request: who answers, what follows from it, and the model behind every handler."""

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.evolution.world import APP, PARSE, World, component, files, line, lines
from uhlp.errors import DeadlineExceeded, ExecutionFailed, FallbackTooLate, ModelProviderUnavailable, TooManyRequests
from uhlp.evolution.observation import ObservationQueue, Served
from uhlp.evolution.rollouts import LiveHandler
from uhlp.evolution.verification import handler_of
from uhlp.models.definition import AppDefinition
from uhlp.routing.config import SlotSettings
from uhlp.routing.request import RoutedRequest

FAILING = """\
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
    return {"quantity": 1, "product": "code"}
"""


def put(world: World, code: str = FAILING, *, weight: float = 1.0, candidate_id: str = "c-1", **fields: Any) -> None:
    """A handler in live traffic, without the story of how it came there."""
    implementation = replace(handler_of(code), version=7)
    world.rollouts.put(
        LiveHandler(
            candidate_id=candidate_id, app_id=APP, component_id=PARSE, implementation=implementation, weight=weight,
            salt=candidate_id.encode(), audit_share=0.0, spec_hash=world.spec_hash(), is_promoted=weight == 1.0,
            **fields,
        )
    )  # fmt: skip


async def test_without_a_handler_the_model_answers(world: World) -> None:
    answer = await world.send("3 pears")
    assert (answer.handler, answer.implementation, answer.reason) == ("llm", "prompt@stable", "STATIC")
    assert answer.deoptimized is None


@pytest.mark.parametrize("reason", ["guard", "exception", "timeout", "schema", "oom", "sandbox"])
async def test_what_a_handler_does_not_answer_the_model_answers_in_the_same_request(world: World, reason: str) -> None:
    put(world, timeout_s=0.5 if reason == "timeout" else None)
    world.runner.faults = {"timeout": "hang", "sandbox": "die"}
    answer = await world.send(reason, observe=False)
    assert answer.result.data == {"quantity": 0, "product": "nothing"}
    assert (answer.handler, answer.implementation, answer.deoptimized) == ("llm", "prompt@stable", reason)
    assert answer.reason == ("STATIC" if reason == "guard" else "ERROR")
    assert [name for name, _ in answer.timings] == ["handler", "model"]
    assert world.meter.counts["uhlp_deoptimizations_total", APP, PARSE, reason] == 1
    window = world.windows.window(APP, PARSE, 60, handler="llm").as_dict()
    assert window["count"] == 1
    (sample,) = await world.samples.samples(APP, PARSE)
    assert (sample.handler, sample.ok, sample.output) == ("llm", True, answer.result.data)
    served = await world.observations.take()
    assert served.handler_result is not None
    assert served.model_result is not None
    assert served.handler_result.failure == reason


async def test_an_answer_of_code_leaves_window_sample_and_observation(world: World) -> None:
    put(world)
    answer = await world.send("anything", observe=False)
    assert (answer.handler, answer.implementation, answer.reason) == ("jit", "jit@v7", "STATIC")
    assert [name for name, _ in answer.timings] == ["handler"]
    assert world.windows.window(APP, PARSE, 60, handler="jit").as_dict()["count"] == 1
    (sample,) = await world.samples.samples(APP, PARSE)
    assert (sample.handler, sample.implementation) == ("jit", "jit@v7")
    served = await world.observations.take()
    assert served.model_result is None
    assert not world.model.asked


async def test_the_models_sample_has_the_models_own_latency(world: World) -> None:
    put(world)
    world.runner.handler_latency_s, world.model.latency_s = 1.0, 0.25
    await world.send("guard", observe=False)
    (sample,) = await world.samples.samples(APP, PARSE)
    assert sample.latency_ms == pytest.approx(250)
    assert world.windows.window(APP, PARSE, 60).as_dict()["latencyMs"]["avg"] == pytest.approx(1250)


async def test_when_no_time_is_left_the_answer_is_a_clear_504(world: World) -> None:
    put(world)
    world.runner.handler_latency_s = 30.0
    with pytest.raises(FallbackTooLate) as raised:
        await world.send("guard", observe=False)
    assert (raised.value.status, raised.value.code) == (504, "FALLBACK_TOO_LATE")
    assert raised.value.details == {"reason": "guard"}
    assert not world.model.asked
    assert (await world.samples.samples(APP, PARSE, ok=False))[0].handler == "jit"
    assert len(world.observations) == 1


@pytest.mark.parametrize("effects", ["write", "read"])
async def test_what_may_have_written_is_not_run_a_second_time(empty_world: World, effects: str) -> None:
    world = empty_world
    await world.register(component(effects=effects, tools=["core.framework.logFrameworkMessage"]))
    put(world)
    world.runner.faults = {"pay": "tool-then-fail"}
    if effects == "read":
        assert (await world.send("pay", observe=False)).handler == "llm"
        return
    with pytest.raises(ExecutionFailed, match="write twice"):
        await world.send("pay", observe=False)
    assert not world.model.asked
    assert (await world.send("guard", observe=False)).handler == "llm", "nothing was called: the model may answer"


async def test_when_the_model_fails_too_its_error_is_the_answer(world: World) -> None:
    put(world)
    world.model.is_down = True
    with pytest.raises(ModelProviderUnavailable):
        await world.send("guard", observe=False)
    (sample,) = await world.samples.samples(APP, PARSE, ok=False)
    assert sample.output["code"] == "MODEL_PROVIDER_UNAVAILABLE"


async def test_shadow_leaves_the_answer_to_the_model_and_is_observed(world: World) -> None:
    put(world, weight=0.0)
    answer = await world.send("3 pears", observe=False)
    assert (answer.handler, answer.reason) == ("llm", "STATIC")
    assert (await world.observations.take()).handler_result is None


# -- the split


async def _arms(world: World, sessions: list[str | None], text: str = "1 figs") -> list[str]:
    return [(await world.send(text, session=session, observe=False)).handler for session in sessions]


async def test_a_session_stays_on_its_arm_whatever_it_asks(world: World) -> None:
    put(world, weight=0.5)
    sessions = [f"s{number}" for number in range(20)]
    first, second = await _arms(world, sessions, "1 figs"), await _arms(world, sessions, "2 limes")
    assert first == second
    assert set(first) == {"llm", "jit"}


async def test_without_a_session_the_input_decides(world: World) -> None:
    put(world, weight=0.5)
    first = [(await world.send(text, observe=False)).handler for text in lines(20)]
    again = [(await world.send(text, observe=False)).handler for text in lines(20)]
    assert first == again
    assert set(first) == {"llm", "jit"}


async def test_the_share_is_about_the_weight_and_another_candidate_splits_otherwise(world: World) -> None:
    sessions = [f"s{number}" for number in range(120)]
    put(world, weight=0.25)
    first = await _arms(world, sessions)
    assert 12 <= Counter(first)["jit"] <= 50
    put(world, weight=0.25, candidate_id="c-2")
    assert await _arms(world, sessions) != first


async def test_who_was_on_the_handler_stays_on_it_when_the_weight_grows(world: World) -> None:
    sessions = [f"s{number}" for number in range(60)]
    put(world, weight=0.25)
    small = await _arms(world, sessions)
    put(world, weight=0.5)
    large = await _arms(world, sessions)
    assert all(now == "jit" for before, now in zip(small, large, strict=True) if before == "jit")


async def test_a_canary_runs_among_the_trials_and_a_promoted_handler_does_not(world: World) -> None:
    put(world, weight=0.9999999)
    await world.send("x", observe=False)
    put(world)
    await world.send("x", observe=False)
    assert [sandbox.spec.group for sandbox in world.driver.sandboxes] == ["trial", "serving"]


# -- handlers of the definition itself


async def _own_handler(world: World, *, prompt: bool) -> None:
    task = {"script": "code/own.py", "function": "handle", **({"prompt_template": PARSE} if prompt else {})}
    definition = component(handlerType="JIT", taskDetails=task)
    made = {**files(definition), "code/own.py": FAILING.encode()}
    if not prompt:
        del made[f"prompts/{PARSE}.yaml"]
    await world.registry.register_application(AppDefinition(app_id=APP), files=made)


async def test_an_owners_handler_serves_and_deoptimises_like_any_other(empty_world: World) -> None:
    await _own_handler(empty_world, prompt=True)
    answer = await empty_world.send("x")
    assert (answer.handler, answer.implementation) == ("jit", "jit@own")
    assert (await empty_world.send("guard")).deoptimized == "guard"


async def test_an_owners_handler_without_a_prompt_has_the_whole_deadline_and_clear_errors(empty_world: World) -> None:
    await _own_handler(empty_world, prompt=False)
    with pytest.raises(ExecutionFailed, match="no prompt"):
        await empty_world.send("guard")
    with pytest.raises(ExecutionFailed):
        await empty_world.send("exception")
    assert (await empty_world.send("x")).result.data["product"] == "code"


async def test_barred_code_never_serves(empty_world: World) -> None:
    world = empty_world
    await _own_handler(world, prompt=True)
    artifact = world.registry.snapshot(APP).components[PARSE].handler_artifact
    assert artifact is not None
    world.rollouts.bar(APP, artifact.sha256)
    answer = await world.send("3 pears")
    assert (answer.handler, answer.reason) == ("llm", "DISABLED")


async def test_barred_code_without_a_prompt_is_a_clear_error(empty_world: World) -> None:
    world = empty_world
    await _own_handler(world, prompt=False)
    artifact = world.registry.snapshot(APP).components[PARSE].handler_artifact
    assert artifact is not None
    world.rollouts.bar(APP, artifact.sha256)
    with pytest.raises(ExecutionFailed, match="no handler that may serve"):
        await world.send("3 pears")
    assert not [kind for kind, _ in world.runner.executed if kind == "JIT"]


async def test_a_handler_made_for_another_specification_does_not_serve(world: World) -> None:
    put(world)
    await world.change_prompt()
    answer = await world.send("x", observe=False)
    assert answer.handler == "llm"
    assert len(world.observations) == 0, "and is not measured by the new one"


# -- observations


async def test_a_full_queue_drops_and_counts_and_the_request_does_not_notice(world: World) -> None:
    full = ObservationQueue(meter=world.meter, capacity=2)
    world.router = world.make_router(observations=full)
    put(world)
    for number in range(5):
        assert (await world.send(line(number + 1), observe=False)).handler == "jit"
    assert world.meter.counts["uhlp_observations_dropped_total", APP] == 3
    assert isinstance(await full.take(), Served)


async def test_an_application_beyond_its_share_is_refused_before_anything_runs_and_leaves_nothing(world: World) -> None:
    put(world)
    world.runner.faults = {"long": "hang"}
    world.router = world.make_router(slots=SlotSettings(executions=2, queue_per_application=0))
    first = asyncio.create_task(world.send("long", observe=False))
    await asyncio.sleep(0)  # it has its slot
    with pytest.raises(TooManyRequests):
        await world.send("anything", observe=False)
    first.cancel()
    await asyncio.wait([first])
    assert not await world.samples.samples(APP, PARSE)
    assert (await world.send("anything", observe=False)).handler == "jit"


async def test_a_request_that_waits_is_answered_within_what_is_left_of_its_time(empty_world: World) -> None:
    await empty_world.register(component(timeoutMs=4_000, maxConcurrency=1))
    world = empty_world
    world.model.latency_s = 3.0
    answers = await asyncio.gather(world.send("1 pear", observe=False), world.send("2 pears", observe=False))
    assert [name for name, _ in answers[0].timings] == ["model"]
    assert [name for name, _ in answers[1].timings] == ["queue", "model"]
    first_s, second_s = world.model.timeouts
    assert 0 < first_s <= 4.0
    assert second_s == pytest.approx(first_s / 4)


@pytest.mark.parametrize(("within_s", "own_s", "is_blamed"), [(2.0, None, False), (30.0, 0.5, True)])
async def test_a_handler_that_a_hurried_caller_cuts_off_is_not_said_to_hang(
    world: World, within_s: float, own_s: float | None, is_blamed: bool
) -> None:
    put(world, timeout_s=own_s)
    world.runner.faults = {"hang": "hang"}
    app = world.registry.snapshot(APP)
    request = RoutedRequest(
        app=app, component=app.components[PARSE], input={"text": "hang"}, trace_id="t",
        deadline=world.clock.monotonic() + within_s,
    )  # fmt: skip
    answer = await world.router.handle(request)
    assert (answer.handler, answer.deoptimized) == ("llm", "timeout")
    result = (await world.observations.take()).handler_result
    assert result is not None
    assert (result.failure, result.is_refusal) == ("timeout", not is_blamed)


async def test_where_all_have_to_wait_a_handler_that_hangs_is_still_known_from_one_that_came_too_late(
    empty_world: World,
) -> None:
    world = empty_world
    await world.register(app={"sandboxPools": {"pools": [{"poolName": "default", "maxInstances": 1}]}})
    put(world, timeout_s=0.15)
    world.runner.faults = {"hang": "hang"}
    app = world.registry.snapshot(APP)

    async def caller(timeout_s: float) -> None:
        for _ in range(6):
            deadline = world.clock.monotonic() + timeout_s
            request = RoutedRequest(
                app=app, component=app.components[PARSE], input={"text": "hang"}, trace_id="t", deadline=deadline
            )
            with suppress(DeadlineExceeded):  # the model's time may not be enough where the machine is busy
                await world.router.handle(request)

    await asyncio.gather(*(caller(0.4 + 0.04 * number) for number in range(6)))
    results = [(await world.observations.take()).handler_result for _ in range(36)]
    ran = [kind for kind, _ in world.runner.executed if kind == "JIT"]
    hung = [one for one in results if one is not None and not one.is_refusal]
    assert {one.failure for one in hung} == {"timeout"}
    assert len(hung) > len(ran) / 2, "all, but for those that the machine held up in between"


async def test_usage_of_both_runs_is_counted_in_a_deoptimised_request(world: World) -> None:
    await world.send("3 pears")
    alone = world.windows.window(APP, PARSE, 60).as_dict()
    put(world)
    await world.send("guard", observe=False)
    both = world.windows.window(APP, PARSE, 60).as_dict()
    assert both["tokensIn"] == 2 * alone["tokensIn"] == 200


async def test_the_stress_switch_gives_every_nth_request_of_a_handler_to_the_model(world: World) -> None:
    put(world)
    world.router = world.make_router(deopt_every_n=3)
    answers = [await world.send("anything", observe=False) for _ in range(6)]
    assert [answer.deoptimized for answer in answers] == [None, None, "manual", None, None, "manual"]

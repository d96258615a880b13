"""A shorter prompt on its way: asked for, tried, held against the one in service, served, promoted and taken back."""

from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from tests.unit.evolution.prompt_world import LONG, SHORT_RULES, SHORT_TASK, STABLE, PromptWorld
from tests.unit.evolution.world import APP, JUDGE, PARSE, coder_answer, component, line, lines, parse
from uhlp.clock import FakeClock
from uhlp.errors import BadModelAnswer, ModelProviderUnavailable, StateConflict
from uhlp.evolution.prompt_synthesis import why_no_shorter_prompt

RULE = {"condition": {"expression": "count(requests) > 0"}, "actionParams": {"windowS": 300}}


@pytest.fixture
async def empty(tmp_path: Path) -> AsyncIterator[PromptWorld]:
    made = PromptWorld(tmp_path, FakeClock())
    await made.open()
    yield made
    await made.check()
    await made.close()


@pytest.fixture
async def world(empty: PromptWorld) -> PromptWorld:
    await empty.register()
    return empty


# -- asked for


async def test_a_person_asks_and_the_run_is_looked_at_until_it_is_over(world: PromptWorld) -> None:
    await world.record(lines(30, split="train") + lines(30, split="held_out"))
    candidate_id = await world.compress()
    candidate = world.book.candidate(candidate_id)
    assert (candidate.kind, candidate.state) == ("prompt", "discovered")
    (request,) = [one.body for one in await world.requests.receive(visibility_timeout=1.0)]
    assert request.request_id == candidate.measurements["compression"]["requestId"]
    assert request.dataset is not None
    assert len(request.dataset) == 60
    world.clock.advance(2.0)
    await world.compiler.compile(candidate_id)
    assert world.state_of(candidate_id) == "discovered"
    assert len(await world.optimizer_works()) == 1, "it was asked for once"
    await world.compiler.compile(candidate_id)
    candidate = world.book.candidate(candidate_id)
    assert await world.timeline(candidate_id) == ["discovered", "synthesized", "verified", "shadow"]
    assert (candidate.costs.usd, candidate.costs.tokens_in) == (0.25, 40_000)
    assert world.served_prompt() == world.component().prompt_artifact.content.decode()  # type: ignore[union-attr]
    assert await world.stable_set() is None, "nothing serves yet"


async def test_after_a_restart_the_same_run_is_waited_for(world: PromptWorld) -> None:
    await world.record(lines(30, split="train") + lines(30, split="held_out"))
    candidate_id = await world.compress()
    await world.restart()
    await world.compiler.compile(candidate_id)
    assert len(await world.optimizer_works()) == 1
    await world.compiler.compile(candidate_id)
    await world.restart()
    assert world.state_of(candidate_id) == "shadow"
    assert world.book.candidate(candidate_id).costs.usd == 0.25, "charged once"
    live = world.prompt_live()
    assert live is not None
    assert (live.label, live.weight) == (f"prompt@{candidate_id}", 0.0)


@pytest.mark.parametrize("action", ["reject", "quarantine"])
async def test_a_person_who_ends_the_candidate_ends_its_run(world: PromptWorld, action: str) -> None:
    await world.record(lines(30, split="train") + lines(30, split="held_out"))
    candidate_id = await world.compress()
    request_id = world.book.candidate(candidate_id).measurements["compression"]["requestId"]
    assert not await world.runs.is_cancelled(request_id)
    await world.oversight.act(candidate_id, action, actor="ann", reason="not this prompt")
    assert await world.runs.is_cancelled(request_id)


async def test_a_run_that_is_asked_for_while_its_candidate_ends_is_ended_too(world: PromptWorld) -> None:
    await world.record(lines(30, split="train") + lines(30, split="held_out"))
    candidate_id = await world.compress()
    candidate = world.book.candidate(candidate_id)
    await world.governor.reject(candidate_id, cause="person", reason="not this prompt", actor="ann")
    await world.compiler.compile(candidate_id)
    assert await world.runs.is_cancelled(candidate.measurements["compression"]["requestId"])


@pytest.mark.parametrize("verdict", ["not_applicable", "nothing_accepted"])
async def test_what_came_of_nothing_is_rejected_with_the_reports_reason(world: PromptWorld, verdict: str) -> None:
    await world.record(lines(30, split="train") + lines(30, split="held_out"))
    candidate_id = await world.compress()
    await world.optimizer_works(verdict=verdict, reason="4 samples to choose by")  # type: ignore[arg-type]
    await world.compiler.compile(candidate_id)
    candidate = world.book.candidate(candidate_id)
    assert (candidate.state, candidate.cause) == ("rejected", verdict)
    assert "4 samples to choose by" in candidate.reason


async def test_what_cannot_be_decided_quarantines_nothing(world: PromptWorld) -> None:
    await world.record(lines(30, split="train") + lines(30, split="held_out"))
    for _ in range(6):
        candidate_id = await world.compress()
        await world.optimizer_works(verdict="not_applicable", reason="too few")
        await world.compiler.compile(candidate_id)
    assert world.state_of(candidate_id) == "rejected"
    attempts = await world.store.attempts(APP, PARSE, world.spec_hash(), "prompt")
    assert (attempts.failures, attempts.quarantined) == (6, False)
    assert (await world.store.attempts(APP, PARSE, world.spec_hash())).failures == 0, "handlers count by themselves"


async def test_a_prompt_is_left_alone_while_a_handler_answers(world: PromptWorld) -> None:
    await world.to_state("promoted")
    with pytest.raises(StateConflict, match="a handler answers"):
        await world.compress()


async def test_a_prompt_that_others_use_or_that_writes_is_left_alone(empty: PromptWorld) -> None:
    both = {"taskDetails": {"prompt_template": PARSE}}
    await empty.register(component(), component("also", **both))
    with pytest.raises(StateConflict, match="the prompt of also too"):
        await empty.compress()


async def test_a_prompt_whose_name_overrides_cannot_have_is_left_alone(empty: PromptWorld) -> None:
    await empty.register()
    one = component(taskDetails={"prompt_template": "Parse"})
    await empty.registry.apply_files(
        APP,
        {"prompts/Parse.yaml": LONG.encode(), "component_registry.yaml": orjson.dumps({"components": [one]})},
        message="Name it as they like",
    )
    why = why_no_shorter_prompt(empty.book, empty.registry.snapshot(APP), empty.component())
    assert why is not None
    assert "prompts/Parse.yaml" in why


async def test_what_writes_is_left_alone(empty: PromptWorld) -> None:
    await empty.register(component(effects="write", tools=["core.framework.logFrameworkMessage"]))
    with pytest.raises(StateConflict, match="effects are write"):
        await empty.compress()


async def test_a_rule_that_asks_for_it_starts_it(empty: PromptWorld) -> None:
    rule = {**RULE, "action": "ACTION_COMPRESS_PROMPT"}
    await empty.register(component(optimization={"rules": [rule]}))
    await empty.send("3 pears")
    await empty.oracle.run_optimization_cycle()
    await empty.daemon.run_cycle()
    (candidate,) = empty.book.candidates()
    assert (candidate.kind, candidate.approval_required) == ("prompt", False)


async def test_in_mode_recommend_the_rule_only_recommends(empty: PromptWorld) -> None:
    rule = {**RULE, "action": "ACTION_COMPRESS_PROMPT"}
    await empty.register(component(optimization={"rules": [rule], "mode": "recommend"}))
    await empty.send("3 pears")
    await empty.oracle.run_optimization_cycle()
    await empty.daemon.run_cycle()
    (candidate,) = empty.book.candidates()
    assert candidate.approval_required
    (recommended,) = await empty.oversight.recommendations(APP)
    assert recommended["candidateId"] == candidate.id


async def test_what_is_no_function_is_offered_a_shorter_prompt(empty: PromptWorld) -> None:
    rules = [{**RULE, "action": "ACTION_TRIGGER_JIT"}]
    await empty.register(component(optimization={"rules": rules, "usdPerSecondSaved": 1.0}))
    empty.model.latency_s = 0.5
    await empty.record(lines(30, split="train") + lines(30, split="held_out"))
    empty.model.noise = 0.9
    await empty.send("3 pears")
    for _ in range(2):
        await empty.oracle.run_optimization_cycle()
        await empty.daemon.run_cycle()
        for one in empty.book.candidates(state="discovered"):
            await empty.compiler.compile(one.id)
        empty.clock.advance(5)
    second, first = empty.book.candidates()
    assert (first.kind, first.state, first.cause) == ("jit", "rejected", "not_a_function")
    assert (second.kind, second.state) == ("prompt", "discovered")
    assert "it cannot be compiled (not_a_function)" in second.reason


# -- held against the one in service


async def test_equal_prompts_come_through_although_the_model_is_noisy(world: PromptWorld) -> None:
    candidate_id = await world.shorten()
    world.model.noise = 0.2
    await world.prove(candidate_id, most=2_000)
    evidence = world.book.candidate(candidate_id).evidence
    assert evidence["gain"] > 0, "the prompt in service differed from itself, too"
    assert world.state_of(candidate_id) == "canary", world.book.candidate(candidate_id).reason


async def test_a_worse_prompt_is_rejected(world: PromptWorld) -> None:
    candidate_id = await world.shorten()

    def forgets(prompt: str, inputs: dict[str, object]) -> object:
        value = parse(inputs)
        return {**value, "product": "apples"} if "with quantity and" in prompt else value

    world.model.by_prompt = forgets
    await world.prove(candidate_id)
    candidate = world.book.candidate(candidate_id)
    assert (candidate.state, candidate.cause) == ("rejected", "evidence")
    whole = await world.oversight.candidate(candidate_id)
    assert whole["mismatches"][0]["case"]["got"]["product"] == "apples"


async def test_what_cannot_be_asked_is_no_score(world: PromptWorld) -> None:
    candidate_id = await world.shorten()
    await world.send_all(lines(3, start=900))
    before = world.book.candidate(candidate_id).evidence["n"]
    world.model.second_thoughts = {line(950): ModelProviderUnavailable("the model is down")}
    await world.send(line(950))
    assert world.book.candidate(candidate_id).evidence["n"] == before
    assert world.state_of(candidate_id) == "shadow"


# -- served


async def test_a_canary_answers_a_share_and_falls_back_in_the_same_request(world: PromptWorld) -> None:
    candidate_id = await world.shorten()
    await world.prove(candidate_id)
    assert world.state_of(candidate_id) == "canary"

    def breaks(prompt: str, inputs: dict[str, object]) -> object:
        return {"nonsense": True} if "with quantity and" in prompt else parse(inputs)

    answers = await world.send_all(lines(60, start=9_000))
    tried = [one for one in answers if one.implementation == f"prompt@{candidate_id}"]
    assert tried
    assert {(one.handler, one.reason) for one in tried} == {("llm", "SPLIT")}
    world.model.by_prompt = breaks
    answers = []
    for text in lines(120, start=20_000):
        answers.append(await world.send(text))
    fallen = [one for one in answers if one.deoptimized]
    assert fallen
    assert {(one.implementation, one.reason) for one in fallen} == {("prompt@stable", "ERROR")}
    assert all(one.result.data["product"] for one in answers), "nobody saw the nonsense"
    candidate = world.book.candidate(candidate_id)
    assert candidate.state == "rolled_back", candidate.reason
    assert await world.stable_set() is None


async def test_a_promotion_is_one_commit_of_the_stable_set(world: PromptWorld) -> None:
    before = world.served_prompt()
    commits = len(await world.state.history(APP))
    spec = world.spec_hash()
    candidate_id = await world.shorten()
    await world.promote(candidate_id)
    history = await world.state.history(APP)
    assert len(history) == commits + 1
    assert history[0].trailers == {"Component": PARSE, "Candidate": candidate_id, "Decision": "promote"}
    text = (await world.stable_set() or b"").decode()
    assert "Answer with quantity and product." in text
    assert candidate_id in text, "its provenance"
    assert world.spec_hash() == spec
    assert len(world.served_prompt()) < len(before)
    answer = await world.send("3 pears", observe=False)
    assert (answer.implementation, answer.handler, answer.reason) == ("prompt@stable", "llm", "STATIC")
    assert "with quantity and" in world.model.prompts[-1]


async def test_what_a_shorter_prompt_saves_is_counted_as_its_own(world: PromptWorld) -> None:
    world.model.tokens_of = lambda prompt: 60 if "with quantity and" in prompt else 100
    await world.send_all(lines(5, start=60_000))
    candidate_id = await world.shorten()
    await world.promote(candidate_id)
    world.model.by_prompt = None
    before = (await world.money.savings(APP))["components"][PARSE]
    for text in lines(20, start=70_000):
        await world.send(text, observe=False)
    told = (await world.money.savings(APP))["components"][PARSE]
    assert told["total"]["requests"] - before["total"]["requests"] == 20
    assert told["total"]["saved"]["tokens"] - before["total"]["saved"]["tokens"] == 20 * 40
    assert told["total"]["byHandler"] == 0, "no code has answered"
    (own,) = told["candidates"]
    assert (own["candidateId"], own["before"]["tokens"], own["measured"]["coverage"]) == (candidate_id, 110.0, 1.0)


@pytest.mark.parametrize("state", ["canary", "promoted"])
async def test_a_model_that_answers_nonsense_to_both_prompts_says_nothing_of_the_shorter_one(
    world: PromptWorld, state: str
) -> None:
    candidate_id = await world.shorten()
    await world.prove(candidate_id)
    if state == "promoted":
        await world.pass_canary(candidate_id)
    world.model.by_prompt = lambda prompt, inputs: {"nonsense": True}
    for text in lines(120, start=20_000):
        with pytest.raises(BadModelAnswer):
            await world.send(text)
    assert world.state_of(candidate_id) == state, world.book.candidate(candidate_id).reason


async def test_a_set_that_was_there_is_kept_beside_and_restored(world: PromptWorld) -> None:
    prompt = world.component().prompt
    assert prompt is not None
    first = await world.shorten(bodies={"task": SHORT_TASK})
    await world.promote(first)
    stood = await world.stable_set()
    second = await world.shorten()
    await world.promote(second)
    both = (await world.stable_set() or b"").decode()
    assert "Read this order line." in both
    assert "with quantity and" in both
    assert world.state_of(first) == "superseded"
    await world.oversight.act(second, "rollback", actor="ann", reason="I liked the old one")
    assert await world.stable_set() == stood
    history = await world.state.history(APP)
    assert history[0].trailers["Decision"] == "roll-back"


async def test_audits_go_on_and_an_alarm_restores_the_prompt_before(world: PromptWorld) -> None:
    before = world.served_prompt()
    candidate_id = await world.shorten()
    await world.promote(candidate_id)

    def forgets(prompt: str, inputs: dict[str, object]) -> object:
        value = parse(inputs)
        return {**value, "product": "apples"} if "with quantity and" in prompt else value

    world.model.by_prompt = forgets
    start = 100_000
    for _ in range(60):
        if world.state_of(candidate_id) != "promoted":
            break
        await world.send_all(lines(25, start=start, without="apples"))
        start += 50
        await world.daemon.run_cycle()
    candidate = world.book.candidate(candidate_id)
    assert (candidate.state, candidate.cause) == ("rolled_back", "audit"), candidate.reason
    assert await world.stable_set() is None
    assert world.served_prompt() == before
    assert (await world.send("3 pears")).result.data == {"quantity": 3, "product": "pears"}


async def test_a_rollback_that_cannot_be_committed_serves_the_prompt_before_all_the_same(world: PromptWorld) -> None:
    candidate_id = await world.shorten()
    await world.promote(candidate_id)
    await world.book.decide(candidate_id, "rolled_back", actor="test", reason="a crash before the commit")  # type: ignore[arg-type]
    await world.restart()
    assert await world.stable_set() is not None, "the commit is still to come"
    world.model.prompts.clear()
    await world.send("3 pears")
    assert all("with quantity and" not in one for one in world.model.prompts)
    await world.daemon.run_cycle()
    assert await world.stable_set() is None


async def test_a_promotion_that_a_crash_interrupted_is_finished(world: PromptWorld) -> None:
    candidate_id = await world.shorten()
    await world.promote(candidate_id)
    path = {STABLE: None}
    await world.registry.apply_files(APP, path, message="as if it had not been written")
    await world.daemon.run_cycle()
    assert await world.stable_set() is not None
    await world.restart()
    live = world.prompt_live()
    assert live is not None
    assert live.is_promoted


async def test_overrides_that_somebody_writes_end_what_is_on_its_way(world: PromptWorld) -> None:
    candidate_id = await world.shorten()
    prompt = world.component().prompt
    assert prompt is not None
    section = next(one for one in prompt.sections if one.key == "task")
    kept = {"createdAt": 0, "sections": {"task": {"expectedHash": section.sha256, "body": SHORT_TASK}}}
    await world.registry.apply_files(APP, {STABLE: orjson.dumps(kept)}, message="by hand")
    await world.daemon.run_cycle()
    candidate = world.book.candidate(candidate_id)
    assert (candidate.state, "changed by hand" in candidate.reason) == ("superseded", True)
    assert await world.stable_set() == orjson.dumps(kept)


async def test_a_changed_prompt_voids_what_was_proven_and_takes_the_set_back(world: PromptWorld) -> None:
    candidate_id = await world.shorten()
    await world.promote(candidate_id)
    changed = {f"prompts/{PARSE}.yaml": LONG.replace("greatest", "utmost").encode()}
    await world.registry.apply_files(APP, changed, message="say it otherwise")
    await world.daemon.run_cycle()
    assert world.state_of(candidate_id) == "superseded"
    assert await world.stable_set() is None


async def test_people_see_what_it_is(world: PromptWorld) -> None:
    candidate_id = await world.shorten()
    whole = await world.oversight.candidate(candidate_id)
    assert whole["kind"] == "prompt"
    assert whole["code"] is None
    assert "-Answer with the quantity and the product." in whole["diff"]
    assert "+Answer with quantity and product." in whole["diff"]
    assert whole["report"]["verdict"] == "shorter"
    why = await world.oversight.why(APP, PARSE)
    assert any(candidate_id in one for one in why["lines"])
    await world.promote(candidate_id)
    listed = await world.versions.listed(APP, PARSE)
    assert listed["inService"].startswith("prompt@")
    assert [one["kind"] for one in listed["versions"]] == ["prompt", "prompt"]
    assert listed["versions"][0]["candidateId"] == candidate_id
    await world.versions.return_to(APP, PARSE, "prompt", actor="ann", reason="as it was")
    assert world.state_of(candidate_id) == "rolled_back"
    assert await world.stable_set() is None


async def test_a_handler_may_follow_and_the_shorter_prompt_stands_behind_it(world: PromptWorld) -> None:
    shorter = await world.shorten()
    await world.promote(shorter)
    world.model.coder.append(coder_answer())
    await world.record(lines(60, split="held_out", start=50_000))
    handler = await world.optimize()
    await world.pass_canary(handler)
    assert (world.state_of(handler), world.state_of(shorter)) == ("promoted", "promoted")
    answer = await world.send("3 pears")
    assert (answer.handler, answer.implementation) == ("jit", "jit@v1")
    assert (await world.send("what is this", observe=False)).implementation == "prompt@stable"
    assert SHORT_RULES.splitlines()[1] in world.model.prompts[-1]


# -- what a comparator cannot compare


def same_product(value: object, a: dict[str, object], b: dict[str, object]) -> str:
    """A judge who reads products alone, and knows the right one."""
    right = parse(value)["product"]  # type: ignore[arg-type]
    return {(True, True): "both", (True, False): "A", (False, True): "B"}.get(
        (a["product"] == right, b["product"] == right), "neither"
    )


async def judged(world: PromptWorld, *, known: int) -> str:
    """A candidate of a component that A/A has found to be no function: the quantities that it answers vary."""
    numbers = iter(range(10**6))
    golden = [(text, parse({"text": text})) for text in lines(known, split="train")]
    await world.register(app={"llm": {"judgeModel": JUDGE}}, golden={PARSE: golden})
    world.model.judge = same_product
    world.model.answer = lambda inputs: {**parse(inputs), "quantity": next(numbers)}
    await world.record(lines(30, split="train", start=500) + lines(30, split="held_out", start=500))
    handler = await world.optimize()
    assert world.book.candidate(handler).cause == "not_a_function"
    return await world.compress()


async def test_where_no_answer_is_like_another_a_calibrated_judge_compares(empty: PromptWorld) -> None:
    candidate_id = await judged(empty, known=24)
    (request,) = await empty.optimizer_works()
    assert (request.evaluator.kind, request.evaluator.model) == ("judge", JUDGE)  # type: ignore[union-attr]
    await empty.compiler.compile(candidate_id)
    assert empty.state_of(candidate_id) == "shadow", empty.book.candidate(candidate_id).reason
    await empty.restart()
    await empty.prove(candidate_id)
    assert empty.state_of(candidate_id) == "canary", empty.book.candidate(candidate_id).reason
    assert empty.book.candidate(candidate_id).evidence["k"] == 0


async def test_a_judge_that_is_not_calibrated_compares_nothing(empty: PromptWorld) -> None:
    candidate_id = await judged(empty, known=3)
    candidate = empty.book.candidate(candidate_id)
    assert (candidate.state, candidate.cause) == ("rejected", "not_comparable")
    assert "3 known answers, 20 are needed" in candidate.reason


async def test_prose_that_nobody_has_declared_is_told_before_anything_is_asked_for(empty: PromptWorld) -> None:
    golden = [(text, {"quantity": 1, "product": told_at_length(n)}) for n, text in enumerate(lines(12, split="train"))]
    await empty.register(golden={PARSE: golden})
    candidate = empty.book.candidate(await empty.compress())
    assert (candidate.state, candidate.cause) == ("rejected", "not_comparable")
    assert "set llm.judgeModel" in candidate.reason
    assert await empty.optimizer_works() == []


async def test_prose_that_its_owner_wants_word_for_word_is_tried(empty: PromptWorld) -> None:
    golden = [(text, {"quantity": 1, "product": told_at_length(n)}) for n, text in enumerate(lines(12, split="train"))]
    exact = component(optimization={"comparator": {"product": "exact"}})
    await empty.register(exact, golden={PARSE: golden})
    await empty.compress()
    (request,) = await empty.optimizer_works()
    assert request.evaluator is not None
    assert request.evaluator.kind == "comparator"


def told_at_length(number: int) -> str:
    return f"The customer would like to have what is listed under number {number}."

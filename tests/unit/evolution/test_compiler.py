"""What a compilation refuses, and why; what it shows proposers; what it postpones."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.evolution.world import (
    APP,
    FORGETS_PEARS,
    GOOD,
    PARSE,
    TESTS,
    World,
    coder_answer,
    component,
    line,
    lines,
    parse,
)
from uhlp.clock import FakeClock
from uhlp.errors import ModelProviderUnavailable, NoModelProvider, NotLeading, StateConflict
from uhlp.traffic.samples import Sample, SampleStore
from uhlp.traffic.split import input_hash, split_of

LEAVES_NUTS = GOOD.replace("if found is None", "if found is None or found[2] == 'nuts'")


async def refused(world: World, *answers: str, count: int = 60) -> Any:
    """The candidate that came of these answers of the coder, which must have been rejected."""
    await world.record(lines(count))
    world.model.coder.extend(answers)
    candidate = world.book.candidate(await world.optimize())
    assert candidate.state == "rejected", candidate
    return candidate


async def test_code_that_reaches_outside_is_refused_before_it_runs(world: World) -> None:
    bad = coder_answer("import socket\n" + GOOD)
    candidate = await refused(world, bad, bad, bad, bad)
    assert candidate.cause == "policy"
    assert "socket" in candidate.reason
    assert not [kind for kind, _ in world.runner.executed if kind in ("JIT", "TESTS")]


async def test_failing_tests_are_shown_to_the_coder_and_refuse_in_the_end(world: World) -> None:
    failing = TESTS + "\n\ndef test_more():\n    assert handle({'text': '1 figs'}, {}) == 'one fig'\n"
    candidate = await refused(world, *[coder_answer(tests=failing)] * 4)
    assert candidate.cause == "tests"
    assert candidate.reason == "1 of 2 generated tests fail"
    assert len(candidate.drafts) == 4
    assert "test_more" in world.model.specifications[1]


async def test_tests_that_test_nothing_refuse(world: World) -> None:
    candidate = await refused(world, *[coder_answer(tests="x = 1\n")] * 4)
    assert (candidate.cause, candidate.reason) == ("tests", "no test was run")


async def test_a_flawed_handler_is_repaired_with_the_counterexample(world: World) -> None:
    await world.record(lines(200))
    world.model.coder.extend([coder_answer(FORGETS_PEARS), coder_answer(GOOD)])
    candidate = world.book.candidate(await world.optimize())
    assert candidate.state in ("shadow", "canary")
    assert [(draft.stage, draft.counterexamples > 0) for draft in candidate.drafts] == [
        ("train_replay", True),
        (None, False),
    ]
    assert '"got":{"quantity"' in world.model.specifications[1]
    assert FORGETS_PEARS.splitlines()[-1] in world.model.specifications[1]
    calls = len(world.model.specifications) + len(world.model.asked)  # the coder's, A/A's and those that asked up
    assert (candidate.costs.tokens_in, candidate.costs.tokens_out) == (100 * calls, 10 * calls)
    assert candidate.costs.usd == pytest.approx(0.001 * calls)


async def test_a_handler_that_stays_wrong_on_train_is_refused_and_what_it_got_wrong_is_kept(world: World) -> None:
    candidate = await refused(world, *[coder_answer(FORGETS_PEARS)] * 4)
    assert candidate.cause == "train_replay"
    assert "the first in product (" in candidate.reason
    assert "pears" not in candidate.reason, "a reason stays for good, a recording can be deleted"
    assert len(candidate.drafts) == 4
    shown = await world.oversight.candidate(candidate.id)
    assert {one["case"]["expected"]["product"] for one in shown["mismatches"]} == {"pears"}
    assert {one["split"] for one in shown["mismatches"]} == {"train"}


async def test_a_handler_that_is_wrong_where_train_does_not_look_is_refused_by_held_out(world: World) -> None:
    train = [text for text in lines(60, split="train") if not text.endswith("pears")]
    held_out = lines(20, split="held_out") + lines(20, split="held_out", product="pears")
    await world.record(train + held_out)
    world.model.coder.append(coder_answer(FORGETS_PEARS))
    candidate = world.book.candidate(await world.optimize())
    assert (candidate.state, candidate.cause) == ("rejected", "held_out_replay")
    assert "HELD-OUT" in candidate.reason
    entry = (await world.store.entries(candidate_id=candidate.id))[-1].entry
    assert entry.evidence["k"] >= 3
    assert {mismatch.split for mismatch in candidate.mismatches} == {"held_out"}
    shown = await world.oversight.candidate(candidate.id)
    assert shown["mismatches"][0]["case"]["expected"]["product"] == "pears"


async def test_the_order_of_held_out_is_the_samples_order_not_the_outcomes(world: World) -> None:
    """Eighty right answers prove 10 % when they come first; here every fourth answer between them is wrong."""
    texts = []
    for number, text in enumerate(lines(160, split="held_out", product="apples")):
        texts += [text] if number % 4 else [lines(1, start=1000 + 50 * number, split="held_out", product="pears")[0]]
    await world.record([text for text in lines(60, split="train") if not text.endswith("pears")] + texts)
    world.model.coder.append(coder_answer(FORGETS_PEARS))
    candidate = world.book.candidate(await world.optimize())
    assert (candidate.state, candidate.cause) == ("rejected", "held_out_replay")


async def test_too_little_coverage_is_refused_and_the_coder_hears_it(world: World) -> None:
    timid = GOOD.replace(
        "    found = LINE", '    if inputs["text"][0] != "2":\n        raise Deoptimize()\n    found = LINE'
    )
    await world.record([text for text in lines(80) if text[0] != "2"])
    await world.record(["2 apples"])
    world.model.coder.extend([coder_answer(timid)] * 4)
    candidate = world.book.candidate(await world.optimize())
    assert (candidate.state, candidate.cause) == ("rejected", "coverage")
    assert "needs 20% to pay" in world.model.specifications[1]


async def test_a_handler_that_is_slower_than_the_model_is_refused(world: World) -> None:
    world.runner.handler_latency_s = 0.5
    candidate = await refused(world, coder_answer())
    assert candidate.cause == "latency"
    assert "take 500.0 ms or more, of the model's 200.0 ms" in candidate.reason


async def test_a_model_that_disagrees_with_itself_is_no_function(world: World) -> None:
    await world.record(lines(60))
    world.model.noise = 0.9
    candidate = world.book.candidate(await world.optimize())
    assert (candidate.state, candidate.cause) == ("rejected", "not_a_function")
    assert not world.model.specifications


async def test_golden_answers_that_correct_the_model_are_no_noise(empty_world: World) -> None:
    world = empty_world
    texts = lines(60)
    wrong = [(text, {"quantity": 1, "product": "crates"}) for text in texts]
    await world.register(golden={PARSE: wrong})
    await world.record(texts)
    world.model.coder.append(
        coder_answer(
            'def handle(inputs, context):\n    return {"quantity": 1, "product": "crates"}\n',
            "from handler import handle\n\ndef test_it():\n    assert handle({}, {})\n",
        )
    )
    candidate = world.book.candidate(await world.optimize())
    assert candidate.state == "shadow", candidate.reason
    assert candidate.figures.agreement == 1.0


async def test_free_text_cannot_be_compared_and_is_not_compiled(empty_world: World) -> None:
    await empty_world.register(component(optimization={"comparator": {"product": "free_text"}}))
    candidate = await refused(empty_world)
    assert candidate.cause == "not_comparable"
    assert "product" in candidate.reason


async def test_a_component_that_writes_is_not_run_twice_to_compare(empty_world: World) -> None:
    await empty_world.register(component(effects="write"))
    candidate = await refused(empty_world)
    assert candidate.cause == "effects"
    assert not [kind for kind, _ in empty_world.runner.executed if kind == "JIT"]


async def test_a_pool_of_an_image_that_runs_no_python_is_refused_before_a_model_is_asked(empty_world: World) -> None:
    image = "registry.example/our-node:3"
    empty_world.driver.foreign_images.add(image)
    pools = {"sandboxPools": {"pools": [{"poolName": "node", "dockerImage": image}]}}
    await empty_world.register(component(targetPoolName="node"), app=pools)
    candidate = await refused(empty_world)
    assert candidate.cause == "image"
    assert f"build-image --base {image}" in candidate.reason
    assert not empty_world.model.specifications
    assert not empty_world.model.asked


async def test_an_unreadable_coder_is_refused_after_one_repair(world: World) -> None:
    candidate = await refused(world, "no idea", "still none")
    assert candidate.cause == "proposal"
    assert "twice" in candidate.reason
    assert candidate.costs.tokens_in == 100 * (len(world.model.asked) + 2), "answers that cannot be read cost as much"


async def test_code_that_was_refused_before_is_barred(world: World) -> None:
    first = await world.to_state("shadow")
    await world.oversight.act(first, "reject", actor="ann", reason="no")
    candidate = await refused(world, *[coder_answer()] * 4)
    assert (candidate.cause, candidate.attempt) == ("barred", 2)
    assert "refused or rolled back before" in world.model.specifications[-1]


async def test_proposers_see_train_only_and_what_they_saw_is_never_evidence(world: World) -> None:
    train, held_out = lines(60, split="train"), lines(30, split="held_out")
    await world.record(train + held_out)
    world.model.coder.extend([coder_answer(FORGETS_PEARS), coder_answer(GOOD)])
    candidate_id = await world.optimize()
    for specification in world.model.specifications:
        assert json.dumps(train[0]) in specification
        for text in held_out:
            assert json.dumps(text) not in specification
    n = world.governor.evidence_of(candidate_id).account.n
    await world.send_all(train[:20])
    assert world.governor.evidence_of(candidate_id).account.n == n
    await world.send_all(lines(5, start=40_000))
    assert world.governor.evidence_of(candidate_id).account.n == n + 5


async def test_inputs_of_earlier_failures_are_shown_if_train_and_count_as_seen(world: World) -> None:
    first = await world.to_state("shadow", code=GOOD)
    world.model.answer = lambda inputs: {"quantity": 7, "product": "x"} if "nuts" in inputs["text"] else parse(inputs)
    both = [lines(1, start=3000, split=split, product="nuts")[0] for split in ("train", "held_out")]
    await world.send_all(both)
    await world.oversight.act(first, "reject", actor="ann", reason="nuts")
    world.model.answer = parse
    world.model.coder.append(coder_answer(LEAVES_NUTS))
    second = await world.optimize()
    assert json.dumps(both[0]) in world.model.specifications[-1]
    assert json.dumps(both[1]) not in world.model.specifications[-1]
    assert GOOD.splitlines()[-1] in world.model.specifications[-1]
    evidence = world.governor.evidence_of(second)
    assert input_hash({"text": both[0]})[:16] in evidence.trained
    assert input_hash({"text": both[1]})[:16] not in evidence.trained


async def test_an_input_counts_at_most_three_times(world: World) -> None:
    candidate_id = await world.to_state("shadow")
    evidence = world.governor.evidence_of(candidate_id)
    n = evidence.account.n
    await world.send_all([line(77_777)] * 10)
    assert evidence.account.n == n + 3


async def test_recordings_count_at_most_three_times_in_held_out_replay(world: World) -> None:
    held_out = lines(5, split="held_out")
    await world.record(lines(30, split="train") + held_out * 10)
    world.model.coder.append(coder_answer())
    candidate_id = await world.optimize()
    assert world.book.candidate(candidate_id).evidence["n"] == 15


# -- what could not be measured decides nothing


async def test_without_enough_samples_the_candidate_stays_discovered(world: World) -> None:
    await world.record(lines(5))
    candidate_id = await world.optimize()
    assert world.state_of(candidate_id) == "discovered"
    assert not world.model.specifications


async def test_a_model_that_is_down_postpones_with_growing_waits_and_is_not_asked_meanwhile(world: World) -> None:
    await world.record(lines(60))
    world.model.is_down = True
    candidate_id = await world.optimize()
    assert world.state_of(candidate_id) == "discovered"
    world.model.is_down = False
    world.model.coder.append(coder_answer())
    await world.compiler.compile(candidate_id)
    assert world.state_of(candidate_id) == "discovered", "ten seconds have not passed"
    assert any("postponed" in text for text in (await world.oversight.why(APP, PARSE))["lines"])
    world.clock.advance(11)
    await world.compiler.compile(candidate_id)
    assert world.state_of(candidate_id) == "shadow"


async def test_a_coder_that_is_down_is_asked_again_but_the_model_is_measured_once(world: World) -> None:
    await world.record(lines(60))
    world.model.coder.extend([NoModelProvider(), coder_answer()])
    world.model.coder[0].retryable = True  # type: ignore[union-attr]
    candidate_id = await world.optimize()
    asked = len(world.model.asked)
    assert (world.state_of(candidate_id), asked) == ("discovered", 5)
    world.clock.advance(11)
    await world.compiler.compile(candidate_id)
    assert world.state_of(candidate_id) == "shadow"
    assert len(world.model.asked) == asked


async def test_a_held_out_disagreement_that_nobody_can_judge_waits_and_is_no_rejection(world: World) -> None:
    await world.record(lines(30, split="train") + lines(30, split="held_out"))
    odd = lines(1, start=9000, split="held_out")
    await world.record(odd, output={"quantity": 1, "product": "noise"})
    world.model.coder.append(coder_answer())
    world.model.answers_left = 5  # enough to see whether it is a function
    candidate_id = await world.optimize()
    assert world.state_of(candidate_id) == "waiting"
    await world.restart()
    assert world.state_of(candidate_id) == "waiting"
    world.model.answers_left = None
    world.clock.advance(11)
    await world.daemon.run_cycle()
    await world.compiler.run_cycle()
    assert world.state_of(candidate_id) == "shadow"
    assert world.book.candidate(candidate_id).figures.handler_right == 1


async def test_a_draft_is_not_blamed_for_train_answers_that_nobody_can_judge_now(world: World) -> None:
    await world.record(lines(30, split="train") + lines(30, split="held_out"))
    await world.record(lines(4, start=9000, split="train"), output={"quantity": 1, "product": "noise"})
    world.model.coder.append(coder_answer())
    world.model.answers_left = 5  # enough to see whether it is a function
    candidate_id = await world.optimize()
    assert world.state_of(candidate_id) == "discovered"
    assert "could not be judged" in world.book.candidate(candidate_id).measurements["postponedBecause"]
    world.model.answers_left = None
    world.clock.advance(11)
    await world.compiler.compile(candidate_id)
    assert world.state_of(candidate_id) == "shadow"
    assert len(world.model.specifications) == 1, "no coder was paid again"


async def test_a_draft_is_not_refused_because_its_coder_cannot_be_asked_for_a_repair_now(world: World) -> None:
    await world.record(lines(200))
    down = ModelProviderUnavailable("too many requests")
    world.model.coder.extend([coder_answer(FORGETS_PEARS), down, coder_answer()])
    candidate_id = await world.optimize()
    assert world.state_of(candidate_id) == "discovered"
    world.clock.advance(11)
    await world.compiler.compile(candidate_id)
    candidate = world.book.candidate(candidate_id)
    assert candidate.state in ("shadow", "canary")
    assert [draft.stage for draft in candidate.drafts] == ["train_replay", None]
    assert candidate.costs.tokens_in == 100 * (2 + len(world.model.asked)), "two answers of the coder, and the model's"


async def test_a_draft_that_could_not_be_written_down_is_not_paid_twice(world: World) -> None:
    leads = world.fence

    def lost() -> int | None:
        raise NotLeading

    def tokens_of(prompt: str) -> int:
        if prompt.startswith("Write a Python handler"):
            world.fence = lost
        return 100

    await world.record(lines(60))
    world.model.tokens_of = tokens_of
    world.model.coder.extend([coder_answer(), coder_answer(GOOD + "# again")])
    candidate_id = await world.optimize()
    assert world.state_of(candidate_id) == "discovered"
    world.fence = leads
    world.clock.advance(11)
    await world.compiler.compile(candidate_id)
    assert world.state_of(candidate_id) == "shadow"
    assert len(world.model.specifications) == len(world.book.candidate(candidate_id).drafts) == 1


async def test_a_decision_of_a_person_during_a_compilation_stands(world: World) -> None:
    await world.record(lines(60))

    async def rejects_meanwhile(request: Any, **kwargs: Any) -> Any:
        if request.replay_input is None:
            await world.oversight.act(candidate_id, "quarantine", actor="ann", reason="stop it")
        return await original(request, **kwargs)

    original = world.model.generate
    world.model.generate = rejects_meanwhile  # type: ignore[method-assign]
    world.model.coder.append(coder_answer())
    candidate_id = await world.optimize(compiled=False)
    await world.compiler.compile(candidate_id)
    assert world.state_of(candidate_id) == "quarantined"


async def test_a_removed_component_ends_its_compilation_quietly(world: World) -> None:
    await world.record(lines(60))
    candidate_id = await world.optimize(compiled=False)
    await world.registry.apply_files(APP, {"component_registry.yaml": b"components: []\n"}, message="Drop it")
    await world.compiler.compile(candidate_id)
    assert world.state_of(candidate_id) == "discovered"
    await world.daemon.run_cycle()
    assert world.state_of(candidate_id) == "superseded"


async def test_one_candidate_at_a_time_per_component(world: World) -> None:
    await world.optimize(compiled=False)
    with pytest.raises(StateConflict):
        await world.optimize(compiled=False)


def test_the_world_knows_both_sides_of_the_split() -> None:
    assert {split_of(input_hash({"text": text})) for text in lines(20)} == {"train", "held_out"}


async def test_an_error_that_nobody_expected_postpones_and_the_fourth_in_a_row_pauses(tmp_path: Path) -> None:
    class BrokenSamples(SampleStore):
        is_broken, asked = True, 0

        async def samples(self, *args: Any, **kwargs: Any) -> list[Sample]:
            self.asked += 1
            if self.is_broken:
                raise RuntimeError("5 figs were stored as no sample is")
            return await super().samples(*args, **kwargs)

    class BrokenWorld(World):
        make_samples = BrokenSamples

    world = BrokenWorld(tmp_path, FakeClock())
    await world.open()
    await world.register()
    await world.record(lines(60))
    candidate_id = await world.optimize()
    assert world.state_of(candidate_id) == "discovered"
    for _ in range(3):
        asked = world.samples.asked
        await world.compiler.compile(candidate_id)
        assert world.samples.asked == asked, "it is not asked again at once"
        assert not world.book.candidate(candidate_id).paused
        world.clock.advance(60)
        await world.compiler.compile(candidate_id)
    candidate = world.book.candidate(candidate_id)
    assert (candidate.state, candidate.paused) == ("discovered", True)
    entries = await world.store.readable_entries()
    assert "failed 4 times in a row" in entries[-1].reason
    assert "figs" not in str(candidate.measurements), "what was recorded must stay deletable"
    world.samples.is_broken = False
    world.model.coder.append(coder_answer())
    await world.oversight.act(candidate_id, "resume", actor="ann", reason="the store is whole again")
    world.clock.advance(600)
    await world.compiler.compile(candidate_id)
    assert world.state_of(candidate_id) == "shadow"
    await world.check()
    await world.close()


async def test_what_a_draft_took_that_could_not_be_judged_is_among_its_candidates_costs(world: World) -> None:
    await world.record(lines(30, split="train") + lines(30, split="held_out"))
    odd = lines(4, start=9000, split="train")
    await world.record(odd, output={"quantity": 1, "product": "noise"})
    world.model.coder.append(coder_answer(FORGETS_PEARS))
    world.model.second_thoughts = dict.fromkeys(odd, ModelProviderUnavailable("nobody judges what is odd"))
    first = world.book.candidate(await world.optimize())
    assert (first.state, first.cause) == ("rejected", "train_replay"), first.reason
    world.model.second_thoughts = {}
    world.clock.advance(700)
    await world.record(lines(300, start=20_000))
    world.model.second_thoughts[odd[0]] = ModelProviderUnavailable("the model is down")
    world.model.coder.append(coder_answer(GOOD + "# again\n"))
    candidate_id = await world.optimize()
    before, asked = world.book.candidate(candidate_id).costs, len(world.model.asked)
    world.clock.advance(20)
    await world.compiler.compile(candidate_id)  # examined again
    candidate = world.book.candidate(candidate_id)
    assert (candidate.state, candidate.measurements["postponedBecause"]) == ("synthesized", "the model is down")
    assert len(world.model.asked) > asked
    assert candidate.costs.tokens_out - before.tokens_out == 10 * (len(world.model.asked) - asked)

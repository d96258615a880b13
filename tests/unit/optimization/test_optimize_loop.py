"""The OptimizeLoop: shorter prompts that lose nothing, and the defects of its first specification, one by one."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from tests.unit.evals.sends_twice import SendsTwice
from tests.unit.optimization.compress_world import (
    APP,
    COMPONENT,
    KEY,
    SHORT,
    CompressWorld,
    ScriptedStrategy,
    dataset,
    request,
    shouts,
)
from uhlp.errors import Conflict, ModelProviderUnavailable, OverrideConflict, OverrideRefused
from uhlp.evals.dataset import Dataset
from uhlp.evals.eval_report import EvalReport
from uhlp.evals.evaluators import Exact
from uhlp.loops import LoopGroup, PeriodicLoop
from uhlp.mailbox.message_queue import MailboxCounts
from uhlp.models.experiment import Experiment
from uhlp.models.main_loop import MainLoopFault
from uhlp.optimization.compress import OptimizeBudget, OptimizeRuns, apply_modifications
from uhlp.optimization.compress.modifications import apply_report
from uhlp.optimization.compress.optimize_run import OptimizeRun, Step
from uhlp.prompts.overrides import PromptDescriptor, SectionOverride
from uhlp.traffic.split import Split, input_hash

LOSES_CAPITALS = {"rules": "## Rules\nWrite the text.\n\n"}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[CompressWorld]:
    async with CompressWorld(tmp_path) as made:
        yield made


async def test_what_loses_nothing_is_accepted_and_what_does_is_not(world: CompressWorld) -> None:
    strategy = ScriptedStrategy({**SHORT, **LOSES_CAPITALS})
    report = (await world.optimize(strategy)).report
    assert report.verdict == "shorter"
    assert {one.edit.section: one.outcome for one in report.edits} == {
        "preamble": "accepted", "rules": "regressed", "ending": "accepted",
    }  # fmt: skip
    assert [one.section_path for one in report.modifications] == [("preamble",), ("ending",)]
    assert report.rejected[0].section_path == ("rules",)
    assert report.certificate is not None
    saved = report.certificate.baseline.tokens_in - report.certificate.candidate.tokens_in
    assert report.total_token_reduction == round(saved) > 100
    assert report.baseline_pass_rate == 1.0


async def test_applied_modifications_are_one_change_with_a_way_back(world: CompressWorld) -> None:
    before = await world.resolved()
    result = await world.optimize(ScriptedStrategy(SHORT))
    applied = await apply_modifications(
        world.store, world.descriptor, result.report.modifications, expected_revision=None, provenance={"by": "tests"}
    )
    after = await world.resolved()
    assert after.digest == result.report.candidate_digest != before.digest
    assert applied.provenance == {"by": "tests"}
    with pytest.raises(OverrideConflict):  # somebody was first
        await apply_modifications(world.store, world.descriptor, result.report.modifications, expected_revision=None)
    await world.store.restore(world.descriptor, tag="stable", revision=None)
    assert (await world.resolved()).digest == before.digest


async def test_a_report_is_applied_to_the_prompt_that_it_is_about_alone(world: CompressWorld) -> None:
    report = (await world.optimize(ScriptedStrategy({"ending": SHORT["ending"]}))).report
    assert report.certificate is not None
    assert report.certificate.samples == report.held_out
    assert report.certificate.unseen_losers == pytest.approx(1 - 0.05 ** (1 / report.held_out))
    (rules,) = [one for one in world.descriptor.sections if one.key == "rules"]
    edited = SectionOverride(path=("rules",), expected_hash=rules.sha256, body=SHORT["rules"])
    other = await world.store.put(world.descriptor, [edited], tag="stable")
    with pytest.raises(OverrideConflict, match="not the prompt"):
        await apply_report(world.store, world.descriptor, report, tag="stable", output_schema=None)
    await world.store.delete(ns=APP, prompt_key=KEY, tag="stable", expected_revision=other.revision)
    applied = await apply_report(world.store, world.descriptor, report, tag="stable", output_schema=None)
    assert list(applied.sections) == ["ending"]
    with pytest.raises(Conflict, match="nothing to apply"):
        await apply_report(
            world.store, world.descriptor, report.model_copy(update={"modifications": ()}), tag="stable",
            output_schema=None,
        )  # fmt: skip


async def test_a_the_baselines_own_overrides_stay_under_a_candidate(world: CompressWorld) -> None:
    (preamble,) = [one for one in world.descriptor.sections if one.key == "preamble"]
    edit = SectionOverride(path=("preamble",), expected_hash=preamble.sha256, body=SHORT["preamble"])
    await world.store.store(world.descriptor, edit)
    result = await world.optimize(ScriptedStrategy({"ending": SHORT["ending"]}))
    assert result.report.verdict == "shorter"
    await apply_modifications(world.store, world.descriptor, result.report.modifications)
    text = (await world.resolved()).prompt.text
    assert text.startswith(SHORT["preamble"])
    assert SHORT["ending"] in text


async def test_b_a_stale_tag_is_told_and_equal_prompts_are_no_comparison(world: CompressWorld) -> None:
    missing = await world.optimize(ScriptedStrategy(SHORT), baseline_tag="gone")
    assert (missing.report.verdict, missing.error is not None) == ("failed", True)
    assert world.loop.asked == []
    world.loop.digest_of = lambda resolved: "the same for every tag"
    same = await world.optimize(ScriptedStrategy(SHORT))
    assert set(outcomes_of(same.report)) == {"invalid"}
    assert same.report.modifications == ()


async def test_c_a_strategy_gets_the_bodies_that_the_baseline_really_has(world: CompressWorld) -> None:
    (preamble,) = [one for one in world.descriptor.sections if one.key == "preamble"]
    edit = SectionOverride(path=("preamble",), expected_hash=preamble.sha256, body="You shout texts, all of them.\n\n")
    await world.store.store(world.descriptor, edit)
    strategy = ScriptedStrategy({"ending": SHORT["ending"]})
    await world.optimize(strategy)
    assert strategy.seen[0].sections[0].body == "You shout texts, all of them.\n\n"


async def test_d_replies_find_their_evaluation_and_collecting_them_ends(world: CompressWorld) -> None:
    sizes = [7, 11, 5]
    reports = await asyncio.gather(*(evaluated(world, dataset(size)) for size in sizes))  # one reply queue for all
    assert [(one.n, one.missing) for one in reports] == [(size, 0) for size in sizes]
    world.loop.may_answer.clear()
    unanswered = await evaluated(world, dataset(5), deadline_s=0.05)
    assert (unanswered.n, unanswered.missing) == (0, 5)
    world.loop.may_answer.set()
    assert (await evaluated(world, dataset(3))).n == 3  # late replies of the one before belong to nobody


async def test_e_a_lost_lease_ends_the_work(world: CompressWorld) -> None:
    strategy = ScriptedStrategy(SHORT)
    await world.send(strategy, request_id="once")
    world.loop.may_answer.clear()
    asked = asyncio.Event()
    world.loop.on_ask = lambda number: asked.set()
    working = asyncio.create_task(world.optimize_loop(strategy, visibility_s=0.06).run_cycle())
    async with asyncio.timeout(30):
        await asked.wait()
        while not (taken := await world.requests.receive(visibility_timeout=600.0)):
            world.clock.advance(1.0)  # the lease is over before it is renewed
        await working
    assert not (await world.runs.get("once")).is_over
    assert await world.temporary_tags() == []
    world.loop.may_answer.set()
    await taken[0].nack()
    await world.optimize_loop(strategy).run_cycle()
    assert (await world.reply()).report.verdict == "shorter"


async def test_f_a_request_that_is_delivered_again_is_answered_from_what_is_kept(world: CompressWorld) -> None:
    strategy = ScriptedStrategy(SHORT)
    first = await world.optimize(strategy, request_id="once")
    asked = len(world.loop.asked)
    again = await world.optimize(strategy, request_id="once")
    assert again.report == first.report
    assert len(world.loop.asked) == asked
    assert len(strategy.seen) == 1


async def test_f_a_request_that_was_sent_twice_is_worked_on_once_at_the_same_time_too(world: CompressWorld) -> None:
    strategy = ScriptedStrategy(SHORT)
    for _ in range(2):
        await world.send(strategy, request_id="once")
    both = [world.optimize_loop(strategy), world.optimize_loop(strategy)]
    await asyncio.gather(*(loop.run_cycle() for loop in both))
    asked = len(world.loop.asked)
    world.clock.advance(60.0)
    await both[1].run_cycle()
    assert (await world.reply()).report == (await world.reply()).report
    assert (len(strategy.seen), len(world.loop.asked)) == (1, asked)


async def test_g_a_sample_counts_once_however_often_its_reply_comes(world: CompressWorld) -> None:
    world.evaluation = world.evaluation_through(SendsTwice(world.eval_requests))
    async with LoopGroup([PeriodicLoop("twice", world.evaluation.run_cycle, 0.0, world.clock, waits_for_work=True)]):
        result = await world.optimize(ScriptedStrategy({"ending": SHORT["ending"]}))
    report = result.report
    assert report.verdict == "shorter"
    assert report.baseline.n == len(world.dataset.of_split("train"))
    assert report.certificate is not None
    assert report.certificate.candidate.n == 3 * len(world.dataset.of_split("held_out"))
    assert len(world.loop.asked) > report.spent.calls  # some were run twice


@pytest.mark.parametrize("killed_after", [5, 30, 60, 120, 200])
async def test_f_a_stopped_worker_loses_no_finished_step(world: CompressWorld, killed_after: int) -> None:
    strategy = ScriptedStrategy(SHORT)
    loop = world.optimize_loop(strategy)
    working: asyncio.Task[None] | None = None

    def kill(number: int) -> None:
        if number == killed_after and working is not None:
            working.cancel()

    world.loop.on_ask = kill
    await world.send(strategy, request_id="once")
    working = asyncio.create_task(loop.run_cycle())
    await asyncio.wait({working})
    kept = await world.runs.get("once")
    world.loop.on_ask = lambda number: None
    if not kept.is_over:
        await world.optimize_loop(strategy).run_cycle()  # the message is ready again, at once
    result = await world.reply()
    assert result.report.verdict == "shorter"
    assert len(strategy.seen) <= (1 if kept.step in (Step.SCREEN, Step.CONFIRM, Step.COMBINE) else 2)
    assert await world.temporary_tags() == []


async def test_h_errors_are_no_regressions(world: CompressWorld) -> None:
    def fails(number: int) -> MainLoopFault | None:
        is_candidate = number > 60 and number % 40 == 0
        return MainLoopFault(code="BUSY", message="busy") if is_candidate else None

    world.loop.fails = fails
    report = (await world.optimize(ScriptedStrategy(SHORT))).report
    assert "regressed" not in outcomes_of(report)
    assert all(one.candidate.errored == 0 or one.outcome != "regressed" for one in report.edits)


async def test_h_errors_in_the_screening_refuse_nothing(world: CompressWorld) -> None:
    train = len(world.dataset.of_split("train"))
    faults = iter(range(5))

    def fails(number: int) -> MainLoopFault | None:
        is_candidate = world.loop.asked[-1].experiment.name != "baseline"  # type: ignore[union-attr]
        is_screening = train < number <= train + 24
        if is_candidate and is_screening and next(faults, None) is not None:
            return MainLoopFault(code="BUSY", message="busy")
        return None

    world.loop.fails = fails
    report = (await world.optimize(ScriptedStrategy({"ending": SHORT["ending"]}))).report
    assert next(faults, None) is None
    assert outcomes_of(report) == ["accepted"]


async def test_one_sample_that_gets_no_usable_answer_any_more_refuses_an_edit(world: CompressWorld) -> None:
    broken = world.dataset.of_split("train").samples[-1].input["text"]

    def fails(number: int) -> MainLoopFault | None:
        asked = world.loop.asked[-1]
        is_candidate = asked.experiment.name != "baseline"  # type: ignore[union-attr]
        if is_candidate and asked.input["text"] == broken:
            return MainLoopFault(code="BAD_MODEL_ANSWER", message="not JSON", is_retryable=True, is_own=True)
        return None

    world.loop.fails = fails
    report = (await world.optimize(ScriptedStrategy({"ending": SHORT["ending"]}))).report
    assert outcomes_of(report) == ["regressed"]


async def test_h_too_many_errors_decide_nothing(world: CompressWorld) -> None:
    world.loop.fails = lambda number: MainLoopFault(code="DOWN", message="down") if number % 3 == 0 else None
    report = (await world.optimize(ScriptedStrategy(SHORT))).report
    assert report.verdict == "not_applicable"
    assert "errors" in report.reason


@pytest.mark.parametrize("split", ["train", "held_out"])
async def test_h_an_outage_while_edits_are_tried_says_nothing_of_them(world: CompressWorld, split: Split) -> None:
    """Down for the candidates from their confirmation on, or for all that is held out."""
    train = len(world.dataset.of_split("train"))
    held_out = {one.input["text"] for one in world.dataset.of_split("held_out").samples}

    def fails(number: int) -> MainLoopFault | None:
        asked = world.loop.asked[-1]
        is_confirmed = asked.experiment.name != "baseline" and number > train + 24  # type: ignore[union-attr]
        is_down = is_confirmed if split == "train" else asked.input["text"] in held_out
        return MainLoopFault(code="DOWN", message="down") if is_down else None

    world.loop.fails = fails
    report = (await world.optimize(ScriptedStrategy({"ending": SHORT["ending"]}))).report
    assert report.verdict == "not_applicable", report.reason
    assert "could not be measured" in report.reason
    assert "DOWN" in report.reason


@pytest.mark.parametrize("size", [0, 3, 8])
async def test_i_few_samples_accept_nothing(world: CompressWorld, size: int) -> None:
    report = (await world.optimize(ScriptedStrategy(SHORT), dataset=dataset(size))).report
    assert report.verdict == "not_applicable"
    assert report.modifications == ()


async def test_j_edits_that_hold_alone_and_not_together_are_not_combined(world: CompressWorld) -> None:
    def model(prompt: str, text: str, random: Random) -> str:
        """Once the fillers are gone from both places it forgets the exclamation mark."""
        answer = shouts(prompt, text, random)
        return answer if prompt.count("so kind") >= 6 else answer.rstrip("!")

    world.loop.model = model
    edits = {"preamble": SHORT["preamble"], "ending": SHORT["ending"]}
    report = (await world.optimize(ScriptedStrategy(edits))).report
    assert sorted(outcomes_of(report)) == ["accepted", "conflict"]
    assert len(report.modifications) == 1
    assert report.verdict == "shorter"


async def test_k_an_equal_prompt_of_a_model_that_errs_is_accepted(world: CompressWorld) -> None:
    world.dataset = dataset(100)

    def noisy(prompt: str, text: str, random: Random) -> str:
        return shouts(prompt, text, random) if random.random() < 0.97 else "?"

    world.loop.model = noisy
    report = (await world.optimize(ScriptedStrategy({"preamble": SHORT["preamble"]}))).report
    assert report.verdict == "shorter"


async def test_l_what_was_chosen_by_luck_does_not_hold_on_held_out_samples(world: CompressWorld) -> None:
    held_out = {one.input["text"] for one in world.dataset.of_split("held_out")}

    def overfitted(prompt: str, text: str, random: Random) -> str:
        answer = shouts(prompt, text, random)
        return answer if "so kind" in prompt.split("## Rules")[0] or text not in held_out else "wrong"

    world.loop.model = overfitted
    report = (await world.optimize(ScriptedStrategy({"preamble": SHORT["preamble"]}))).report
    assert outcomes_of(report) == ["accepted"]
    assert report.verdict == "nothing_accepted"
    assert "held-out" in report.reason
    assert not report.has_modifications


async def test_m_tags_are_short_whatever_the_request_is_called(world: CompressWorld) -> None:
    tags: set[str] = set()
    world.loop.on_ask = lambda number: tags.add(world.loop.asked[-1].experiment.overrides_tag)
    result = await world.optimize(ScriptedStrategy(SHORT), request_id="a" * 64)
    assert result.report.verdict == "shorter"
    assert all(len(tag) <= 64 for tag in tags)
    assert len(tags) >= 4


async def test_p_temporary_tags_are_removed_and_those_of_a_crash_end(world: CompressWorld) -> None:
    await world.optimize(ScriptedStrategy(SHORT))
    assert await world.temporary_tags() == []
    (preamble,) = [one for one in world.descriptor.sections if one.key == "preamble"]
    edit = SectionOverride(path=("preamble",), expected_hash=preamble.sha256, body=SHORT["preamble"])
    await world.store.put(world.descriptor, [edit], tag="opt-left-behind", ttl_s=60.0)
    world.clock.advance(61.0)
    assert await world.store.get(ns=APP, prompt_key=KEY, tag="opt-left-behind") is None


@pytest.mark.parametrize(
    "budget",
    [OptimizeBudget(calls=30), OptimizeBudget(tokens=5_000), OptimizeBudget(usd=0.05), OptimizeBudget(calls=150)],
)
async def test_v_a_spent_budget_leaves_a_report_of_what_is_known(world: CompressWorld, budget: OptimizeBudget) -> None:
    report = (await world.optimize(ScriptedStrategy({**SHORT, **LOSES_CAPITALS}), budget=budget)).report
    assert report.verdict == "budget_exhausted"
    assert "budget" in report.reason
    assert report.modifications == ()
    assert len(world.loop.asked) == report.spent.calls, "those under way when it was spent are charged"
    assert await world.temporary_tags() == []


async def test_v_the_calls_of_a_budget_are_kept_exactly(world: CompressWorld) -> None:
    report = (await world.optimize(ScriptedStrategy(SHORT), budget=OptimizeBudget(calls=57))).report
    assert (report.spent.calls, len(world.loop.asked)) == (57, 57)


async def test_v_an_unknown_price_is_not_free(world: CompressWorld) -> None:
    world.loop.has_prices = False
    report = (await world.optimize(ScriptedStrategy(SHORT), budget=OptimizeBudget(usd=0.04))).report
    assert report.verdict == "budget_exhausted"
    assert report.spent.usd == pytest.approx(report.spent.tokens * 10 / 1e6)


async def test_v_a_budget_that_others_have_spent_ends_the_run_with_its_words(world: CompressWorld) -> None:
    def fails(number: int) -> MainLoopFault | None:
        spent = MainLoopFault(code="BUDGET_EXHAUSTED", message="Today's budget is spent.", is_retryable=True)
        return spent if number > 60 else None

    world.loop.fails = fails
    report = (await world.optimize(ScriptedStrategy(SHORT))).report
    assert (report.verdict, report.reason) == ("budget_exhausted", "Today's budget is spent.")
    assert len(world.loop.asked) <= 60 + 16, "those under way"


async def test_v_what_a_step_took_that_is_done_again_is_spent(world: CompressWorld) -> None:
    strategy = ScriptedStrategy(SHORT)
    loop = world.optimize_loop(strategy)
    working: asyncio.Task[None] | None = None

    def stop(number: int) -> None:
        if number in (20, 45, 70) and working is not None:
            working.cancel()

    world.loop.on_ask = stop
    await world.send(strategy, request_id="once", budget=OptimizeBudget(calls=80))
    for _ in range(4):
        working = asyncio.create_task(loop.run_cycle())
        await asyncio.wait({working})
    report = (await world.reply()).report
    assert report.verdict == "budget_exhausted"
    assert len(world.loop.asked) <= 80 + 3 * 16  # those under way at each stop


async def test_a_run_of_another_process_is_cancelled_during_a_step(world: CompressWorld) -> None:
    strategy = ScriptedStrategy(SHORT)
    asked = asyncio.Event()

    def ask(number: int) -> None:
        if number == 5:
            world.loop.may_answer.clear()
            asked.set()

    world.loop.on_ask = ask
    await world.send(strategy, request_id="stop-me")
    working = asyncio.create_task(world.optimize_loop(strategy).run_cycle())
    async with asyncio.timeout(30):
        await asked.wait()
        await OptimizeRuns(values=world.values).cancel("stop-me")
        world.loop.may_answer.set()
        await working
    assert (await world.reply()).report.verdict == "cancelled"
    assert len(world.loop.asked) <= 16 < len(world.dataset.of_split("train"))


async def test_what_was_found_out_about_another_prompt_decides_nothing(world: CompressWorld) -> None:
    def change(number: int) -> None:
        if number == 45:
            world.loop.digest_of = lambda resolved: f"{resolved.digest} of another revision"

    world.loop.on_ask = change
    report = (await world.optimize(ScriptedStrategy(SHORT))).report
    assert report.verdict in ("not_applicable", "nothing_accepted")
    assert "changed" in report.reason or "invalid" in report.reason


async def test_a_worker_that_lost_its_lease_does_not_undo_the_end(world: CompressWorld) -> None:
    strategy = ScriptedStrategy(SHORT)
    result = await world.optimize(strategy, request_id="once")
    ended = await world.runs.get("once")
    await world.runs.save(ended.model_copy(update={"step": Step.CONFIRM, "result": None}))
    assert (await world.runs.get("once")).result == result


async def test_a_worker_that_lost_its_lease_does_not_undo_what_the_next_one_found(world: CompressWorld) -> None:
    strategy = ScriptedStrategy(SHORT)
    begun = await world.runs.begin(OptimizeRun(request=request(strategy, request_id="once"), experiment_id="once"))
    second = begun.model_copy(update={"delivery": 7, "step": Step.CONFIRM})
    await world.runs.save(second)
    await world.runs.save(begun.model_copy(update={"delivery": 6, "step": Step.PROPOSE}))
    assert await world.runs.get("once") == second


async def test_samples_are_not_kept_beyond_the_run_that_needed_them(world: CompressWorld) -> None:
    report = (await world.optimize(ScriptedStrategy(SHORT), request_id="once", dataset=world.dataset)).report
    ended = await world.runs.get("once")
    text = world.dataset.samples[0].input["text"]
    assert text not in ended.model_dump_json()
    assert ended.samples == (report.train, report.held_out)
    assert sorted(ended.trained) == sorted(input_hash(one.input) for one in world.dataset.of_split("train"))


async def test_a_strategy_that_raises_ends_the_run_and_not_its_message(world: CompressWorld) -> None:
    class Broken(ScriptedStrategy):
        async def propose(self, prompt, *, component_id, deadline):
            raise ZeroDivisionError("the user's own strategy")

    loop = world.optimize_loop(Broken(SHORT))
    await world.send(Broken(SHORT))
    for _ in range(8):
        await loop.run_cycle()
        world.clock.advance(120.0)
    assert (await world.reply()).error == "ZeroDivisionError: the user's own strategy"


async def test_the_runs_of_an_application_that_is_gone_are_given_up(world: CompressWorld) -> None:
    strategy = ScriptedStrategy(SHORT)
    forgotten: asyncio.Task[None] | None = None

    def forget(number: int) -> None:
        nonlocal forgotten
        if number == 5:
            forgotten = asyncio.create_task(world.runs.forget(APP))

    world.loop.on_ask = forget
    for request_id in ("running", "waiting"):
        await world.send(strategy, request_id=request_id)
        await world.runs.begin(OptimizeRun(request=request(strategy, request_id=request_id), experiment_id=request_id))
    for _ in range(2):
        await world.optimize_loop(strategy).run_cycle()
    assert forgotten is not None
    assert await world.runs.all_of() == []
    assert await world.requests.counts() == MailboxCounts(0, 0, 0, 0)
    assert await world.temporary_tags() == []


async def test_one_application_leaves_room_for_others(world: CompressWorld) -> None:
    strategy = ScriptedStrategy(SHORT)
    mine = OptimizeRun(request=request(strategy, request_id="mine"), experiment_id="mine")
    theirs = mine.model_copy(
        update={"request": mine.request.model_copy(update={"prompt_ns": "others", "request_id": "theirs"})}
    )
    again = mine.model_copy(
        update={"request": mine.request.model_copy(update={"prompt_key": "another", "request_id": "again"})}
    )
    assert [await world.runs.occupy(one) for one in (mine, theirs, again)] == [True, True, False]


async def test_a_run_is_cancelled_before_it_begins_and_not_after_its_end(world: CompressWorld) -> None:
    strategy = ScriptedStrategy(SHORT)
    await world.runs.begin(OptimizeRun(request=request(strategy, request_id="early"), experiment_id="early"))
    await world.runs.cancel("early")
    assert (await world.optimize(strategy, request_id="early")).report.verdict == "cancelled"
    assert world.loop.asked == []
    assert (await world.runs.get("early")).step is Step.CANCELLED
    with pytest.raises(Conflict):
        await world.runs.cancel("early")


async def test_of_two_runs_of_one_prompt_one_waits(world: CompressWorld) -> None:
    strategy = ScriptedStrategy(SHORT)
    other = OptimizeRun(request=request(strategy, request_id="other"), experiment_id="other")
    assert await world.runs.occupy(other)
    await world.send(strategy, request_id="second")
    for _ in range(15):  # more often than a message is delivered
        await world.optimize_loop(strategy).run_cycle()
        world.clock.advance(60.0)
    assert world.loop.asked == []
    await world.runs.vacate(other)
    await world.optimize_loop(strategy).run_cycle()
    assert (await world.reply()).request_id == "second"


async def test_an_outage_is_waited_for_and_ends_the_run_in_the_end(world: CompressWorld) -> None:
    strategy = ScriptedStrategy(SHORT, error=ModelProviderUnavailable("the model is down"))
    loop = world.optimize_loop(strategy)
    await world.send(strategy, request_id="patient")
    for _ in range(3):
        await loop.run_cycle()
        world.clock.advance(120.0)
    assert (await world.runs.get("patient")).step is Step.PROPOSE
    baseline_runs = len(world.loop.asked)
    strategy.error = None
    await loop.run_cycle()
    assert (await world.reply()).report.verdict == "shorter"
    assert baseline_runs == len(world.dataset.of_split("train"))  # measured once, whatever came after


async def test_an_outage_without_end_fails_the_run(world: CompressWorld) -> None:
    strategy = ScriptedStrategy(SHORT, error=ModelProviderUnavailable("the model is down"))
    loop = world.optimize_loop(strategy)
    await world.send(strategy)
    for _ in range(8):
        await loop.run_cycle()
        world.clock.advance(120.0)
    result = await world.reply()
    assert (result.report.verdict, result.error) == ("failed", "the model is down")


async def test_a_bad_baseline_is_not_optimised(world: CompressWorld) -> None:
    world.loop.model = lambda prompt, text, random: "no idea"
    report = (await world.optimize(ScriptedStrategy(SHORT))).report
    assert report.verdict == "not_applicable"
    assert "pass" in report.reason


async def test_what_saves_little_or_breaks_a_placeholder_is_not_tried(world: CompressWorld) -> None:
    sections = {one.key: one.body for one in world.descriptor.sections}
    edits = {
        "preamble": sections["preamble"].replace("You shout", "Shout"),
        "text": "## Text\n",
        "ending": SHORT["ending"],
    }
    report = (await world.optimize(ScriptedStrategy(edits))).report
    assert {one.edit.section: one.outcome for one in report.edits} == {
        "preamble": "no_saving", "text": "invalid", "ending": "accepted",
    }  # fmt: skip


async def test_of_two_edits_of_one_section_the_shorter_is_taken(world: CompressWorld) -> None:
    longer = SHORT["preamble"].rstrip() + " And nothing else is your task here.\n\n"
    report = (await world.optimize(ScriptedStrategy({"preamble": longer, "preamble#2": SHORT["preamble"]}))).report
    assert [one.proposed_body for one in report.modifications] == [SHORT["preamble"]]


async def test_what_was_found_for_another_text_is_not_applied(world: CompressWorld) -> None:
    result = await world.optimize(ScriptedStrategy(SHORT))
    changed = PromptDescriptor(APP, KEY, world.descriptor.prompt.with_bodies({"preamble": "Another text.\n\n"}))
    with pytest.raises(OverrideRefused, match="has changed"):
        await apply_modifications(world.store, changed, result.report.modifications)


async def evaluated(world: CompressWorld, data: Dataset, *, deadline_s: float = 20.0) -> EvalReport:
    arm = Experiment(name="baseline")
    (report,) = await world.evaluation.evaluate(
        data, app_id=APP, component_id=COMPONENT, evaluator=Exact(), arms=[arm], deadline_s=deadline_s
    )
    return report


def outcomes_of(report) -> list[str]:
    return [one.outcome for one in report.edits]

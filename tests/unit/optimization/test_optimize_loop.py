"""The OptimizeLoop: shorter prompts that lose nothing, and the defects of its first specification, one by one."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from tests.unit.optimization.compress_world import (
    APP,
    KEY,
    SHORT,
    CompressWorld,
    ScriptedStrategy,
    dataset,
    request,
    shouts,
)
from uhlp.errors import Conflict, ModelProviderUnavailable, OverrideConflict, OverrideRefused
from uhlp.models.main_loop import MainLoopFault
from uhlp.optimization.compress import OptimizeBudget, apply_modifications
from uhlp.optimization.compress.optimize_run import OptimizeRun, Step
from uhlp.prompts.overrides import PromptDescriptor, SectionOverride

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


async def test_f_a_request_that_is_delivered_again_is_answered_from_what_is_kept(world: CompressWorld) -> None:
    strategy = ScriptedStrategy(SHORT)
    first = await world.optimize(strategy, request_id="once")
    asked = len(world.loop.asked)
    again = await world.optimize(strategy, request_id="once")
    assert again.report == first.report
    assert len(world.loop.asked) == asked
    assert len(strategy.seen) == 1


@pytest.mark.parametrize("killed_after", [5, 30, 60, 120, 200])
async def test_e_a_killed_worker_loses_no_finished_step(world: CompressWorld, killed_after: int) -> None:
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


async def test_h_too_many_errors_decide_nothing(world: CompressWorld) -> None:
    world.loop.fails = lambda number: MainLoopFault(code="DOWN", message="down") if number % 3 == 0 else None
    report = (await world.optimize(ScriptedStrategy(SHORT))).report
    assert report.verdict == "not_applicable"
    assert "errors" in report.reason


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
    assert len(world.loop.asked) <= report.spent.calls + 16  # those under way when it was spent
    assert await world.temporary_tags() == []


async def test_a_run_can_be_cancelled_from_anywhere(world: CompressWorld) -> None:
    strategy = ScriptedStrategy(SHORT)
    loop = world.optimize_loop(strategy)
    world.loop.on_ask = lambda number: loop.cancel("stop-me") if number == 25 else None
    await world.send(strategy, request_id="stop-me")
    await loop.run_cycle()
    assert (await world.reply()).report.verdict == "cancelled"
    assert (await world.runs.get("stop-me")).step is Step.CANCELLED
    with pytest.raises(Conflict):
        await world.runs.cancel("stop-me")
    await world.runs.begin(OptimizeRun(request=request(strategy, request_id="early"), experiment_id="early"))
    await world.runs.cancel("early")
    assert (await world.optimize(strategy, request_id="early")).report.verdict == "cancelled"


async def test_of_two_runs_of_one_prompt_one_waits(world: CompressWorld) -> None:
    strategy = ScriptedStrategy(SHORT)
    other = OptimizeRun(request=request(strategy, request_id="other"), experiment_id="other")
    assert await world.runs.occupy(other)
    await world.send(strategy, request_id="second")
    await world.optimize_loop(strategy).run_cycle()
    assert world.loop.asked == []
    await world.runs.vacate(other)
    world.clock.advance(20.0)
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


def outcomes_of(report) -> list[str]:
    return [one.outcome for one in report.edits]

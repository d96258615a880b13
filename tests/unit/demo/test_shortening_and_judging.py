"""The simulated model shortens sections of prompts, answers the same by the shorter ones, and judges summaries."""

import json
import random
from pathlib import Path

import pytest

from uhlp.demo.simulated_model.shortening import shorter_text
from uhlp.demo.simulated_model.simulated_model import CODER_MODEL, TASK_MODEL, Question, SimulatedModel
from uhlp.demo.simulated_model.tasks import case_summary
from uhlp.demo.traffic.cases import case
from uhlp.evals.dataset import Sample
from uhlp.evals.evaluators import Judged
from uhlp.evals.judge_model import write_question
from uhlp.optimization.compress.llm_compress_strategy import write_compression
from uhlp.prompts import parse_prompt
from uhlp.prompts.overrides import PromptDescriptor
from uhlp.prompts.overrides.override_set import SectionOverride
from uhlp.prompts.overrides.write_checks import check_override

PROMPTS = Path(__file__).parents[3] / "uhlp" / "demo" / "support_desk" / "prompts"


async def said(text: str, model: str = TASK_MODEL) -> dict[str, object]:
    reply = await SimulatedModel().reply(Question(model, (("user", text),)))
    found: dict[str, object] = json.loads(reply.text)
    return found


@pytest.mark.parametrize("name", ["case-summary", "ticket-triage", "order-lines", "amounts"])
async def test_shorter_sections_keep_what_they_must_and_some_are_shorter(name: str) -> None:
    path = f"prompts/{name}.yaml"
    prompt = parse_prompt((PROMPTS / f"{name}.yaml").read_bytes(), path=path)
    descriptor = PromptDescriptor.of("support-desk", prompt)
    saved = 0
    for section in prompt.sections:
        body = str((await said(write_compression(descriptor, section, ""), CODER_MODEL))["body"])
        assert len(body) <= len(section.body)
        saved += len(section.body) - len(body)
        check_override(SectionOverride(path=(section.key,), expected_hash=section.sha256, body=body), section)
    assert saved > 0 or name != "case-summary"


async def test_it_answers_by_a_shorter_prompt_as_by_the_long_one() -> None:
    prompt = parse_prompt((PROMPTS / "case-summary.yaml").read_bytes(), path="prompts/case-summary.yaml")
    shorter = prompt.with_bodies({one.key: shorter_text(one.body) for one in prompt.sections})
    assert len(shorter.text) < 0.8 * len(prompt.text)
    notes = case(random.Random(3))["text"]
    for text in (prompt.text, shorter.text):
        answer = await said(text.replace("{{ text }}", notes))
        assert case_summary.says_the_same(notes, str(answer["summary"]))


def test_a_summary_is_right_in_any_wording_and_wrong_when_it_leaves_something_out() -> None:
    dice = random.Random(5)
    for _ in range(50):
        notes = case(dice)["text"]
        value = case_summary.answer(notes, dice)
        assert case_summary.says_the_same(notes, value["summary"])
        assert not case_summary.says_the_same(case(dice)["text"], value["summary"])


async def test_it_gives_points_by_what_the_notes_say() -> None:
    dice = random.Random(9)
    notes = case(dice)
    one, other = case_summary.answer(notes["text"], dice), case_summary.answer(notes["text"], dice)
    sample = Sample(id="1", input=notes, expected=one)
    spec = Judged(model=TASK_MODEL, rubric="The same facts.")
    assert (await said(write_question(spec, sample, other)))["points"] == 10
    assert (await said(write_question(spec, sample, case_summary.answer(case(dice)["text"], dice))))["points"] == 0

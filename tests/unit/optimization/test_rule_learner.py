import ast
import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.optimization.label_data import tickets
from uhlp.optimization.proposer import (
    ALLOWED_IMPORTS,
    Counterexample,
    Failures,
    ProposalFailed,
    ProposalTask,
    TrainSample,
)
from uhlp.optimization.rule_learner import RuleLearner, rendering
from uhlp.runner.reach import stays_inside

TEAMS = {"refund": "money", "invoice": "money", "delivery": "logistics", "login": "accounts"}
RUNTIME = "class Deoptimize(Exception):\n    pass\n"


def task_of(pairs, **changes):
    settings = {
        "app_id": "desk", "component_id": "triage", "description": "", "prompt_text": "", "input_schema": None,
        "output_schema": None, "train": tuple(TrainSample(inputs, output) for inputs, output in pairs),
    }  # fmt: skip
    return ProposalTask(**{**settings, **changes})


def routed(count=300, **kwargs):
    return [(inputs, {"category": label, "team": TEAMS[label]}) for inputs, label in tickets(count, **kwargs)]


def handler_of(code):
    """(handle, Deoptimize) of a handler's text, with the sandbox's own module written out in place."""
    namespace = {}
    exec(compile(code.replace("from uhlp_runtime import Deoptimize\n", RUNTIME), "handler.py", "exec"), namespace)
    return namespace["handle"], namespace["Deoptimize"]


@pytest.fixture
def learner():
    return RuleLearner()


async def test_the_handler_answers_exactly_as_the_rules_do(learner):
    task = task_of(routed(), decision_field="category")
    proposal = await learner.propose(task)
    handle, deoptimize = handler_of(proposal.code)
    labelling = learner.labelling(task.train, decision_field="category", policies={})
    rules = learner.learn(task.train, labelling)
    asked = [inputs for inputs, _ in tickets(300, seed=4)] + [{}, {"text": ["nested", {"deep": "refund"}]}, {"n": 1}]
    for inputs in asked:
        label, _ = rules.answer(inputs)
        try:
            answer = handle(inputs, {})
        except deoptimize:
            answer = None
        assert answer == (None if label is None else {"category": label, "team": TEAMS[label]})


def test_the_tests_it_writes_pass_with_real_pytest(learner, tmp_path):
    proposal = asyncio.run(learner.propose(task_of(routed())))
    (tmp_path / "uhlp_runtime.py").write_text(RUNTIME)
    (tmp_path / "handler.py").write_text(proposal.code)
    (tmp_path / "test_handler.py").write_text(proposal.tests)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), "test_handler.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


async def test_the_handler_needs_only_what_every_handler_may_import(learner):
    proposal = await learner.propose(task_of(routed()))
    imported = {
        name
        for node in ast.walk(ast.parse(proposal.code))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module] if isinstance(node, ast.ImportFrom) else []
        )
    }  # fmt: skip
    assert imported <= {*ALLOWED_IMPORTS, "uhlp_runtime"}


async def test_the_handler_may_be_called_again_in_the_same_process(learner):
    assert stays_inside((await learner.propose(task_of(routed()))).code)


async def test_a_proposal_costs_nothing_and_says_what_it_found(learner):
    proposal = await learner.propose(task_of(routed(), decision_field="category"))
    assert (proposal.proposer, proposal.cost_usd, proposal.tokens_in) == ("rule_learner", 0.0, 0)
    assert "delivery" in proposal.guard
    assert proposal.notes["crossValidation"]["agreement"] > 0.95
    assert proposal.notes["rules"]


async def test_repair_leaves_the_counterexamples_to_the_model(learner):
    task = task_of(routed())
    proposal = await learner.propose(task)
    handle, _ = handler_of(proposal.code)
    wrong = {"text": "refund"}
    assert handle(wrong, {})["category"] == "refund"
    found = Counterexample(wrong, {"category": "login", "team": "accounts"}, {"category": "refund", "team": "money"})
    repaired = await learner.repair(task, proposal, Failures(counterexamples=(found,)))
    handle, deoptimize = handler_of(repaired.code)
    with pytest.raises(deoptimize):
        handle(wrong, {})
    again = await learner.repair(task, repaired, Failures(counterexamples=(Counterexample({"text": "x"}, 1, 2),)))
    handle, deoptimize = handler_of(again.code)
    with pytest.raises(deoptimize):
        handle(wrong, {})


async def test_it_has_no_second_idea_when_only_tests_fail(learner):
    task = task_of(routed())
    assert await learner.repair(task, await learner.propose(task), Failures(test_failures=("boom",))) is None


async def test_labels_at_random_are_no_proposal(learner):
    pairs = [(inputs, "AB"[index % 2]) for index, (inputs, _) in enumerate(tickets(200))]
    with pytest.raises(ProposalFailed, match="tell the 2 labels apart"):
        await learner.propose(task_of(pairs))


@pytest.mark.parametrize(
    ("pairs", "changes", "reason"),
    [
        (routed(20), {}, "20 TRAIN samples, needs 30"),
        ([({"n": n}, n % 2) for n in range(50)], {}, "no text"),
        ([({"text": f"{n}"}, f"summary {n}") for n in range(50)], {}, "takes 50 different values in 50 samples"),
        ([({"text": f"{n}"}, "same") for n in range(50)], {}, "is the same in all 50 samples"),
        (routed(), {"comparator": {"team": "free_text"}}, "team is free text"),
        (routed(), {"decision_field": "kind"}, "no field kind"),
        (routed(), {"comparator": {"team": "fuzzy"}}, "not a policy"),
        (routed(), {"allowed_imports": ("json",)}, "not allowed here"),
        (
            [(i, {"category": o["category"], "words": n}) for n, (i, o) in enumerate(routed())],
            {"decision_field": "category"},
            "outputs differ although category is the same: words: ",
        ),
    ],
)
def test_it_says_why_it_does_not_apply(learner, pairs, changes, reason):
    assert reason in learner.applies(task_of(pairs, **changes))


def test_fields_that_never_matter_may_vary(learner):
    pairs = [(inputs, {**output, "confidence": n / 300}) for n, (inputs, output) in enumerate(routed())]
    assert learner.applies(task_of(pairs, decision_field="category", comparator={"confidence": "ignore"})) is None
    assert learner.applies(task_of(pairs, comparator={"confidence": "ignore"})) is None


def test_labels_need_not_be_text(learner):
    pairs = [({"text": f"{word} {n}"}, {"urgent": word == "fire"}) for n in range(30) for word in ("fire", "hello")]
    assert learner.applies(task_of(pairs, decision_field="urgent")) is None


def test_no_data_set_is_known_to_the_code():
    room = Path(rendering.__file__).parent
    text = "".join(path.read_text() for path in room.glob("*.py")).lower()
    assert not [word for word in ("beneficiary", "withdrawal", "disposable", "banking") if word in text]

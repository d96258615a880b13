import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.optimization.label_data import crossed, tickets
from uhlp.optimization.rule_learner import LearnerConfig, learn


def score(rules, rows):
    """(coverage, agreement) on rows that were not learnt from."""
    answers = [(rules.answer(inputs)[0], label) for inputs, label in rows]
    given_answers = [(got, label) for got, label in answers if got is not None]
    right = sum(got == label for got, label in given_answers)
    return len(given_answers) / len(rows), right / len(given_answers) if given_answers else None


@pytest.mark.parametrize("seed", range(5))
def test_answers_most_of_what_words_decide_and_is_right(seed):
    coverage, agreement = score(learn(tickets(300, seed=seed)), tickets(400, seed=seed + 100))
    assert coverage > 0.55
    assert agreement > 0.96


def test_leaves_inputs_without_telling_words_to_the_model():
    rules = learn(tickets(300))
    assert rules.answer({"text": "hello please help"}) == (None, "no rule holds")
    assert rules.answer({}) == (None, "no rule holds")


@pytest.mark.parametrize("seed", range(5))
def test_finds_nothing_in_labels_at_random(seed):
    chance = random.Random(seed)
    rows = [(inputs, chance.choice("ABCDE")) for inputs, _ in tickets(300, seed=seed)]
    assert not learn(rows).margins


def test_survives_noisy_labels():
    coverage, agreement = score(learn(tickets(600, noise=0.02)), tickets(400, seed=9))
    assert coverage > 0.5
    assert agreement > 0.97


def test_joins_words_where_none_decides_alone():
    rules = learn(crossed(200))
    assert rules.validation.depth == 2
    coverage, agreement = score(rules, crossed(300, seed=2))
    assert coverage > 0.9
    assert agreement > 0.97


def test_single_words_are_preferred_where_they_suffice():
    assert learn(tickets(300)).validation.depth == 1


def test_two_swapped_labels_give_the_swapped_rules():
    swap = {"refund": "login", "login": "refund"}
    rows = tickets(300)
    swapped = learn([(inputs, swap.get(label, label)) for inputs, label in rows])
    plain = learn(rows)
    for inputs, _ in tickets(200, seed=5):
        label = plain.answer(inputs)[0]
        assert swapped.answer(inputs)[0] == swap.get(label, label)


@settings(max_examples=5, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_the_samples_does_not_matter(chance):
    rows = tickets(120)
    shuffled = list(rows)
    chance.shuffle(shuffled)
    assert learn(rows) == learn(shuffled)


def test_too_few_samples_teach_nothing():
    assert not learn(tickets(29)).margins


def test_outputs_without_a_label_are_never_predicted_but_count_against_rules():
    rows = [(inputs, None if label == "refund" else label) for inputs, label in tickets(300)]
    rules = learn(rows)
    assert "refund" not in rules.margins
    assert {rule.label for rule in rules.rules} <= {"delivery", "login", "invoice"}


def test_fields_can_decide_where_words_anywhere_cannot():
    chance = random.Random(3)
    rows = []
    for _ in range(200):
        here, there = chance.sample(["red", "blue"], 2)
        rows.append(({"wanted": here, "sent": there, "note": chance.choice(["please", "now"])}, here))
    rules = learn(rows)
    assert rules.answer({"wanted": "red", "sent": "blue", "note": "now"})[0] == "red"
    assert rules.answer({"wanted": "blue", "sent": "red", "note": "now"})[0] == "blue"


def test_spared_inputs_are_no_longer_answered_and_others_are():
    rules = learn(tickets(300))
    asked = [inputs for inputs, _ in tickets(100, seed=7) if rules.answer(inputs)[0]]
    weakest = min(asked, key=lambda inputs: rules.lead(inputs)[1])
    careful = rules.sparing([weakest])
    assert careful.answer(weakest) == (None, "the rules are not sure enough")
    assert sum(careful.answer(inputs)[0] is not None for inputs in asked) > 0


def test_explains_its_rules_with_their_support():
    lines = learn(tickets(300)).explain(3)
    assert len(lines) == 3
    assert all("→" in line and " of " in line for line in lines)


def test_a_stricter_loss_answers_no_more():
    rows, asked = tickets(400, noise=0.03), tickets(400, seed=11)
    strict, _ = score(learn(rows, LearnerConfig(max_loss=0.01)), asked)
    usual, _ = score(learn(rows), asked)
    assert strict <= usual

"""The governor bench plays the real machine, the same way for the same seed, and its targets are met."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from uhlp.bench.actors import HandlerScript, ModelScript
from uhlp.bench.governor_bench import bench, play_once
from uhlp.bench.playing import IN_FLIGHT, RunResult
from uhlp.bench.report import row_of
from uhlp.bench.scenarios import Scenario, Targets, scenarios
from uhlp.cli.app import app
from uhlp.evolution.candidate import CandidateState


def run(outcome: str = "refused", *, seed: int = 1, wrong: int = 0, failed: int = 0) -> RunResult:
    return RunResult("some", seed, outcome, "", "", 200, wrong, 0, failed)  # type: ignore[arg-type]


# -- what is played


def test_a_run_leaves_no_file_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    play_once(Scenario("perfect", trust="serve-and-check"), 1)
    assert list(tmp_path.iterdir()) == []


def test_a_handler_without_fault_is_let_in():
    result = play_once(Scenario("perfect", trust="serve-and-check"), 1)

    assert (result.outcome, result.wrong_served, result.failed_requests) == ("promoted", 0, 0)


def test_a_handler_that_knows_what_its_coder_saw_and_fails_elsewhere_is_refused_by_what_was_held_out():
    result = play_once(Scenario("wrong", HandlerScript(wrong=0.3)), 1)

    assert (result.outcome, result.cause, result.wrong_served) == ("refused", "held_out_replay", 0)


def test_a_handler_that_turns_bad_in_service_is_taken_out():
    turned = Scenario(
        "turned", trust="serve-and-check", epsilon=0.05, turns_at=CandidateState.PROMOTED,
        turns_into=HandlerScript(wrong=1.0), max_wrong_answers=8,
    )  # fmt: skip

    result = play_once(turned, 1)

    assert (result.outcome, result.cause, result.has_turned) == ("refused", "audit", True)
    assert 0 < result.wrong_served < 20


def test_a_handler_that_crashes_fails_no_request_of_its_users():
    crashing = Scenario("crashing", HandlerScript(crashes=0.05), trust="serve-and-check", epsilon=0.01)

    result = play_once(crashing, 3)

    assert (result.outcome, result.failed_requests) == ("refused", 0)


def test_a_noisy_model_costs_more_calls_and_not_the_handler():
    steady, noisy = (
        play_once(Scenario("perfect", model=ModelScript(disagreement), epsilon=0.05), 2) for disagreement in (0.0, 0.05)
    )

    assert (steady.outcome, noisy.outcome) == ("promoted", "promoted")
    assert noisy.reference_calls > steady.reference_calls


def test_the_same_seed_plays_the_same_run():
    noisy = Scenario("noisy", HandlerScript(wrong=0.02), ModelScript(0.05), trust="serve-and-check")

    assert play_once(noisy, 5) == play_once(noisy, 5)
    assert play_once(noisy, 5) != play_once(noisy, 6)


@pytest.mark.parametrize("epsilon", [0.001, 0.01, 0.05])
def test_every_scenario_has_a_name_of_its_own(epsilon):
    names = [one.name for one in scenarios(epsilon)]

    assert len(set(names)) == len(names)


# -- how it is judged


def test_a_row_counts_outcomes_and_names_the_seeds_that_speak_against_a_target():
    scenario = Scenario("some", targets=Targets(promoted_at_most=0.0025), runs=3)

    row = row_of(scenario, [run(seed=1), run("promoted", seed=2), run("undecided", seed=3)])

    assert (row.promoted, row.refused, row.undecided) == (1, 1, 1)
    assert (row.checks[0].standing, row.checks[0].seeds) == ("NOT MET", (2,))


def test_a_mean_beyond_its_target_is_unclear_in_few_runs_and_missed_in_enough():
    scenario = Scenario("some", targets=Targets(wrong_on_average=100.0), runs=4)
    few = [run(wrong=40), run(wrong=180)]

    assert row_of(scenario, few).checks[0].standing == "unclear"
    assert row_of(scenario, few * 2).checks[0].standing == "NOT MET"
    assert row_of(scenario, [run(wrong=500), run(wrong=510)]).checks[0].standing == "NOT MET"


def test_runs_that_never_turned_do_not_flatter_the_mean():
    scenario = Scenario("some", targets=Targets(wrong_on_average=100.0), turns_at=CandidateState.PROMOTED, runs=2)
    turned = replace(run(wrong=150), has_turned=True)

    assert row_of(scenario, [turned, run()]).checks[0].found == "150.0"


def test_one_run_with_too_many_wrong_answers_is_enough_to_miss_the_bound():
    scenario = Scenario("some", targets=Targets(wrong_at_most=10), runs=400)

    assert row_of(scenario, [run(wrong=10 + IN_FLIGHT)]).checks[0].standing == "met"
    assert row_of(scenario, [run(wrong=11 + IN_FLIGHT, seed=7)]).checks[0].seeds == (7,)


def test_a_failed_request_is_never_allowed():
    assert row_of(Scenario("some"), [run(), run(failed=1, seed=4)]).checks[-1].seeds == (4,)


# -- the command


def test_the_command_plays_the_scenarios_asked_for():
    result = CliRunner().invoke(app, ["bench", "governor", "--scenario", "20 % wrong, ch", "--runs", "2", "--json"])

    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert [(row["scenario"], row["refused"]) for row in report["scenarios"]] == [("20 % wrong, checked", 2)]


def test_the_command_names_the_scenarios_there_are():
    result = CliRunner().invoke(app, ["bench", "governor", "--scenario", "of my dreams"])

    assert result.exit_code == 1
    assert "perfect" in result.exception.hint


@pytest.mark.long
def test_every_target_is_met():
    rows = list(bench(scenarios(0.01), seed=1, is_long=True))

    missed = [(row.scenario, check) for row in rows for check in row.checks if check.standing != "met"]
    assert missed == []


@pytest.mark.long
def test_no_target_is_missed_at_the_default_epsilon():
    rows = list(bench(scenarios(0.05), seed=1, runs=40))

    missed = [(row.scenario, check) for row in rows for check in row.checks if check.standing == "NOT MET"]
    assert missed == []

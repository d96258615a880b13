"""The benches run and print their figures; no time is asserted."""

import shutil

import pytest

from tests.bench import (
    evals,
    fairness,
    jit_path,
    mailboxes,
    mcp_endpoint,
    metrics,
    model_path,
    panel,
    sandboxes,
    state,
    tool_calls,
    workflows,
)

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk makes the load"),
]


def test_the_jit_path_is_measured_beside_its_floors(capsys):
    with capsys.disabled():
        print()
        results = jit_path.run(rounds=3)
    assert set(results) == {jit_path.UHLP, jit_path.BARE, jit_path.STARLETTE, jit_path.PYDANTIC}


def test_the_model_path_is_measured_beside_a_passthrough(capsys):
    with capsys.disabled():
        print()
        results = model_path.run(rounds=3)
    assert {model_path.UHLP, model_path.PROVIDER, model_path.PASSTHROUGH} <= set(results)


def test_a_quiet_application_is_measured_beside_a_flood(capsys):
    with capsys.disabled():
        print()
        found = fairness.run(rounds=1)
    assert set(found) == {fairness.CODE, fairness.MODEL}
    assert all(one.times > 1 for one in found.values())


@pytest.mark.skipif(shutil.which("chromium") is None, reason="a browser has the panel open")
def test_requests_are_measured_with_and_without_an_open_panel(capsys):
    with capsys.disabled():
        print()
        results = panel.run(rounds=2, seconds=2)
    assert set(results) == {panel.CLOSED, panel.OPEN}


def test_sandboxes_of_each_driver_are_measured_beside_a_bare_process(capsys):
    with capsys.disabled():
        print()
        results = sandboxes.run(rounds=2)
    assert {sandboxes.PROCESS, sandboxes.FLOOR} <= set(results)
    assert all(set(results[name]) >= set(sandboxes.GOALS[name]) for name in results if name != sandboxes.FLOOR)


def test_metrics_are_measured_beside_prometheus_client_and_a_pushgateway(capsys):
    with capsys.disabled():
        print()
        results, scrapes, inside = metrics.run(rounds=2, seconds=2)
    assert len(results) == (4 if metrics.has_pushgateway() else 0)
    assert set(scrapes) == set(metrics.SIZES)
    assert "all of one request" in inside


def test_stores_and_registry_are_measured_beside_what_they_stand_on(capsys):
    with capsys.disabled():
        print()
        figures = state.run(applications=200)
    assert {"commit, ms p50", "route match of 10000, µs", "  known key, µs", "sqlite get, µs p50"} <= set(figures)


def test_tool_calls_are_measured_from_a_sandbox_beside_a_client_outside(capsys):
    with capsys.disabled():
        print()
        figures = tool_calls.run(calls=200)
    assert set(figures) == {tool_calls.CLIENT, tool_calls.CORE, tool_calls.HTTP, tool_calls.STDIO}


def test_mailboxes_are_measured_on_each_store(capsys):
    with capsys.disabled():
        print()
        figures = mailboxes.run(messages=1_000)
    assert len(figures) >= 4


def test_evaluations_are_measured_on_each_store_and_on_a_server(capsys):
    with capsys.disabled():
        print()
        figures = evals.run(samples=200)
    assert len(figures) >= 3
    assert any(name.startswith(evals.SERVER) for name in figures)


def test_the_mcp_endpoint_is_measured_beside_the_bare_sdk(capsys):
    with capsys.disabled():
        print()
        results = mcp_endpoint.run(rounds=2, seconds=2)
    assert set(results) == {mcp_endpoint.UHLP, mcp_endpoint.BARE}


def test_steps_of_workflows_are_measured_beside_the_handler_that_they_ask(capsys):
    with capsys.disabled():
        print()
        figures = workflows.run(seconds=1.0)
    assert set(figures) == {0, *workflows.LENGTHS}

"""What a server shows of itself at GET /metrics is what its catalogue says."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.chaos.storm import HANGS, storm
from tests.e2e.applications import BILLING, PARCEL, TICKET, desk
from tests.e2e.model import Model, started_model
from tests.e2e.server import Server, wait_until
from uhlp.catalogue import CATALOGUE, Metric

_SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}

NEEDS_A_FAULT = {
    "uhlp_metric_records_refused_total", "uhlp_model_retries_total", "uhlp_observations_dropped_total",
    "uhlp_registry_bad_revisions_total", "uhlp_samples_dropped_total", "uhlp_webhook_deliveries_total",
}  # fmt: skip
"""A server that is well shows their name and no series."""
NEEDS_A_FLOOD = {"uhlp_requests_waiting"}
"""tests/unit/routing/test_fair_slots shows its series."""
NEEDS_A_SOURCE = {"uhlp_cron_runs_total", "uhlp_queue_deliveries_total", "uhlp_queue_messages"}
"""test_sources shows their series."""

NEEDS_A_COMMAND = {"uhlp_commands_total", "uhlp_commands_running"}
"""test_commands shows their series."""

NEEDS_A_RESTART = {"uhlp_workflow_runs_resumed_total"}
"""test_workflows shows its series."""

NEEDS_A_CANDIDATE = {
    "uhlp_candidates", "uhlp_candidate_moves_total", "uhlp_comparisons_total", "uhlp_gate_comparisons",
    "uhlp_gate_wrong", "uhlp_gate_log_evidence", "uhlp_gate_log_evidence_needed", "uhlp_gate_proven_wrong_ratio",
    "uhlp_handler_agreement_ratio", "uhlp_handler_coverage_ratio",
}  # fmt: skip
"""tests/unit/evolution shows their series."""

NEEDS_MORE = NEEDS_A_FAULT | NEEDS_A_FLOOD | NEEDS_A_SOURCE | NEEDS_A_COMMAND | NEEDS_A_RESTART | NEEDS_A_CANDIDATE

_ERRAND = """\
steps:
  - {id: send, type: mcp, tool: app.away.send, inputMapping: {}, onSuccess: done, onFailureDefault: done}
  - {id: done, type: control, control: formatResponse, body: {literal: done}, end: true}
"""
"""A workflow that asks an MCP server, and does without it."""


@dataclass
class Shown:
    """One metric as Prometheus reads it; `labels` of its series, without `le`."""

    metric_type: str
    help_text: str
    samples: dict[str, list[tuple[dict[str, str], float]]] = field(default_factory=dict)

    @property
    def labels(self) -> set[frozenset[str]]:
        return {frozenset(labels) - {"le"} for series in self.samples.values() for labels, _ in series}


def shown_by(server: Server) -> dict[str, Shown]:
    """By the names that the catalogue uses."""
    found: dict[str, Shown] = {}
    for family in text_string_to_metric_families(server.http.get("/metrics").text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        shown = found[name] = Shown(family.type, family.documentation)
        for sample in family.samples:
            shown.samples.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Shown]]:
    """What a server shows that has answered by handler and by model, refused, crashed, and kept a value."""
    folder: Path = tmp_path_factory.mktemp("metrics")
    with started_model() as model, Server(folder / "data", environment=model.environment) as server:
        drive(server, model)
        wait_until(lambda: settled(shown_by(server)), "what is looked at now and then has been looked at")
        yield shown_by(server)


def drive(server: Server, model: Model) -> None:
    pools = {"pools": [{"poolName": "default", "maxInstances": 1, "maxRequestsPerInstance": 2}]}
    server.administer("POST", "/apps", desk(sandboxPools=pools, llm={"cache": {"enabled": True}}))
    model.says(BILLING, times=2)
    for path, body in (("sort", PARCEL), ("sort", PARCEL), ("sort", TICKET), ("classify", TICKET)):
        assert server.http.post(f"/apps/desk/{path}", json=body).status_code == 200
    assert server.http.post("/apps/desk/sort", json={"text": 7}).status_code == 422
    server.administer("POST", "/apps", storm("storm", timeout_ms=8_000))
    server.http.post("/apps/storm/alone", json=HANGS)
    server.administer("POST", "/apps", errand())
    assert server.http.post("/apps/errand/run", json={}).status_code == 200
    server.administer("PUT", "/apps/desk/runtime/unit", {"value": "kg"})
    custom = {"metric_name": "app.custom.parcels", "metric_type": "counter", "value": 1, "labels": {"appId": "desk"}}
    assert server.http.post("/record", json=custom).status_code == 202


def errand() -> dict[str, Any]:
    component = {
        "componentId": "run",
        "handlerType": "WORKFLOW",
        "taskDetails": {"workflowId": "errand"},
        "tools": ["app.away.send"],
        "routeMatcher": {"pathPattern": "/run", "methods": ["POST"]},
    }
    away = {"url": "http://127.0.0.1:1/mcp"}
    return {
        "definition": {"appId": "errand", "public": True, "mcpServers": {"away": away}},
        "files": {
            "component_registry.yaml": json.dumps({"components": [component]}),
            "workflows/errand.yaml": _ERRAND,
        },
    }


def settled(shown: dict[str, Shown]) -> bool:
    seen = (
        shown["uhlp_sandbox_crashes_total"].samples
        and len(shown["uhlp_components"].samples.get("uhlp_components", ())) == 5
        and shown["uhlp_mcp_server_up"].samples
        and shown["uhlp_process_resident_memory_bytes"].samples
    )
    return bool(seen) and shown["uhlp_event_loop_lag_seconds"].samples["uhlp_event_loop_lag_seconds_count"][0][1] > 0


@pytest.mark.parametrize("metric", CATALOGUE.values(), ids=CATALOGUE)
def test_each_metric_of_the_catalogue_is_shown_as_it_says(metric: Metric, busy: dict[str, Shown]) -> None:
    shown = busy[metric.name]
    assert (shown.metric_type, shown.help_text) == (metric.metric_type, metric.meaning)
    assert shown.labels <= {frozenset(metric.labels)}
    assert set(shown.samples) <= {metric.name + suffix for suffix in _SUFFIXES[metric.metric_type]}
    if metric.name not in NEEDS_MORE:
        assert shown.labels, "it has no series although what it counts has happened"


def test_nothing_else_is_shown_but_what_applications_record(busy: dict[str, Shown]) -> None:
    assert set(busy) - set(CATALOGUE) == {"app_custom_parcels_total"}


def test_a_request_counts_where_it_was_answered(busy: dict[str, Shown]) -> None:
    def series(name: str, suffix: str = "") -> dict[tuple[str, ...], float]:
        labels = CATALOGUE[name].labels
        return {tuple(found[one] for one in labels): value for found, value in busy[name].samples[name + suffix]}

    requests = series("uhlp_requests_total")
    assert requests["desk", "sort", "JIT", "ok"] == 2
    assert requests["desk", "classify", "LLM", "ok"] == 1
    assert series("uhlp_deoptimizations_total")["desk", "sort", "guard"] == 1
    durations = series("uhlp_request_duration_seconds", "_count")
    assert durations["desk", "sort", "JIT"] == 2
    assert set(series("uhlp_requests_in_flight").values()) == {0}
    components = series("uhlp_components")
    assert (components["desk", "LLM"], components["desk", "JIT"]) == (1, 1)
    assert series("uhlp_workflow_runs_total") == {("errand", "run", "succeeded"): 1}
    assert series("uhlp_applications") == {("ACTIVE",): 3}
    assert series("uhlp_sandbox_crashes_total") == {("storm", "default", "serving", "hung"): 1}
    assert series("uhlp_model_breaker_open") == {("openai",): 0}
    stores = {key[0] for key in series("uhlp_store_seconds", "_count")}
    assert stores == {"definitions", "runtime"}

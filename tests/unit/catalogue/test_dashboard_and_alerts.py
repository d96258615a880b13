"""Dashboard and alert rules name metrics and labels of the catalogue only, and Prometheus can read every expression."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.server import need
from uhlp.catalogue import CATALOGUE
from uhlp.catalogue.alerts import ALERTS, alert_rules
from uhlp.catalogue.dashboard import ROWS, grafana_dashboard

_SELECTOR = re.compile(r"(uhlp_\w+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_GROUPED = re.compile(r"sum by \(([^)]*)\) \((?:rate|increase)\((uhlp_\w+)")


def panels() -> list[dict[str, Any]]:
    return [one for one in grafana_dashboard()["panels"] if one["type"] != "row"]


def expressions() -> dict[str, str]:
    """By where they stand."""
    of_panels = {f"{one['title']}: {at['legendFormat']}": at["expr"] for one in panels() for at in one["targets"]}
    return {**of_panels, **{alert.name: alert.expression for alert in ALERTS}}


def metric_of(name: str) -> tuple[str, ...]:
    """The labels of the metric that a series' name belongs to; KeyError for a name outside the catalogue."""
    found = CATALOGUE.get(name)
    if found is None:
        found = CATALOGUE[name.removesuffix("_bucket")]
        assert found.metric_type == "histogram"
    return found.labels


@pytest.mark.parametrize("expression", expressions().values(), ids=expressions())
def test_expressions_name_metrics_and_labels_of_the_catalogue_only(expression: str) -> None:
    selectors = _SELECTOR.findall(expression)
    assert selectors
    for name, matchers in selectors:
        assert set(_MATCHER.findall(matchers)) <= set(metric_of(name))
    for labels, name in _GROUPED.findall(expression):
        assert {label.strip() for label in labels.split(",")} - {"le"} <= set(metric_of(name))


@pytest.mark.parametrize("alert", ALERTS, ids=[alert.name for alert in ALERTS])
def test_alerts_speak_of_labels_that_their_expression_keeps(alert: Any) -> None:
    named = set(re.findall(r"\$labels\.(\w+)", alert.summary))
    kept = {label.strip() for labels, _ in _GROUPED.findall(alert.expression) for label in labels.split(",")}
    if not kept:
        kept = {label for name, _ in _SELECTOR.findall(alert.expression) for label in metric_of(name)}
    assert named <= kept


def test_every_metric_has_a_panel_under_its_heading() -> None:
    shown = {name.removesuffix("_bucket") for one in panels() for at in one["targets"]
             for name, _ in _SELECTOR.findall(at["expr"])}  # fmt: skip
    assert shown == set(CATALOGUE)
    rows = [one["title"] for one in grafana_dashboard()["panels"] if one["type"] == "row"]
    assert rows == list(ROWS.values())
    assert {metric.row for metric in CATALOGUE.values()} == set(ROWS)


def test_panels_do_not_overlap_and_have_ids_of_their_own() -> None:
    laid_out = grafana_dashboard()["panels"]
    assert len({one["id"] for one in laid_out}) == len(laid_out)
    cells = [
        (x, y)
        for one in laid_out
        for x in range(one["gridPos"]["x"], one["gridPos"]["x"] + one["gridPos"]["w"])
        for y in range(one["gridPos"]["y"], one["gridPos"]["y"] + one["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert {x for x, _ in cells} == set(range(24))


def promtool(folder: Path, *words: str, **files: Any) -> str:
    need("promtool")
    for name, content in files.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    done = subprocess.run(["promtool", *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_accepts_the_alert_rules_as_the_command_prints_them(tmp_path: Path) -> None:
    need("promtool")
    printed = uhlp("metrics", "--alerts")
    (tmp_path / "rules.yaml").write_text(printed)
    assert f"{len(ALERTS)} rules found" in promtool(tmp_path, "check", "rules", "rules.yaml")
    assert yaml.safe_load(printed) == alert_rules()


def test_prometheus_can_read_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    asked = [one.replace("$__rate_interval", "5m").replace("$app", ".*") for one in expressions().values()]
    rules = [{"record": f"panel:{at}", "expr": expression} for at, expression in enumerate(asked)]
    said = promtool(tmp_path, "check", "rules", "rules.yaml", rules={"groups": [{"name": "all", "rules": rules}]})
    assert f"{len(rules)} rules found" in said


def test_alerts_fire_on_what_they_are_for_and_not_before(tmp_path: Path) -> None:
    labels = 'appId="desk", componentId="sort", handlerType="LLM"'
    series = {
        f'uhlp_requests_total{{{labels}, outcome="ok"}}': "0+60x40",
        f'uhlp_requests_total{{{labels}, outcome="failed"}}': "0x10 0+60x30",
        'uhlp_applications{status="DEGRADED"}': "0x10 1x30",
        'uhlp_build_info{version="1"}': "1x40",
    }
    failing = {"severity": "critical", "appId": "desk", "componentId": "sort"}
    degraded = {"severity": "warning", "status": "DEGRADED"}
    cases = [("9m", "UhlpRequestsFail", []), ("30m", "UhlpRequestsFail", [failing]),
             ("9m", "UhlpApplicationDegraded", []), ("30m", "UhlpApplicationDegraded", [degraded]),
             ("30m", "UhlpIsDown", [])]  # fmt: skip
    asked = [
        {"eval_time": at, "alertname": name, "exp_alerts": [{"exp_labels": fired, **_annotations(name, fired)}
                                                            for fired in firing]}
        for at, name, firing in cases
    ]  # fmt: skip
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": asked,
    }
    promtool(tmp_path, "test", "rules", "test.yaml", rules=alert_rules(), test={"rule_files": ["rules.yaml"],
                                                                              "tests": [test]})  # fmt: skip


def _annotations(name: str, labels: dict[str, str]) -> dict[str, Any]:
    alert = next(one for one in ALERTS if one.name == name)
    summary = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: labels[found[1]], alert.summary)
    return {"exp_annotations": {"summary": summary.replace("{{ $value }}", "1"), "description": alert.what_to_do}}


def uhlp(*words: str) -> str:
    return subprocess.run([sys.executable, "-m", "uhlp", *words], capture_output=True, text=True, check=True).stdout


def test_the_command_prints_table_json_and_dashboard() -> None:
    table = uhlp("metrics")
    assert all(name in table for name in CATALOGUE)
    listed = json.loads(uhlp("metrics", "--json"))
    assert {one["name"]: tuple(one["labels"]) for one in listed} == {one.name: one.labels for one in CATALOGUE.values()}
    assert json.loads(uhlp("metrics", "--grafana")) == grafana_dashboard()
    refused = subprocess.run(
        [sys.executable, "-m", "uhlp", "metrics", "--grafana", "--alerts"], capture_output=True, text=True, check=False
    )
    assert (refused.returncode, "Choose one" in refused.stderr) == (1, True)

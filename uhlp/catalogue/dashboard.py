"""A dashboard for Grafana: a row for each heading of the catalogue, headlines first, then one panel for each metric."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from uhlp.catalogue import CATALOGUE, evolution, models, sandboxes, server, traffic
from uhlp.catalogue.metric import Metric, Row
from uhlp.catalogue.queries import increase, now, quantile, rate, ratio

ROWS: dict[Row, str] = {
    "traffic": "Traffic",
    "handlers": "Handlers and the model",
    "evolution": "Evolution",
    "sandboxes": "Sandboxes",
    "money": "Models and money",
    "health": "Health",
}
_APP = 'appId=~"$app"'
_UNITS = {"seconds": "s", "bytes": "bytes", "ratio": "percentunit", "US dollars": "currencyUSD"}
_WIDTH, _HEIGHT, _GRID = 8, 7, 24
_SOURCE = {"type": "prometheus", "uid": "${source}"}


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph: expressions by legend (Grafana's {{label}} in it), in a unit of Grafana's."""

    title: str
    expressions: dict[str, str]
    unit: str = "short"
    description: str = ""


_HEADLINES: dict[Row, tuple[Panel, ...]] = {
    "traffic": (
        Panel("Requests a second", {"{{appId}}": rate(traffic.REQUESTS, "appId", only=_APP)}, "reqps"),
        Panel(
            "Share that fails",
            {
                "{{appId}}": ratio(
                    rate(traffic.REQUESTS, "appId", only=f'{_APP}, outcome="failed"'),
                    rate(traffic.REQUESTS, "appId", only=_APP),
                )
            },
            "percentunit",
        ),
        Panel(
            "Time to answer",
            {
                "p50": quantile(0.5, traffic.REQUEST_SECONDS, only=_APP),
                "p95": quantile(0.95, traffic.REQUEST_SECONDS, only=_APP),
                "p99": quantile(0.99, traffic.REQUEST_SECONDS, only=_APP),
            },
            "s",
        ),
    ),
    "handlers": (
        Panel(
            "Share that handlers answer",
            {
                "{{appId}}/{{componentId}}": ratio(
                    rate(traffic.REQUESTS, "appId", "componentId", only=f'{_APP}, handlerType="JIT", outcome="ok"'),
                    rate(traffic.REQUESTS, "appId", "componentId", only=_APP),
                )
            },
            "percentunit",
        ),
        Panel(
            "Median time, handler and model",
            {"{{handlerType}}": quantile(0.5, traffic.REQUEST_SECONDS, "handlerType", only=_APP)},
            "s",
        ),
        Panel(
            "Share of requests that deoptimise",
            {
                "{{reason}}": rate(traffic.DEOPTIMIZATIONS, "reason", only=_APP)
                + " / scalar("
                + rate(traffic.REQUESTS, only=_APP)
                + ")"
            },
            "percentunit",
        ),
    ),
    "evolution": (
        Panel(
            "Evidence towards the gate",
            {
                "{{candidateId}}": f"{now(evolution.GATE_LOG_EVIDENCE, only=_APP)}"
                f" / {now(evolution.GATE_LOG_EVIDENCE_NEEDED, only=_APP)}"
            },
            "percentunit",
            "At 100 % epsilon is proven.",
        ),
        Panel(
            "Comparisons a second",
            {"{{stage}} {{outcome}}": rate(evolution.COMPARISONS, "stage", "outcome", only=_APP)},
            "cps",
        ),
    ),
    "sandboxes": (
        Panel("Workers", {"{{appId}}/{{poolName}} {{state}}": now(sandboxes.WORKERS_BY_STATE, only=_APP)}),
        Panel(
            "Wait for a worker, p99",
            {"{{appId}}/{{poolName}}": quantile(0.99, sandboxes.CLAIM_SECONDS, "appId", "poolName", only=_APP)},
            "s",
        ),
    ),
    "money": (
        Panel(
            "Dollars an hour, by purpose",
            {"{{purpose}}": increase(models.APP_COST, "purpose", only=_APP)},
            "currencyUSD",
        ),
        Panel(
            "Dollars an hour, by component",
            {"{{appId}}/{{componentId}}": increase(models.APP_COST, "appId", "componentId", only=_APP)},
            "currencyUSD",
        ),
    ),
    "health": (
        Panel("Event loop lag, p99", {"lag": quantile(0.99, server.EVENT_LOOP_LAG)}, "s"),
        Panel("Memory", {"resident": now(server.RESIDENT_MEMORY)}, "bytes"),
    ),
}


def grafana_dashboard() -> dict[str, Any]:
    """The JSON that Grafana imports; it asks which data source to use, and applications can be chosen."""
    app_values = f"label_values({traffic.COMPONENTS.name}, appId)"
    return {
        "uid": "uhlp",
        "title": "UHLP",
        "tags": ["uhlp"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [
                {"name": "source", "label": "Data source", "type": "datasource", "query": "prometheus"},
                {
                    "name": "app", "label": "Application", "type": "query", "datasource": _SOURCE,
                    "definition": app_values, "query": {"query": app_values, "refId": "app"}, "refresh": 2,
                    "includeAll": True, "allValue": ".*", "multi": True, "current": {"text": "All", "value": "$__all"},
                },
            ]
        },
        "panels": list(_laid_out()),
    }  # fmt: skip


def _laid_out() -> Iterator[dict[str, Any]]:
    number, top = 0, 0
    for row, title in ROWS.items():
        number += 1
        yield {
            "id": number, "type": "row", "title": title, "collapsed": False, "panels": [],
            "gridPos": {"x": 0, "y": top, "w": _GRID, "h": 1},
        }  # fmt: skip
        top += 1
        panels = [*_HEADLINES[row], *(_panel_of(metric) for metric in CATALOGUE.values() if metric.row == row)]
        for at, panel in enumerate(panels):
            number += 1
            across, down = at % (_GRID // _WIDTH), at // (_GRID // _WIDTH)
            yield _as_json(number, panel, x=across * _WIDTH, y=top + down * _HEIGHT)
        top += -(-len(panels) // (_GRID // _WIDTH)) * _HEIGHT


def _panel_of(metric: Metric) -> Panel:
    """A metric as it is: a counter per second, a histogram's 99th percentile, a gauge's value."""
    only = _APP if "appId" in metric.labels else ""
    legend = " ".join(f"{{{{{label}}}}}" for label in metric.labels) or metric.name
    if metric.metric_type == "gauge":
        return Panel(metric.name, {legend: now(metric, only=only)}, _UNITS.get(metric.unit, "short"), metric.meaning)
    if metric.metric_type == "histogram":
        title, expression = f"{metric.name}, p99", quantile(0.99, metric, *metric.labels, only=only)
        return Panel(title, {legend: expression}, _UNITS[metric.unit], metric.meaning)
    if metric.unit == "US dollars":
        expression = increase(metric, *metric.labels, only=only)
        return Panel(f"{metric.name}, an hour", {legend: expression}, "currencyUSD", metric.meaning)
    unit = "percentunit" if metric.unit == "seconds" else "cps"
    expression = rate(metric, *metric.labels, only=only)
    return Panel(f"{metric.name}, a second", {legend: expression}, unit, metric.meaning)


def _as_json(number: int, panel: Panel, *, x: int, y: int) -> dict[str, Any]:
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": _SOURCE,
        "gridPos": {"x": x, "y": y, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + at), "expr": expression, "legendFormat": legend, "datasource": _SOURCE}
            for at, (legend, expression) in enumerate(panel.expressions.items())
        ],
    }

"""Alert rules for Prometheus: what an operator wants to be woken for, and what to do then."""

from dataclasses import dataclass
from typing import Any

from uhlp.catalogue import evolution, models, sandboxes, server, traffic
from uhlp.catalogue.queries import increase, now, quantile, rate, ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Fires when `expression` has held `held_for`. `summary` may name labels as {{ $labels.appId }}."""

    name: str
    expression: str
    held_for: str
    severity: str = "warning"
    summary: str
    what_to_do: str


ALERTS = (
    Alert(
        name="UhlpIsDown",
        expression=f"absent({now(server.BUILD)})",
        held_for="2m",
        severity="critical",
        summary="No UHLP server is scraped.",
        what_to_do="Ask /healthz and /readyz; look at the log of `uhlp serve`.",
    ),
    Alert(
        name="UhlpRequestsFail",
        expression=ratio(
            rate(traffic.REQUESTS, "appId", "componentId", only='outcome="failed"', over="5m"),
            rate(traffic.REQUESTS, "appId", "componentId", over="5m"),
        )
        + " > 0.05",
        held_for="10m",
        severity="critical",
        summary="More than 5 % of the requests to {{ $labels.appId }}/{{ $labels.componentId }} fail.",
        what_to_do="`uhlp status`; the outcomes of uhlp_executions_total say why.",
    ),
    Alert(
        name="UhlpHandlersFail",
        expression=ratio(
            rate(traffic.DEOPTIMIZATIONS, "appId", "componentId", only='reason!~"guard|manual"', over="10m"),
            rate(traffic.REQUESTS, "appId", "componentId", over="10m"),
        )
        + " > 0.1",
        held_for="10m",
        summary="The model stands in for a failing handler of {{ $labels.appId }}/{{ $labels.componentId }}.",
        what_to_do="`uhlp why APP COMPONENT`; `uhlp rollback CANDIDATE` gives the component back to the model.",
    ),
    Alert(
        name="UhlpHandlerDisagrees",
        expression=f"{now(evolution.AGREEMENT)} < 0.9 and {now(evolution.GATE_COMPARISONS)} >= 30",
        held_for="10m",
        summary="Handler {{ $labels.candidateId }} of {{ $labels.appId }}/{{ $labels.componentId }} is often wrong.",
        what_to_do="`uhlp show CANDIDATE` has the mismatches side by side.",
    ),
    Alert(
        name="UhlpHandlerTakenOut",
        expression=increase(evolution.MOVES, "appId", "state", only='state=~"rolled_back|quarantined"', over="15m")
        + " > 0",
        held_for="0m",
        summary="A candidate of {{ $labels.appId }} was {{ $labels.state }}.",
        what_to_do="`uhlp candidates`; the model answers meanwhile, at its price.",
    ),
    Alert(
        name="UhlpNobodyDecides",
        expression=f"max({now(evolution.LEADING)}) == 0",
        held_for="2m",
        summary="No server holds the lease: candidates are neither promoted nor refused.",
        what_to_do="`GET /admin/v1/evolution` says who held it and why it is not renewed.",
    ),
    Alert(
        name="UhlpModelBreakerOpen",
        expression=f"{now(models.BREAKER_OPEN)} == 1",
        held_for="1m",
        severity="critical",
        summary="Model provider {{ $labels.provider }} keeps failing and is left alone.",
        what_to_do="Ask the provider; handlers go on, requests for the model get 502 or 503.",
    ),
    Alert(
        name="UhlpModelCallsFail",
        expression=ratio(
            rate(models.MODEL_REQUESTS, "provider", only='outcome!="ok"', over="10m"),
            rate(models.MODEL_REQUESTS, "provider", over="10m"),
        )
        + " > 0.2",
        held_for="10m",
        summary="More than 20 % of the calls to {{ $labels.provider }} fail.",
        what_to_do="The outcomes of uhlp_model_requests_total say why: limits, keys, time.",
    ),
    Alert(
        name="UhlpSandboxesCrash",
        expression=increase(sandboxes.CRASHES, "appId", "poolName", "reason", over="10m") + " > 5",
        held_for="0m",
        summary="Workers of {{ $labels.appId }}/{{ $labels.poolName }} fail: {{ $labels.reason }}.",
        what_to_do="`uhlp sandbox list`; memory limits and deadlines stand in app.yaml.",
    ),
    Alert(
        name="UhlpSandboxesDoNotStart",
        expression=increase(sandboxes.START_FAILURES, "appId", "poolName", over="10m") + " > 2",
        held_for="0m",
        severity="critical",
        summary="Sandboxes of {{ $labels.appId }}/{{ $labels.poolName }} do not start.",
        what_to_do="/readyz says what the driver lacks.",
    ),
    Alert(
        name="UhlpClaimsRefused",
        expression=rate(sandboxes.CLAIMS, "appId", "poolName", only='outcome="refused"', over="5m") + " > 0",
        held_for="5m",
        summary="Requests to {{ $labels.appId }}/{{ $labels.poolName }} find no worker in time.",
        what_to_do="Raise maxInstances of the pool, or the machine.",
    ),
    Alert(
        name="UhlpApplicationDegraded",
        expression=now(server.APPLICATIONS, only='status=~"DEGRADED|ERROR"') + " > 0",
        held_for="5m",
        summary="{{ $value }} applications are {{ $labels.status }}.",
        what_to_do="`uhlp status APP` names the revision and what is wrong with it.",
    ),
    Alert(
        name="UhlpEventLoopLags",
        expression=quantile(0.99, server.EVENT_LOOP_LAG, over="5m") + " > 0.25",
        held_for="10m",
        summary="What is due waits a quarter of a second: everything on this server is slow.",
        what_to_do="Look at processor and memory of the machine, then at the load.",
    ),
    Alert(
        name="UhlpLoopCrashes",
        expression=increase(server.LOOP_CRASHES, "loop", over="15m") + " > 3",
        held_for="0m",
        summary="The loop {{ $labels.loop }} keeps failing.",
        what_to_do="/readyz has its last error.",
    ),
    Alert(
        name="UhlpCommitsAreSlow",
        expression=quantile(0.99, server.STORE_SECONDS, "store", only='operation=~"commit|decide|save"', over="10m")
        + " > 1",
        held_for="15m",
        summary="Writes to {{ $labels.store }} take over a second.",
        what_to_do="Look at the disk under the data directory.",
    ),
    Alert(
        name="UhlpEvidenceIsDropped",
        expression=f"({increase(server.SAMPLES_DROPPED, over='10m')} > 0)"
        f" or ({increase(evolution.OBSERVATIONS_DROPPED, over='10m')} > 0)",
        held_for="10m",
        summary="Samples or observations are dropped: candidates are judged by fewer requests than there were.",
        what_to_do="uhlp_queue_length says which queue is full.",
    ),
    Alert(
        name="UhlpWebhookGivesUp",
        expression=increase(evolution.WEBHOOK_DELIVERIES, "webhook", only='outcome=~"given_up|dropped"', over="15m")
        + " > 0",
        held_for="0m",
        summary="Notifications to {{ $labels.webhook }} are lost.",
        what_to_do="Look at its receiver; `GET /admin/v1/evolution` has the last error.",
    ),
    Alert(
        name="UhlpMetricsRefused",
        expression=increase(server.METRIC_RECORDS_REFUSED, "code", over="15m") + " > 0",
        held_for="15m",
        summary="Recorded metrics are refused: {{ $labels.code }}.",
        what_to_do="CARDINALITY_LIMIT: an application makes too many series; see the settings metrics.*.",
    ),
)


def alert_rules() -> dict[str, Any]:
    """The content of a rule file for Prometheus (`rule_files`)."""
    rules = [
        {
            "alert": alert.name,
            "expr": alert.expression,
            "for": alert.held_for,
            "labels": {"severity": alert.severity},
            "annotations": {"summary": alert.summary, "description": alert.what_to_do},
        }
        for alert in ALERTS
    ]
    return {"groups": [{"name": "uhlp", "rules": rules}]}

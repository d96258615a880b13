"""What is shown of candidates, and of the handlers in traffic with the evidence about them."""

from uhlp.catalogue.metric import CounterMetric, GaugeMetric

_CANDIDATE = ("appId", "componentId", "candidateId")

CANDIDATES = GaugeMetric(
    name="uhlp_candidates", meaning="Candidates by the state they are in.", labels=("appId", "state"), row="evolution"
)
MOVES = CounterMetric(
    name="uhlp_candidate_moves_total",
    meaning="Candidates that entered a state.",
    labels=("appId", "state"),
    row="evolution",
)
COMPARISONS = CounterMetric(
    name="uhlp_comparisons_total",
    meaning="Answers of handlers in traffic held against a reference, by stage (shadow, audit) and outcome.",
    labels=("appId", "componentId", "stage", "outcome"),
    row="evolution",
)
GATE_COMPARISONS = GaugeMetric(
    name="uhlp_gate_comparisons",
    meaning="n: comparisons in the evidence account of a candidate in traffic.",
    labels=_CANDIDATE,
    row="evolution",
)
GATE_WRONG = GaugeMetric(
    name="uhlp_gate_wrong", meaning="k: how many of the n comparisons it lost.", labels=_CANDIDATE, row="evolution"
)
GATE_LOG_EVIDENCE = GaugeMetric(
    name="uhlp_gate_log_evidence",
    meaning="Natural logarithm of the evidence that it is wrong less often than epsilon.",
    labels=_CANDIDATE,
    row="evolution",
)
GATE_LOG_EVIDENCE_NEEDED = GaugeMetric(
    name="uhlp_gate_log_evidence_needed",
    meaning="The logarithm of evidence at which epsilon is proven.",
    labels=_CANDIDATE,
    row="evolution",
)
GATE_PROVEN = GaugeMetric(
    name="uhlp_gate_proven_wrong_ratio",
    meaning="The smallest published bound on its share of wrong answers that is proven; absent while none is.",
    labels=_CANDIDATE,
    unit="ratio",
    row="evolution",
)
AGREEMENT = GaugeMetric(
    name="uhlp_handler_agreement_ratio",
    meaning="Share of the judged answers of a handler in traffic that match the reference, audits included.",
    labels=_CANDIDATE,
    unit="ratio",
    row="handlers",
)
COVERAGE = GaugeMetric(
    name="uhlp_handler_coverage_ratio",
    meaning="Share of the requests put to a handler in traffic that it answered itself.",
    labels=_CANDIDATE,
    unit="ratio",
    row="handlers",
)
LEADING = GaugeMetric(
    name="uhlp_evolution_leading",
    meaning="1 while this server decides about candidates.",
    row="evolution",
)
OBSERVATIONS_DROPPED = CounterMetric(
    name="uhlp_observations_dropped_total",
    meaning="Observations dropped because the queue was full.",
    labels=("appId",),
    row="evolution",
)
WEBHOOK_DELIVERIES = CounterMetric(
    name="uhlp_webhook_deliveries_total",
    meaning="Notifications posted to webhooks.",
    labels=("webhook", "outcome"),
    row="health",
)

"""What is counted of models: by provider and model as they are asked, by component as it is paid."""

from uhlp.catalogue.metric import CounterMetric, GaugeMetric, HistogramMetric

_MODEL = ("provider", "model")
_PAID = ("appId", "componentId", "purpose")

MODEL_REQUESTS = CounterMetric(
    name="uhlp_model_requests_total", meaning="Model calls by outcome.", labels=(*_MODEL, "outcome"), row="money"
)
MODEL_SECONDS = HistogramMetric(
    name="uhlp_model_latency_seconds",
    meaning="Answer time of good calls, retries included.",
    labels=_MODEL,
    buckets=(0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0),
    row="money",
)
MODEL_TOKENS = CounterMetric(
    name="uhlp_model_tokens_total",
    meaning="Tokens by direction: in, out.",
    labels=(*_MODEL, "direction"),
    unit="tokens",
    row="money",
)
MODEL_COST = CounterMetric(
    name="uhlp_model_cost_usd_total",
    meaning="US dollars, where a price is known.",
    labels=_MODEL,
    unit="US dollars",
    row="money",
)
MODEL_RETRIES = CounterMetric(name="uhlp_model_retries_total", meaning="Attempts repeated.", labels=_MODEL, row="money")
MODEL_FALLBACKS = CounterMetric(
    name="uhlp_model_fallbacks_total",
    meaning="Calls that a fallback was asked for, by the one that did not answer.",
    labels=_MODEL,
    row="money",
)
BREAKER_OPEN = GaugeMetric(
    name="uhlp_model_breaker_open",
    meaning="1 while a provider that kept failing is left alone.",
    labels=("provider",),
    row="health",
)
BREAKER_OPENINGS = CounterMetric(
    name="uhlp_model_breaker_openings_total",
    meaning="How often a provider's failures in a row opened its breaker.",
    labels=("provider",),
    row="health",
)
APP_TOKENS = CounterMetric(
    name="uhlp_app_model_tokens_total",
    meaning="Tokens by component and by what they were asked for.",
    labels=(*_PAID, "direction"),
    unit="tokens",
    row="money",
)
APP_COST = CounterMetric(
    name="uhlp_app_model_cost_usd_total",
    meaning="US dollars by component and by what they were asked for, where a price is known.",
    labels=_PAID,
    unit="US dollars",
    row="money",
)
CACHE_LOOKUPS = CounterMetric(
    name="uhlp_model_cache_lookups_total",
    meaning="Calls looked for in an application's cache, by outcome: hit, miss.",
    labels=("appId", "componentId", "outcome"),
    row="money",
)

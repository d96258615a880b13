"""What the gateway counts, by provider and model."""

from uhlp.llm.generation import Generation
from uhlp.metering import Meter

_MOST_MODELS = 200
_LATENCY_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0)


class ModelInstruments:
    """Requests, tokens, cost, latency and retries. Model names come from applications, so only the first
    _MOST_MODELS get series of their own; the others share the model `other`."""

    def __init__(self, *, meter: Meter) -> None:
        by_model = ("provider", "model")
        self._requests = meter.counter("uhlp_model_requests_total", "Model calls by outcome", (*by_model, "outcome"))
        self._tokens = meter.counter("uhlp_model_tokens_total", "Tokens by direction", (*by_model, "direction"))
        self._cost = meter.counter("uhlp_model_cost_usd_total", "US dollars, where a price is known", by_model)
        self._retries = meter.counter("uhlp_model_retries_total", "Attempts repeated", by_model)
        self._latency = meter.histogram(
            "uhlp_model_latency_seconds", "Answer time of good calls, retries included", by_model, _LATENCY_BUCKETS_S
        )
        self._models: dict[tuple[str, str], _ModelInstruments] = {}

    def of(self, provider: str, model: str) -> "_ModelInstruments":
        found = self._models.get((provider, model))
        if found is None:
            if len(self._models) >= _MOST_MODELS and model != "other":
                return self.of(provider, "other")
            found = self._models[provider, model] = _ModelInstruments(self, provider, model)
        return found


class _ModelInstruments:
    """The instruments of one model, looked up once."""

    def __init__(self, all_models: ModelInstruments, provider: str, model: str) -> None:
        self._outcomes = all_models._requests
        self._names = (provider, model)
        self._good = all_models._requests.labels(provider, model, "ok")
        self._tokens_in = all_models._tokens.labels(provider, model, "in")
        self._tokens_out = all_models._tokens.labels(provider, model, "out")
        self._cost = all_models._cost.labels(provider, model)
        self._latency = all_models._latency.labels(provider, model)
        self._retries = all_models._retries.labels(provider, model)

    def answered(self, generation: Generation) -> None:
        self._good.inc()
        self._tokens_in.inc(generation.tokens_in)
        self._tokens_out.inc(generation.tokens_out)
        self._cost.inc(generation.cost_usd or 0.0)
        self._latency.observe(generation.latency_ms / 1000)

    def failed(self, code: str) -> None:
        """`code` is the error's stable code."""
        self._outcomes.labels(*self._names, code.lower()).inc()

    def retried(self) -> None:
        self._retries.inc()

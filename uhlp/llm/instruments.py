"""What the gateway counts, by provider and model."""

from uhlp.catalogue import models
from uhlp.llm.generation import Generation
from uhlp.metering import CounterChild, GaugeChild, Meter

_MOST_MODELS = 200


class ModelInstruments:
    """Requests, tokens, cost, latency and retries. Model names come from applications, so only the first
    _MOST_MODELS get series of their own; the others share the model `other`."""

    def __init__(self, *, meter: Meter) -> None:
        self._requests = models.MODEL_REQUESTS.on(meter)
        self._tokens = models.MODEL_TOKENS.on(meter)
        self._cost = models.MODEL_COST.on(meter)
        self._retries = models.MODEL_RETRIES.on(meter)
        self._fallbacks = models.MODEL_FALLBACKS.on(meter)
        self._latency = models.MODEL_SECONDS.on(meter)
        self._open = models.BREAKER_OPEN.on(meter)
        self._openings = models.BREAKER_OPENINGS.on(meter)
        self._models: dict[tuple[str, str], _ModelInstruments] = {}

    def of(self, provider: str, model: str) -> "_ModelInstruments":
        found = self._models.get((provider, model))
        if found is None:
            if len(self._models) >= _MOST_MODELS and model != "other":
                return self.of(provider, "other")
            found = self._models[provider, model] = _ModelInstruments(self, provider, model)
        return found

    def breaker_of(self, provider: str) -> "BreakerInstruments":
        """What a provider's circuit breaker shows of itself."""
        return BreakerInstruments(self._open.labels(provider), self._openings.labels(provider))


class BreakerInstruments:
    """Whether one breaker is open, and how often it has opened."""

    def __init__(self, is_open: GaugeChild, openings: CounterChild) -> None:
        self._is_open = is_open
        self._openings = openings
        is_open.set(0)

    def opened(self) -> None:
        self._is_open.set(1)
        self._openings.inc()

    def closed(self) -> None:
        self._is_open.set(0)


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
        self._fallbacks = all_models._fallbacks.labels(provider, model)

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

    def passed_on(self) -> None:
        """It did not answer, and a fallback was asked."""
        self._fallbacks.inc()

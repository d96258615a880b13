"""ModelGateway: the one way to a model. It settles provider and model, keeps the time limit, repeats what is worth
repeating, and says what the answer took."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

import structlog

from uhlp.clock import Clock
from uhlp.errors import (
    BadModelAnswer,
    DeadlineExceeded,
    ModelProviderUnavailable,
    NoModelProvider,
    UhlpError,
    ValidationFailed,
)
from uhlp.llm.circuit_breaker import CircuitBreaker
from uhlp.llm.config import AnthropicProvider, LlmSettings, OpenAiProvider, ProviderSettings, ReplayProvider
from uhlp.llm.generation import GenerateRequest, Generation
from uhlp.llm.instruments import BreakerInstruments, ModelInstruments
from uhlp.llm.prices import PriceBook
from uhlp.llm.provider import HttpAnswer, ModelAnswer, ModelCall, ModelProvider
from uhlp.llm.providers.anthropic import AnthropicMessages
from uhlp.llm.providers.openai import OpenAiChat
from uhlp.llm.providers.replay import RecordedAnswers
from uhlp.metering import Meter
from uhlp.secret_references import SecretReader, resolve

if TYPE_CHECKING:
    from uhlp.llm.http import HttpClient

SLOW_S = 5.0
"""A call that is given up after this long counts against its provider; a caller's short limit does not."""

log = structlog.get_logger(__name__)


class _Lane:
    """One configured provider with what is remembered of it. `fault` says why it cannot be used at all."""

    def __init__(
        self,
        *,
        provider: ModelProvider,
        settings: ProviderSettings,
        clock: Clock,
        instruments: BreakerInstruments,
        fault: str | None = None,
    ) -> None:
        self.provider = provider
        self.models = settings.models
        self.fault = fault
        self.breaker = CircuitBreaker(clock=clock, instruments=instruments)
        self.prices = PriceBook(prices=settings.prices, price_url=provider.price_url, clock=clock)


class ModelGateway:
    """Asks the configured providers. `read_secret` resolves `secret:NAME`; `sleep` waits between attempts."""

    def __init__(
        self,
        *,
        settings: LlmSettings,
        clock: Clock,
        meter: Meter,
        read_secret: SecretReader = lambda name: None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._sleep = sleep
        self._instruments = ModelInstruments(meter=meter)
        self._http: HttpClient | None = None
        self._lanes = {name: self._lane(name, found, read_secret) for name, found in settings.providers.items()}
        self._default = settings.default_provider or next(iter(self._lanes), None)

    @property
    def providers(self) -> tuple[str, ...]:
        """The names of the configured providers, the default one first."""
        return tuple(sorted(self._lanes, key=lambda name: name != self._default))

    async def generate(self, request: GenerateRequest, *, timeout_s: float | None = None) -> Generation:
        """The model's answer within `timeout_s` (the settings' limit when None), attempts and pauses included.

        Raises NoModelProvider, ModelProviderUnavailable (with retry_after_s), ModelRequestRefused, BadModelAnswer,
        NotRecorded, ValidationFailed and DeadlineExceeded.
        """
        lane, model = self._choose(request)
        limit_s = self._settings.timeout_s if timeout_s is None else timeout_s
        call = ModelCall(request.messages, model, request.parameters, request.replay_input, request.headers)
        name = lane.provider.name
        instruments = self._instruments.of(name, model)
        started = self._clock.monotonic()
        try:
            async with asyncio.timeout(limit_s):
                answer = await self._until_answered(lane, call, deadline=started + limit_s)
        except TimeoutError:
            instruments.failed(DeadlineExceeded.code)
            raise DeadlineExceeded(f"Model provider '{name}' did not answer within {limit_s:.1f} s.") from None
        except UhlpError as error:
            instruments.failed(error.code)
            raise
        generation = await self._generation(lane, call, answer, started)
        instruments.answered(generation)
        return generation

    async def price_usd(self, request: GenerateRequest, *, tokens_in: int, tokens_out: int) -> float | None:
        """US dollars that so many tokens of the model `request` would reach cost; None when no price is known, or no
        such model."""
        try:
            lane, model = self._choose(request)
        except UhlpError:
            return None
        answer = ModelAnswer(text="", tokens_in=tokens_in, tokens_out=tokens_out)
        return await lane.prices.cost_usd(model, answer, tokens_in=tokens_in, tokens_out=tokens_out)

    async def run_cycle(self) -> None:
        """Load what the first call would wait for: half a second, mostly of imports."""
        lanes = [lane for lane in self._lanes.values() if lane.fault is None and lane.provider.price_url is not None]
        if lanes:
            await self._client()
        for lane in lanes:
            await lane.prices.prepare()

    async def aclose(self) -> None:
        """Close the connections to providers."""
        if self._http is not None:
            await self._http.aclose()

    def _choose(self, request: GenerateRequest) -> tuple[_Lane, str]:
        """Provider and model: the request's own, else the settings', else the provider's; `provider/model` names
        both where `provider` is configured."""
        name, model = request.provider or self._default, request.model
        if name is None:
            raise NoModelProvider
        if model is None and name == self._default:
            model = self._settings.default_model
        if model is not None and request.provider is None and "/" in model:
            prefix, _, rest = model.partition("/")
            if prefix in self._lanes:
                name, model = prefix, rest
        lane = self._lanes.get(name)
        if lane is None:
            known = ", ".join(self.providers) or "none"
            raise NoModelProvider(f"No model provider is named '{name}'; llm.providers has: {known}.")
        if lane.fault is not None:
            raise NoModelProvider(lane.fault)
        if model is None:
            model = lane.provider.default_model
        elif lane.models and model not in lane.models:
            raise ValidationFailed(
                f"Model '{model}' is not among those of provider '{name}': {', '.join(lane.models)}.",
                details={"problems": [{"path": "/model", "message": "is not offered"}]},
            )
        return lane, model

    async def _until_answered(self, lane: _Lane, call: ModelCall, *, deadline: float) -> ModelAnswer:
        attempts = self._settings.attempts
        for attempt in range(1, attempts + 1):
            try:
                return await self._attempt(lane, call)
            except ModelProviderUnavailable as error:
                if not error.retryable:
                    raise
                pause_s = self._pause_s(attempt, error)
                error.retry_after_s = pause_s
                if attempt == attempts or self._clock.monotonic() + pause_s >= deadline:
                    raise
                self._instruments.of(lane.provider.name, call.model).retried()
                log.info(
                    "model_call_retried",
                    provider=lane.provider.name,
                    model=call.model,
                    status=error.details.get("status"),
                    attempt=attempt,
                    pause_s=round(pause_s, 3),
                )
                await self._sleep(pause_s)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _pause_s(self, attempt: int, error: ModelProviderUnavailable) -> float:
        longest_s: float = self._settings.backoff_s * 2 ** (attempt - 1)
        jittered = longest_s * random.uniform(0.5, 1.0)  # noqa: S311  spreads retries, keeps no secret
        return max(jittered, error.retry_after_s or 0.0)

    async def _attempt(self, lane: _Lane, call: ModelCall) -> ModelAnswer:
        breaker, name = lane.breaker, lane.provider.name
        if wait_s := breaker.admit():
            raise ModelProviderUnavailable(
                f"Model provider '{name}' failed several times in a row and is left alone for a moment.",
                details={"provider": name},
                retry_after_s=wait_s,
            )
        started = self._clock.monotonic()
        try:
            answer = await lane.provider.complete(call)
        except (ModelProviderUnavailable, BadModelAnswer) as error:
            if not error.retryable:
                breaker.succeeded()
            elif breaker.failed():
                log.warning("model_provider_paused", provider=name, code=error.code, status=error.details.get("status"))
            raise
        except UhlpError:
            breaker.succeeded()  # it answered: the request is at fault
            raise
        except BaseException:
            if self._clock.monotonic() - started >= SLOW_S:
                breaker.failed()
            else:
                breaker.abandoned()
            raise
        breaker.succeeded()
        return answer

    async def _generation(self, lane: _Lane, call: ModelCall, answer: ModelAnswer, started: float) -> Generation:
        latency_ms = answer.latency_ms
        if latency_ms is None:
            latency_ms = (self._clock.monotonic() - started) * 1000
        tokens_in, tokens_out, source = answer.tokens_in, answer.tokens_out, answer.usage_source
        if tokens_in is None or tokens_out is None:
            source = "estimated"
            tokens_in = _estimated_tokens(*(message["content"] for message in call.messages))
            tokens_out = _estimated_tokens(answer.text)
        cost_usd = answer.cost_usd
        if cost_usd is None:
            cost_usd = await lane.prices.cost_usd(call.model, answer, tokens_in=tokens_in, tokens_out=tokens_out)
        return Generation(
            text=answer.text,
            model=call.model,
            provider=lane.provider.name,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            cost_usd=cost_usd,
            latency_ms=latency_ms,
            usage_source=source,
            is_truncated=answer.is_truncated,
        )

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> HttpAnswer:
        client = self._http or await self._client()
        return await client.post(url, headers, body)

    async def _client(self) -> "HttpClient":
        if self._http is None:
            await asyncio.to_thread(import_module, "uhlp.llm.http")  # aiohttp takes a quarter of a second to import
            from uhlp.llm.http import HttpClient

            if self._http is None:
                self._http = HttpClient(connections=self._settings.connections)
        return self._http

    def _lane(self, name: str, settings: ProviderSettings, read_secret: SecretReader) -> _Lane:
        instruments = self._instruments.breaker_of(name)
        if isinstance(settings, ReplayProvider):
            recorded = RecordedAnswers(name=name, settings=settings)
            return _Lane(provider=recorded, settings=settings, clock=self._clock, instruments=instruments)
        fault, api_key = None, ""
        if settings.api_key is not None:
            reference = settings.api_key.get_secret_value()
            api_key = resolve(reference, read_secret) or ""
            if not api_key:
                fault = f"The API key of model provider '{name}' is not set: {reference} names nothing."
        provider = self._http_provider(name, settings, api_key)
        return _Lane(provider=provider, settings=settings, clock=self._clock, instruments=instruments, fault=fault)

    def _http_provider(self, name: str, settings: OpenAiProvider | AnthropicProvider, api_key: str) -> ModelProvider:
        if isinstance(settings, OpenAiProvider):
            return OpenAiChat(name=name, settings=settings, api_key=api_key, post=self._post, clock=self._clock)
        return AnthropicMessages(name=name, settings=settings, api_key=api_key, post=self._post, clock=self._clock)


def _estimated_tokens(*texts: str) -> int:
    return sum(len(text.encode()) for text in texts) // 4 + 1

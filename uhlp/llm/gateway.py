"""ModelGateway: the one way to a model. It settles provider and model, keeps the time limit, repeats what is worth
repeating, asks the fallbacks where that does not help, and says what the answer took."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

import structlog

from uhlp.clock import Clock
from uhlp.errors import (
    BadModelAnswer,
    ModelProviderUnavailable,
    ModelRequestRefused,
    ModelTooSlow,
    NoModelProvider,
    UhlpError,
    ValidationFailed,
)
from uhlp.llm.cassette import CassetteRecorder
from uhlp.llm.circuit_breaker import CircuitBreaker
from uhlp.llm.config import AnthropicProvider, LlmSettings, OpenAiProvider, ProviderSettings, ReplayProvider
from uhlp.llm.generation import GenerateRequest, Generation
from uhlp.llm.instruments import ModelInstruments
from uhlp.llm.lane import Lane
from uhlp.llm.provider import HttpAnswer, ModelAnswer, ModelCall, ModelProvider
from uhlp.llm.providers.anthropic import AnthropicMessages
from uhlp.llm.providers.openai import OpenAiChat
from uhlp.llm.providers.replay import RecordedAnswers
from uhlp.metering import Meter
from uhlp.secret_references import SecretReader, resolve

if TYPE_CHECKING:
    from uhlp.llm.http import HttpClient

SHARE_BEFORE_A_FALLBACK = 0.5
"""Of the time that is left, what a choice may take that another one stands behind."""

Choice = tuple[Lane, str]
"""Where a request goes: a provider's lane and the model."""

_NOT_FOR_US = frozenset({401, 402, 403, 429})
"""Refusals that are about our account with a provider, not about the request."""

log = structlog.get_logger(__name__)


class ModelGateway:
    """Asks the configured providers. `read_secret` resolves `secret:NAME`; `sleep` waits between attempts; `recorder`
    is told of every answer that a provider gave."""

    def __init__(
        self,
        *,
        settings: LlmSettings,
        clock: Clock,
        meter: Meter,
        read_secret: SecretReader = lambda name: None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        recorder: CassetteRecorder | None = None,
    ) -> None:
        self._settings = settings
        self._recorder = recorder
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
        """The model's answer within `timeout_s` (the settings' limit when None), with attempts, pauses and fallbacks.

        Raises NoModelProvider, ModelProviderUnavailable (with retry_after_s), ModelTooSlow, ModelRequestRefused,
        BadModelAnswer, NotRecorded and ValidationFailed. Where fallbacks failed too, it is the last one's error.
        """
        limit_s = self._settings.timeout_s if timeout_s is None else timeout_s
        deadline = self._clock.monotonic() + limit_s
        choice = self._choose(request.provider, request.model)
        left = list(self._settings.fallbacks if request.fallbacks is None else request.fallbacks)
        tried = [choice]
        while True:
            left_s = deadline - self._clock.monotonic()
            try:
                return await self._ask(choice, request, left_s * SHARE_BEFORE_A_FALLBACK if left else left_s)
            except UhlpError as error:
                following = self._fallback(left, tried) if _may_another_answer(error) else None
                if following is None:
                    raise
                self._instruments.of(choice[0].name, choice[1]).passed_on()
                log.info(
                    "model_fallback", provider=choice[0].name, model=choice[1], code=error.code,
                    to_provider=following[0].name, to_model=following[1],
                )  # fmt: skip
                choice = following
                tried.append(choice)

    def destination(self, request: GenerateRequest) -> tuple[str, str] | None:
        """(provider, model) that `request` would reach first; None when that is a recording. Raises as `generate`."""
        lane, model = self._choose(request.provider, request.model)
        return None if lane.is_recording else (lane.name, model)

    async def price_usd(self, request: GenerateRequest, *, tokens_in: int, tokens_out: int) -> float | None:
        """US dollars that so many tokens of the model `request` would reach cost; None when no price is known, or no
        such model."""
        try:
            lane, model = self._choose(request.provider, request.model)
        except UhlpError:
            return None
        if lane.fault is not None:
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

    def _choose(self, provider: str | None, model: str | None) -> Choice:
        """Lane and model: those named, else the settings', else the provider's; `provider/model` names both where
        `provider` is configured."""
        name = provider or self._default
        if name is None:
            raise NoModelProvider
        if model is None and name == self._default:
            model = self._settings.default_model
        if model is not None and provider is None and "/" in model:
            prefix, _, rest = model.partition("/")
            if prefix in self._lanes:
                name, model = prefix, rest
        lane = self._lanes.get(name)
        if lane is None:
            known = ", ".join(self.providers) or "none"
            raise NoModelProvider(f"No model provider is named '{name}'; llm.providers has: {known}.")
        if model is None:
            model = lane.provider.default_model
        elif lane.models and model not in lane.models:
            raise ValidationFailed(
                f"Model '{model}' is not among those of provider '{name}': {', '.join(lane.models)}.",
                details={"problems": [{"path": "/model", "message": "is not offered"}]},
            )
        return lane, model

    def _fallback(self, left: list[str], tried: list[Choice]) -> Choice | None:
        """The next of `left` that can be asked and was not; takes it, and what stands before it, out of `left`."""
        while left:
            named = left.pop(0)
            try:
                choice = self._choose(named, None) if named in self._lanes else self._choose(None, named)
            except UhlpError as error:
                log.warning("model_fallback_unusable", fallback=named, problem=error.message)
                continue
            if choice not in tried and choice[0].fault is None:
                return choice
        return None

    async def _ask(self, choice: Choice, request: GenerateRequest, limit_s: float) -> Generation:
        """One choice's answer within `limit_s`."""
        lane, model = choice
        if lane.fault is not None:
            raise NoModelProvider(lane.fault)
        call = ModelCall(request.messages, model, request.parameters, request.replay_input, request.headers)
        instruments = self._instruments.of(lane.name, model)
        started = self._clock.monotonic()
        try:
            async with asyncio.timeout(limit_s):
                answer = await self._until_answered(lane, call, deadline=started + limit_s)
        except TimeoutError:
            instruments.failed(ModelTooSlow.code)
            raise ModelTooSlow(
                f"Model provider '{lane.name}' did not answer within {limit_s:.1f} s.", details={"provider": lane.name}
            ) from None
        except UhlpError as error:
            instruments.failed(error.code)
            if (taken := error.details.get("usage")) is not None:
                answer = ModelAnswer("", taken["tokensIn"], taken["tokensOut"])
                error.details["costUsd"] = await lane.prices.cost_usd(
                    model, answer, tokens_in=taken["tokensIn"], tokens_out=taken["tokensOut"]
                )
            raise
        generation = await lane.generation(call, answer, started)
        instruments.answered(generation)
        if self._recorder is not None and not lane.is_recording:
            self._recorder.note(call, generation)
        return generation

    async def _until_answered(self, lane: Lane, call: ModelCall, *, deadline: float) -> ModelAnswer:
        attempts = self._settings.attempts
        for attempt in range(1, attempts + 1):
            lane.admit()  # a breaker is not waited for: that would only gather callers
            try:
                return await lane.attempt(call)
            except ModelProviderUnavailable as error:
                if not error.retryable:
                    raise
                pause_s = self._pause_s(attempt, error)
                error.retry_after_s = pause_s
                if attempt == attempts or self._clock.monotonic() + pause_s >= deadline:
                    raise
                self._instruments.of(lane.name, call.model).retried()
                log.info(
                    "model_call_retried",
                    provider=lane.name,
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

    def _lane(self, name: str, settings: ProviderSettings, read_secret: SecretReader) -> Lane:
        breaker = CircuitBreaker(
            clock=self._clock,
            instruments=self._instruments.breaker_of(name),
            failures_to_open=self._settings.breaker_failures,
            open_s=self._settings.breaker_pause_s,
        )
        if isinstance(settings, ReplayProvider):
            recorded = RecordedAnswers(name=name, settings=settings)
            return Lane(provider=recorded, settings=settings, clock=self._clock, breaker=breaker)
        fault, api_key = None, ""
        if settings.api_key is not None:
            reference = settings.api_key.get_secret_value()
            api_key = resolve(reference, read_secret) or ""
            if not api_key:
                fault = f"The API key of model provider '{name}' is not set: {reference} names nothing."
            elif self._recorder is not None:
                self._recorder.hide(api_key)
        provider = self._http_provider(name, settings, api_key)
        return Lane(provider=provider, settings=settings, clock=self._clock, breaker=breaker, fault=fault)

    def _http_provider(self, name: str, settings: OpenAiProvider | AnthropicProvider, api_key: str) -> ModelProvider:
        if isinstance(settings, OpenAiProvider):
            return OpenAiChat(name=name, settings=settings, api_key=api_key, post=self._post, clock=self._clock)
        return AnthropicMessages(name=name, settings=settings, api_key=api_key, post=self._post, clock=self._clock)


def _may_another_answer(error: UhlpError) -> bool:
    """Whether the provider failed rather than the request."""
    if isinstance(error, ModelRequestRefused):
        return error.details.get("status") in _NOT_FOR_US
    return isinstance(error, ModelProviderUnavailable | BadModelAnswer | NoModelProvider)

"""Lane: one configured provider with what is remembered of it: its breaker, its prices, and why it cannot be used."""

import structlog

from uhlp.clock import Clock
from uhlp.errors import BadModelAnswer, ModelProviderUnavailable, UhlpError
from uhlp.llm.circuit_breaker import CircuitBreaker
from uhlp.llm.config import ProviderSettings
from uhlp.llm.generation import Generation
from uhlp.llm.prices import PriceBook
from uhlp.llm.provider import ModelAnswer, ModelCall, ModelProvider

SLOW_S = 5.0
"""A call that is given up after this long counts against its provider; a caller's short limit does not."""

log = structlog.get_logger(__name__)


class Lane:
    """Asks one provider. `fault` says why it cannot be used at all; a recording's answers cost nothing to repeat."""

    def __init__(
        self,
        *,
        provider: ModelProvider,
        settings: ProviderSettings,
        clock: Clock,
        breaker: CircuitBreaker,
        fault: str | None = None,
    ) -> None:
        self.provider = provider
        self.models = settings.models
        self.is_recording = settings.kind == "replay"
        self.fault = fault
        self.prices = PriceBook(prices=settings.prices, price_url=provider.price_url, clock=clock)
        self._breaker = breaker
        self._clock = clock

    @property
    def name(self) -> str:
        return self.provider.name

    def admit(self) -> None:
        """Before each attempt. Raises ModelProviderUnavailable while the breaker is open."""
        if wait_s := self._breaker.admit():
            raise ModelProviderUnavailable(
                f"Model provider '{self.name}' failed several times in a row and is left alone for a moment.",
                details={"provider": self.name},
                retry_after_s=wait_s,
            )

    async def attempt(self, call: ModelCall) -> ModelAnswer:
        """One attempt that was admitted. Raises what the provider raises."""
        started = self._clock.monotonic()
        try:
            answer = await self.provider.complete(call)
        except (ModelProviderUnavailable, BadModelAnswer) as error:
            if not error.retryable:
                self._breaker.succeeded()
            elif self._breaker.failed():
                status = error.details.get("status")
                log.warning("model_provider_paused", provider=self.name, code=error.code, status=status)
            raise
        except UhlpError:
            self._breaker.succeeded()  # it answered: the request is at fault
            raise
        except BaseException:
            if self._clock.monotonic() - started < SLOW_S:
                self._breaker.abandoned()
            elif self._breaker.failed():
                log.warning("model_provider_paused", provider=self.name, code="TOO_SLOW", status=None)
            raise
        self._breaker.succeeded()
        return answer

    async def generation(self, call: ModelCall, answer: ModelAnswer, started: float) -> Generation:
        """`answer` with what it took; `started` is when the call began, in the clock's monotonic seconds."""
        latency_ms = answer.latency_ms
        if latency_ms is None:
            latency_ms = (self._clock.monotonic() - started) * 1000
        tokens_in, tokens_out, source = answer.tokens_in, answer.tokens_out, answer.usage_source
        if tokens_in is None or tokens_out is None:
            source = "estimated"
            tokens_in = estimated_tokens(*(message["content"] for message in call.messages))
            tokens_out = estimated_tokens(answer.text)
        cost_usd = answer.cost_usd
        if cost_usd is None:
            cost_usd = await self.prices.cost_usd(call.model, answer, tokens_in=tokens_in, tokens_out=tokens_out)
        return Generation(
            text=answer.text,
            model=call.model,
            provider=self.name,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            cost_usd=cost_usd,
            latency_ms=latency_ms,
            usage_source=source,
            is_truncated=answer.is_truncated,
        )


def estimated_tokens(*texts: str) -> int:
    """About four bytes make a token."""
    return sum(len(text.encode()) for text in texts) // 4 + 1

"""What a call costs: the provider's own `prices` first, then the public list of genai-prices, else unknown."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime

from uhlp.clock import Clock
from uhlp.llm.config import ModelPrice
from uhlp.llm.provider import ModelAnswer

Listed = Callable[[str, str, ModelAnswer, int, int, float], float]

_MOST_UNKNOWN = 10_000


class PriceBook:
    """Prices of one provider. `price_url` is where the public list knows it; None looks nothing up."""

    def __init__(self, *, prices: Mapping[str, ModelPrice], price_url: str | None, clock: Clock) -> None:
        self._prices = prices
        self._price_url = price_url
        self._clock = clock
        self._listed: Listed | None = None
        self._unknown: set[str] = set()

    async def prepare(self) -> None:
        """Load the public list, where it may be asked."""
        if self._price_url is not None and self._listed is None:
            self._listed = await asyncio.to_thread(_load_price_list)

    async def cost_usd(self, model: str, answer: ModelAnswer, *, tokens_in: int, tokens_out: int) -> float | None:
        """US dollars, or None when nobody knows: never 0 for want of a price."""
        if price := self._prices.get(model):
            return (tokens_in * price.input_usd_per_mtok + tokens_out * price.output_usd_per_mtok) / 1e6
        if self._price_url is None or model in self._unknown:
            return None
        await self.prepare()
        assert self._listed is not None  # noqa: S101  prepare has set it
        try:
            return self._listed(self._price_url, model, answer, tokens_in, tokens_out, self._clock.now())
        except (LookupError, ValueError):
            if len(self._unknown) < _MOST_UNKNOWN:
                self._unknown.add(model)
            return None


def _load_price_list() -> Listed:
    """Import the public list and let it build its index: 0.2 s, so in a thread."""
    from genai_prices import Usage, calc_price

    with suppress(LookupError):
        calc_price(Usage(), "any")

    def listed(url: str, model: str, answer: ModelAnswer, tokens_in: int, tokens_out: int, now: float) -> float:
        usage = Usage(
            input_tokens=tokens_in,
            cache_read_tokens=answer.cache_read_tokens,
            cache_write_tokens=answer.cache_write_tokens,
            output_tokens=tokens_out,
        )
        when = datetime.fromtimestamp(now, UTC)
        return float(calc_price(usage, model, provider_api_url=url, genai_request_timestamp=when).total_price)

    return listed

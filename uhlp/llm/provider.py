"""The port of model providers: one attempt at one call. A contract suite holds for every implementation."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from uhlp.llm.generation import Message, UsageSource


@dataclass(frozen=True, slots=True)
class ModelCall:
    """A request whose model is settled. `headers` go out with it and change nothing of what is asked."""

    messages: tuple[Message, ...]
    model: str
    parameters: Mapping[str, Any]
    replay_input: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """What one provider said. Token counts are None where it reports none.

    `tokens_in` holds the tokens read from and written to a prompt cache too, which are priced apart. `cost_usd` and
    `latency_ms` are given by recordings only.
    """

    text: str
    tokens_in: int | None = None
    tokens_out: int | None = None
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    is_truncated: bool = False
    usage_source: UsageSource = "provider"
    cost_usd: float | None = None
    latency_ms: float | None = None


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A provider's HTTP answer, read whole. `retry_after` is the header as it came."""

    status: int
    body: bytes
    retry_after: str | None = None


class Post(Protocol):
    """Sends one JSON body. Raises ModelProviderUnavailable when no answer comes."""

    async def __call__(self, url: str, headers: Mapping[str, str], body: bytes) -> HttpAnswer: ...


class ModelProvider(Protocol):
    """Speaks to one model provider. It neither retries nor keeps time: the gateway does."""

    name: str
    default_model: str
    price_url: str | None
    """Where a public price list finds the provider; None when its prices are the settings' alone."""

    async def complete(self, call: ModelCall) -> ModelAnswer:
        """One attempt. Raises ModelProviderUnavailable (worth repeating), BadModelAnswer (an answer that cannot be
        read), ModelRequestRefused (repeating will not help), NotRecorded. No error names a key."""
        ...

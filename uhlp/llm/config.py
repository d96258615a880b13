"""The models a server may use (settings `llm.*`)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic.alias_generators import to_camel

BaseUrl = Annotated[str, Field(pattern=r"^https?://[^\s/?#@][^\s?#@]*$")]
OPENAI_URL = "https://api.openai.com/v1"
ANTHROPIC_URL = "https://api.anthropic.com"


class _Settings(BaseModel):
    """Both spellings, `base_url` and `baseUrl`, are read."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class ModelPrice(_Settings):
    """US dollars for a million tokens."""

    input_usd_per_mtok: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Of what is sent."""

    output_usd_per_mtok: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Of what comes back."""


class _Provider(_Settings):
    default_model: str | None = None
    """Asked where nobody names a model."""

    models: tuple[str, ...] = ()
    """The models it may be asked for; any when empty. The first is its default where `default_model` names none."""

    prices: dict[str, ModelPrice] = {}
    """By model; others are looked up in a public price list, and are unknown when it lacks them."""


class OpenAiProvider(_Provider):
    """Anything that speaks POST {base_url}/chat/completions. Asks gpt-4.1-mini when no model is named."""

    kind: Literal["openai"]
    base_url: BaseUrl = OPENAI_URL
    """Where its API begins."""

    api_key: SecretStr | None = None
    """The key itself or `secret:NAME`."""


class AnthropicProvider(_Provider):
    """Anything that speaks POST {base_url}/v1/messages. Asks claude-haiku-4-5 when no model is named."""

    kind: Literal["anthropic"]
    base_url: BaseUrl = ANTHROPIC_URL
    """Where its API begins."""

    api_key: SecretStr | None = None
    """The key itself or `secret:NAME`."""


class ReplayProvider(_Provider):
    """Answers from a recording: a JSONL file of {input, output} or of the fields named here, or one that
    `llm.record` made, whose rows name their call.

    A row may also hold `model`, `tokens_in`, `tokens_out`, `cost_usd` and `latency_ms`.
    """

    kind: Literal["replay"]
    path: Path
    """The JSONL file."""

    input_field: str = "input"
    """Where a row has what was asked."""

    output_field: str = "output"
    """Where a row has what was answered."""


ProviderSettings = Annotated[OpenAiProvider | AnthropicProvider | ReplayProvider, Field(discriminator="kind")]


class LlmSettings(_Settings):
    """Which models a server may use. Without `default_provider` the first one is asked."""

    providers: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")], ProviderSettings] = {}
    """By name: where models are, and how to ask them."""

    default_provider: str | None = None
    """The name of one of `providers`."""

    default_model: str | None = None
    """For the default provider; a model may be written `provider/model` wherever one is named."""

    fallbacks: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Asked in this order where the first choice is down, for what is served: each `provider/model`, a provider, or a
    model of the default provider. An application's own `llm.fallbacks` replace them."""

    coder_model: str | None = None
    """Writes handlers; the default model when it is not given."""

    timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """For a call whose caller sets no limit."""

    attempts: Annotated[int, Field(ge=1, le=20)] = 4
    """How often one call is tried within its time."""

    backoff_s: Annotated[float, Field(gt=0)] = 0.25
    """The pause before the second attempt; it doubles, and is shortened by chance by up to a half."""

    breaker_failures: Annotated[int, Field(ge=1)] = 5
    """A provider that fails so often in a row is left alone."""

    breaker_pause_s: Annotated[float, Field(gt=0)] = 10.0
    """For so long; then one call decides whether it is asked again."""

    record: Path | None = None
    """A file that every answer of a provider is appended to; a provider of `kind: replay` plays it."""

    record_bytes: Annotated[int, Field(ge=0)] = 256 * 1024 * 1024
    """No more is recorded when the file is this large."""

    cache_bytes: Annotated[int, Field(ge=0)] = 64 * 1024 * 1024
    """What the answer caches of all applications may hold; an application turns its own on with `llm.cache`."""

    connections: Annotated[int, Field(ge=1)] = 512
    """Open at most, over all providers."""

    def with_environment(self, environment: Mapping[str, str]) -> "LlmSettings":
        """These settings and a provider for each of OPENAI_API_KEY, ANTHROPIC_API_KEY and OLLAMA_HOST.

        A provider that is configured under the same name (`openai`, `anthropic`, `ollama`) stays as it is, and what is
        configured stands before what is inferred.
        """
        inferred = providers_of_environment(environment)
        added = {name: provider for name, provider in inferred.items() if name not in self.providers}
        return self.model_copy(update={"providers": {**self.providers, **added}})


def providers_of_environment(environment: Mapping[str, str]) -> dict[str, ProviderSettings]:
    """The providers that well-known variables alone configure; OPENAI_BASE_URL and ANTHROPIC_BASE_URL are heeded."""
    found: dict[str, ProviderSettings] = {}
    if key := environment.get("OPENAI_API_KEY"):
        url = environment.get("OPENAI_BASE_URL") or OPENAI_URL
        found["openai"] = OpenAiProvider(kind="openai", base_url=url, api_key=SecretStr(key))
    if key := environment.get("ANTHROPIC_API_KEY"):
        url = environment.get("ANTHROPIC_BASE_URL") or ANTHROPIC_URL
        found["anthropic"] = AnthropicProvider(kind="anthropic", base_url=url, api_key=SecretStr(key))
    if host := environment.get("OLLAMA_HOST"):
        found["ollama"] = OpenAiProvider(kind="openai", base_url=ollama_url(host), default_model="llama3.2")
    return found


def ollama_url(host: str) -> str:
    """The OpenAI-compatible base URL of an OLLAMA_HOST: `127.0.0.1`, `host:11434` or a URL."""
    parts = urlsplit(host if "://" in host else f"http://{host}")
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(parts.hostname or "", parts.hostname or "127.0.0.1")  # noqa: S104  mapped away, not bound
    name = f"[{name}]" if ":" in name else name
    port = parts.port or (443 if parts.scheme == "https" else 11434)
    return f"{parts.scheme}://{name}:{port}{parts.path.rstrip('/')}/v1"

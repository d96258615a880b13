import pytest
from pydantic import ValidationError

from uhlp.clock import FakeClock
from uhlp.llm.config import LlmSettings, ModelPrice, ollama_url
from uhlp.llm.prices import PriceBook
from uhlp.llm.provider import ModelAnswer


def test_a_well_known_variable_alone_configures_a_provider() -> None:
    assert list(LlmSettings().with_environment({"OPENAI_API_KEY": "k"}).providers) == ["openai"]
    assert list(LlmSettings().with_environment({"ANTHROPIC_API_KEY": "k"}).providers) == ["anthropic"]
    ollama = LlmSettings().with_environment({"OLLAMA_HOST": "box"}).providers["ollama"]
    assert (ollama.kind, ollama.default_model) == ("openai", "llama3.2")


def test_an_empty_variable_configures_nothing() -> None:
    assert LlmSettings().with_environment({"OPENAI_API_KEY": "", "HOME": "/"}).providers == {}


def test_what_is_configured_stands_before_and_above_what_is_inferred() -> None:
    settings = LlmSettings.model_validate(
        {
            "providers": {
                "log": {"kind": "replay", "path": "x.jsonl"},
                "openai": {"kind": "openai", "baseUrl": "http://mine/v1"},
            }
        }
    )
    merged = settings.with_environment({"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k"})
    assert list(merged.providers) == ["log", "openai", "anthropic"]
    assert merged.providers["openai"] == settings.providers["openai"]


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:11434/v1"),
        ("box:9999", "http://box:9999/v1"),
        ("0.0.0.0", "http://127.0.0.1:11434/v1"),
        ("https://models.example/ollama/", "https://models.example:443/ollama/v1"),
        ("http://[::1]:11434", "http://[::1]:11434/v1"),
    ],
)
def test_an_ollama_host_becomes_a_base_url(host: str, url: str) -> None:
    assert ollama_url(host) == url


@pytest.mark.parametrize(
    "provider",
    [
        {"kind": "openai", "base_url": "ftp://x"},
        {"kind": "openai", "base_url": "http://user:pass@host/v1"},
        {"kind": "unheard-of"},
        {"kind": "replay"},
        {"kind": "openai", "token": "x"},
    ],
)
def test_settings_that_mean_nothing_are_refused(provider: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        LlmSettings.model_validate({"providers": {"p": provider}})


def test_a_key_is_masked_wherever_settings_are_printed() -> None:
    settings = LlmSettings().with_environment({"OPENAI_API_KEY": "sk-secret-value"})
    assert "sk-secret-value" not in repr(settings) + settings.model_dump_json()


async def test_the_public_list_prices_known_models_of_known_hosts_only() -> None:
    answer = ModelAnswer("text")

    async def cost(url: str | None, model: str, prices: dict[str, ModelPrice]) -> float | None:
        book = PriceBook(prices=prices, price_url=url, clock=FakeClock())
        return await book.cost_usd(model, answer, tokens_in=1_000_000, tokens_out=0)

    openai = "https://api.openai.com/v1"
    own = {"gpt-4.1-mini": ModelPrice(input_usd_per_mtok=3, output_usd_per_mtok=3)}
    assert (await cost(openai, "gpt-4.1-mini", {}) or 0) > 0
    assert (await cost("https://api.anthropic.com", "claude-haiku-4-5", {}) or 0) > 0
    assert await cost(openai, "no-such-model", {}) is None
    assert await cost("http://127.0.0.1:1/v1", "gpt-4.1-mini", {}) is None
    assert await cost(None, "gpt-4.1-mini", {}) is None
    assert await cost(openai, "gpt-4.1-mini", own) == 3

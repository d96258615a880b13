"""The Anthropic wire: POST {base_url}/v1/messages."""

from typing import Any

from uhlp import strict_json
from uhlp.clock import Clock
from uhlp.errors import BadModelAnswer
from uhlp.llm.config import AnthropicProvider
from uhlp.llm.provider import ModelAnswer, ModelCall, Post
from uhlp.llm.providers.wire import check_parameters, read_answer, token_count, without_text

DEFAULT_MODEL = "claude-haiku-4-5"
ANTHROPIC_VERSION = "2023-06-01"
DEFAULT_MAX_TOKENS = 4096
"""The wire demands a limit; `max_tokens` among the parameters sets another."""


class AnthropicMessages:
    """A provider on the Anthropic wire. System messages travel apart, as the wire has it."""

    def __init__(self, *, name: str, settings: AnthropicProvider, api_key: str, post: Post, clock: Clock) -> None:
        self.name = name
        self.default_model = settings.default_model or next(iter(settings.models), DEFAULT_MODEL)
        self.price_url: str | None = settings.base_url
        self._url = settings.base_url.rstrip("/") + "/v1/messages"
        self._api_key = api_key
        self._headers = {"Content-Type": "application/json", "anthropic-version": ANTHROPIC_VERSION}
        if api_key:
            self._headers["x-api-key"] = api_key
        self._post = post
        self._clock = clock

    async def complete(self, call: ModelCall) -> ModelAnswer:
        check_parameters(call.parameters)
        body = strict_json.dumps(_body(call))
        answer = await self._post(self._url, {**call.headers, **self._headers}, body)
        found = read_answer(answer, provider=self.name, api_key=self._api_key, now=self._clock.now())
        usage = found.get("usage")
        cache_read = token_count(usage, "cache_read_input_tokens") or 0
        cache_write = token_count(usage, "cache_creation_input_tokens") or 0
        tokens_in, tokens_out = token_count(usage, "input_tokens"), token_count(usage, "output_tokens")
        if tokens_in is not None:
            tokens_in += cache_read + cache_write
        text = self._text(found)
        if text is None:
            why = f"stop_reason {str(found.get('stop_reason'))[:60]!r}"
            raise without_text(self.name, why, tokens_in=tokens_in, tokens_out=tokens_out)
        return ModelAnswer(
            text=text,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            cache_read_tokens=cache_read,
            cache_write_tokens=cache_write,
            is_truncated=found.get("stop_reason") == "max_tokens",
        )

    def _text(self, found: dict[str, Any]) -> str | None:
        blocks = found.get("content")
        if not isinstance(blocks, list):
            raise BadModelAnswer(f"Model provider '{self.name}' answered without content.")
        found_texts = [block.get("text") for block in blocks if isinstance(block, dict) and block.get("type") == "text"]
        texts = [text for text in found_texts if isinstance(text, str)]
        return "".join(texts) if texts else None


def _body(call: ModelCall) -> dict[str, Any]:
    system = "\n\n".join(message["content"] for message in call.messages if message["role"] == "system")
    turns = [message for message in call.messages if message["role"] != "system"]
    if not turns:  # the wire demands a turn
        system, turns = "", [{"role": "user", "content": system}]
    body: dict[str, Any] = {"model": call.model, "max_tokens": DEFAULT_MAX_TOKENS, **call.parameters, "messages": turns}
    if system:
        body["system"] = system
    return body

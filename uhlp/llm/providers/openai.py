"""The OpenAI wire: POST {base_url}/chat/completions, spoken by OpenAI, Ollama, vLLM and many others."""

from typing import Any

from uhlp import strict_json
from uhlp.clock import Clock
from uhlp.errors import BadModelAnswer
from uhlp.llm.config import OpenAiProvider
from uhlp.llm.provider import ModelAnswer, ModelCall, Post
from uhlp.llm.providers.wire import check_parameters, read_answer, token_count, without_text

DEFAULT_MODEL = "gpt-4.1-mini"


class OpenAiChat:
    """A provider on the OpenAI wire. An empty `api_key` sends none."""

    def __init__(self, *, name: str, settings: OpenAiProvider, api_key: str, post: Post, clock: Clock) -> None:
        self.name = name
        self.default_model = settings.default_model or next(iter(settings.models), DEFAULT_MODEL)
        self.price_url: str | None = settings.base_url
        self._url = settings.base_url.rstrip("/") + "/chat/completions"
        self._api_key = api_key
        self._headers = {"Content-Type": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._post = post
        self._clock = clock

    async def complete(self, call: ModelCall) -> ModelAnswer:
        check_parameters(call.parameters)
        body = strict_json.dumps({"model": call.model, "messages": call.messages, **call.parameters})
        answer = await self._post(self._url, {**call.headers, **self._headers}, body)
        found = read_answer(answer, provider=self.name, api_key=self._api_key, now=self._clock.now())
        choice = self._first_choice(found)
        usage = found.get("usage")
        details = usage.get("prompt_tokens_details") if isinstance(usage, dict) else None
        text = self._text(choice)
        tokens_in, tokens_out = token_count(usage, "prompt_tokens"), token_count(usage, "completion_tokens")
        if text is None:
            why = f"finish_reason {str(choice.get('finish_reason'))[:60]!r}"
            raise without_text(self.name, why, tokens_in=tokens_in, tokens_out=tokens_out)
        return ModelAnswer(
            text=text,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            cache_read_tokens=token_count(details, "cached_tokens") or 0,
            is_truncated=choice.get("finish_reason") == "length",
        )

    def _first_choice(self, found: dict[str, Any]) -> dict[str, Any]:
        choices = found.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
            raise BadModelAnswer(f"Model provider '{self.name}' answered without choices[0].message.")
        return choice

    def _text(self, choice: dict[str, Any]) -> str | None:
        content = choice["message"].get("content")
        if isinstance(content, list):  # some servers answer in parts
            parts = [part.get("text") for part in content if isinstance(part, dict)]
            content = "".join(part for part in parts if isinstance(part, str))
        return content if isinstance(content, str) else None

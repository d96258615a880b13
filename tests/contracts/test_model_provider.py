"""What every model provider promises the gateway."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.llm.scripted_model_server import (
    Reply,
    ScriptedModelServer,
    anthropic_answer,
    openai_answer,
    scripted_model_server,
)
from uhlp.clock import FakeClock
from uhlp.errors import (
    BadModelAnswer,
    ModelProviderUnavailable,
    ModelRequestRefused,
    NotRecorded,
    UhlpError,
    ValidationFailed,
)
from uhlp.llm.config import AnthropicProvider, OpenAiProvider, ReplayProvider
from uhlp.llm.http import HttpClient
from uhlp.llm.provider import ModelCall, ModelProvider
from uhlp.llm.providers.anthropic import AnthropicMessages
from uhlp.llm.providers.openai import OpenAiChat
from uhlp.llm.providers.replay import RecordedAnswers

KEY = "sk-very-secret-key"
QUESTION = ModelCall(
    messages=({"role": "system", "content": "You sort."}, {"role": "user", "content": "Where is my card?"}),
    model="small-model",
    parameters={"temperature": 0},
    replay_input={"text": "Where is my card?"},
)


@pytest.fixture
async def server() -> AsyncIterator[ScriptedModelServer]:
    async with scripted_model_server() as server:
        yield server


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    client = HttpClient(connections=8)
    yield client
    await client.aclose()


Make = Callable[[str], ModelProvider]


@pytest.fixture
def make(server: ScriptedModelServer, http: HttpClient, tmp_path: Path) -> Make:
    """Makes a provider of a kind that knows the answer "hello", 11 tokens in and 7 out, to QUESTION."""
    recording = tmp_path / "recording.jsonl"
    row = {"input": QUESTION.replay_input, "output": "hello", "tokens_in": 11, "tokens_out": 7}
    recording.write_text(json.dumps(row) + "\n")

    def make(kind: str) -> ModelProvider:
        if kind == "replay":
            return RecordedAnswers(name="test", settings=ReplayProvider(kind="replay", path=recording))
        if kind == "openai":
            openai = OpenAiProvider(kind="openai", base_url=server.url + "/v1")
            return OpenAiChat(name="test", settings=openai, api_key=KEY, post=http.post, clock=FakeClock())
        anthropic = AnthropicProvider(kind="anthropic", base_url=server.url)
        return AnthropicMessages(name="test", settings=anthropic, api_key=KEY, post=http.post, clock=FakeClock())

    return make


every_provider = pytest.mark.parametrize("kind", ["openai", "anthropic", "replay"])
every_wire = pytest.mark.parametrize("kind", ["openai", "anthropic"])


@every_provider
async def test_an_answer_holds_text_and_tokens(kind: str, make: Make) -> None:
    answer = await make(kind).complete(QUESTION)
    assert (answer.text, answer.tokens_in, answer.tokens_out) == ("hello", 11, 7)
    assert not answer.is_truncated


@every_provider
def test_a_provider_has_a_name_and_a_default_model(kind: str, make: Make) -> None:
    provider = make(kind)
    assert provider.name == "test"
    assert provider.default_model


@every_provider
async def test_answers_do_not_depend_on_what_was_asked_before(kind: str, make: Make) -> None:
    provider = make(kind)
    assert await provider.complete(QUESTION) == await provider.complete(QUESTION)


@every_wire
async def test_the_wire_carries_model_messages_parameters_and_key(
    kind: str, make: Make, server: ScriptedModelServer
) -> None:
    await make(kind).complete(QUESTION)
    seen = server.seen[0]
    assert seen.body["model"] == "small-model"
    assert seen.body["temperature"] == 0
    if kind == "openai":
        assert seen.path == "/v1/chat/completions"
        assert seen.body["messages"] == list(QUESTION.messages)
        assert seen.headers["Authorization"] == f"Bearer {KEY}"
    else:
        assert seen.path == "/v1/messages"
        assert seen.body["system"] == "You sort."
        assert seen.body["messages"] == [{"role": "user", "content": "Where is my card?"}]
        assert seen.body["max_tokens"] > 0
        assert seen.headers["x-api-key"] == KEY
        assert seen.headers["anthropic-version"] == "2023-06-01"


@every_wire
async def test_what_a_call_brings_along_goes_out_and_replaces_no_header_of_the_providers(
    kind: str, make: Make, server: ScriptedModelServer
) -> None:
    await make(kind).complete(replace(QUESTION, headers={"traceparent": "00-1", "Content-Type": "text/plain"}))
    headers = server.seen[0].headers
    assert (headers["traceparent"], headers["Content-Type"]) == ("00-1", "application/json")


@every_provider
async def test_an_answer_does_not_depend_on_what_a_call_brings_along(kind: str, make: Make) -> None:
    provider = make(kind)
    assert await provider.complete(QUESTION) == await provider.complete(replace(QUESTION, headers={"traceparent": "x"}))


@every_wire
@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 529])
async def test_a_status_that_passes_is_unavailability(
    kind: str, status: int, make: Make, server: ScriptedModelServer
) -> None:
    server.script(Reply(status, body=b"<html>busy</html>"))
    with pytest.raises(ModelProviderUnavailable) as raised:
        await make(kind).complete(QUESTION)
    assert raised.value.retryable
    assert raised.value.details["status"] == status


@every_wire
@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("Sun, 15 Jun 2025 15:06:45 GMT", 5.0),
        ("-3", 0.0),
        ("99999999", 3600.0),
        ("soon", None),
        ("nan", None),
    ],
)
async def test_retry_after_is_heeded_as_seconds_or_as_a_date(
    kind: str, header: str, seconds: float | None, make: Make, server: ScriptedModelServer
) -> None:
    server.script(Reply(429, headers={"Retry-After": header}))
    with pytest.raises(ModelProviderUnavailable) as raised:
        await make(kind).complete(QUESTION)
    assert raised.value.retry_after_s == seconds


@every_wire
@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 422])
async def test_a_status_that_stays_is_a_refusal(
    kind: str, status: int, make: Make, server: ScriptedModelServer
) -> None:
    server.script(Reply(status, body={"error": {"message": "no such model"}}))
    with pytest.raises(ModelRequestRefused) as raised:
        await make(kind).complete(QUESTION)
    assert not raised.value.retryable
    assert str(status) in raised.value.message


@every_wire
@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"null", b"{}", b"\xff", b"<html>", b"[" * 100_000),
        b'{"choices": NaN}',
        b'{"choices": [], "content": 3}',
        b'{"error": {"message": "it broke"}}',
    ],
)
async def test_garbage_is_a_bad_answer(kind: str, body: bytes, make: Make, server: ScriptedModelServer) -> None:
    server.script(Reply(body=body))
    with pytest.raises(BadModelAnswer):
        await make(kind).complete(QUESTION)


@every_wire
async def test_a_dropped_connection_is_unavailability(kind: str, make: Make, server: ScriptedModelServer) -> None:
    server.script(Reply(drops=True))
    with pytest.raises(ModelProviderUnavailable):
        await make(kind).complete(QUESTION)


@every_wire
@pytest.mark.parametrize("status", [200, 400, 401, 429, 500])
async def test_no_error_names_the_key(kind: str, status: int, make: Make, server: ScriptedModelServer) -> None:
    server.script(Reply(status, body={"error": {"message": f"Incorrect API key provided: {KEY}."}}))
    with pytest.raises(UhlpError) as raised:
        await make(kind).complete(QUESTION)
    assert KEY not in json.dumps(raised.value.envelope())


@every_wire
async def test_parameters_cannot_change_what_is_asked(kind: str, make: Make) -> None:
    with pytest.raises(ValidationFailed, match="messages"):
        await make(kind).complete(ModelCall(QUESTION.messages, "m", {"messages": []}))


@every_wire
async def test_a_missing_usage_is_not_made_up(kind: str, make: Make, server: ScriptedModelServer) -> None:
    good = openai_answer("hi") if kind == "openai" else anthropic_answer("hi")
    server.script(Reply(body={**good, "usage": {"prompt_tokens": "many", "input_tokens": -1}}))
    answer = await make(kind).complete(QUESTION)
    assert (answer.tokens_in, answer.tokens_out) == (None, None)


@every_wire
async def test_an_answer_at_the_token_limit_is_truncated(kind: str, make: Make, server: ScriptedModelServer) -> None:
    openai, anthropic = openai_answer("hi", finish_reason="length"), anthropic_answer("hi", stop_reason="max_tokens")
    server.script(Reply(body=openai if kind == "openai" else anthropic))
    assert (await make(kind).complete(QUESTION)).is_truncated


@every_wire
async def test_an_answer_without_text_is_a_refusal(kind: str, make: Make, server: ScriptedModelServer) -> None:
    openai = openai_answer(None, finish_reason="content_filter")
    anthropic: dict[str, Any] = {**anthropic_answer(""), "content": [{"type": "tool_use"}], "stop_reason": "tool_use"}
    server.script(Reply(body=openai if kind == "openai" else anthropic))
    with pytest.raises(ModelRequestRefused, match="gave no text"):
        await make(kind).complete(QUESTION)


async def test_tokens_of_a_prompt_cache_count_as_input(make: Make, server: ScriptedModelServer) -> None:
    usage = {"input_tokens": 5, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 20, "output_tokens": 1}
    server.script(Reply(body={**anthropic_answer("hi"), "usage": usage}))
    answer = await make("anthropic").complete(QUESTION)
    assert (answer.tokens_in, answer.cache_read_tokens, answer.cache_write_tokens) == (125, 100, 20)


async def test_a_used_up_quota_is_a_refusal_although_it_is_a_429(make: Make, server: ScriptedModelServer) -> None:
    server.script(Reply(429, body={"error": {"code": "insufficient_quota", "message": "You exceeded your quota"}}))
    with pytest.raises(ModelRequestRefused, match="quota"):
        await make("openai").complete(QUESTION)


async def test_an_input_that_was_not_recorded_is_named_as_such(make: Make) -> None:
    with pytest.raises(NotRecorded, match=r"recording\.jsonl of 'test' has no such input"):
        await make("replay").complete(ModelCall(QUESTION.messages, "m", {}, replay_input={"text": "other"}))

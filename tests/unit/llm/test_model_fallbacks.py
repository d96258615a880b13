"""Where the first choice is down, what the settings or the application name next is asked."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.unit.llm.model_desk import ASK, Desk, Pauses
from tests.unit.llm.scripted_model_server import Reply, ScriptedModelServer, anthropic_answer, scripted_model_server
from uhlp.catalogue import models
from uhlp.errors import (
    BadModelAnswer,
    ModelProviderUnavailable,
    ModelRequestRefused,
    ModelTooSlow,
    NotRecorded,
)
from uhlp.llm import GenerateRequest

FELL_BACK = GenerateRequest(ASK.messages, fallbacks=None)
"""Asks as what is served does: with the settings' fallbacks."""


class Pair:
    """A gateway over `main` (OpenAI's wire), which fails as scripted, and `second` (Anthropic's), which answers."""

    def __init__(self, main: ScriptedModelServer, second: ScriptedModelServer, **settings: Any) -> None:
        self.main, self.second = main, second
        providers = {
            "main": {"kind": "openai", "base_url": main.url, "default_model": "m"},
            "second": {"kind": "anthropic", "base_url": second.url, "default_model": "s", "models": ["s", "t"]},
            "keyless": {"kind": "openai", "base_url": main.url, "api_key": "secret:ABSENT"},
        }
        self.settings = {"providers": providers, "fallbacks": ["second"], **settings}
        self.desk = Desk(main, self.settings)
        self.gateway = self.desk.gateway

    @property
    def pauses(self) -> Pauses:
        return self.desk.pauses


Make = Any


@pytest.fixture
async def pair_of() -> AsyncIterator[Make]:
    async with AsyncExitStack() as stack:
        main = await stack.enter_async_context(scripted_model_server())
        second = await stack.enter_async_context(scripted_model_server())
        second.script(*[Reply(body=anthropic_answer("from the second"))] * 20)

        def make(**settings: Any) -> Pair:
            pair = Pair(main, second, **settings)
            stack.push_async_callback(pair.gateway.aclose)
            return pair

        yield make


@pytest.mark.parametrize(
    "failing",
    [
        [Reply(500)] * 4,
        [Reply(drops=True)] * 4,
        [Reply(body=b"<html>busy</html>")],
        [Reply(body={"error": {"message": "overloaded"}})],
        [Reply(429, headers={"Retry-After": "600"})],
        [Reply(401)],
        [Reply(429, body={"error": {"code": "insufficient_quota"}})],
    ],
)
async def test_a_provider_that_is_down_is_stood_in_for(pair_of: Make, failing: list[Reply]) -> None:
    pair = pair_of()
    pair.main.script(*failing)
    generation = await pair.gateway.generate(FELL_BACK, timeout_s=30)
    assert (generation.text, generation.provider, generation.model) == ("from the second", "second", "s")
    assert len(pair.main.seen) == len(failing)
    assert pair.desk.meter.counts[models.MODEL_FALLBACKS.name, "main", "m"] == 1


async def test_a_slow_provider_leaves_its_fallback_half_of_the_time(pair_of: Make) -> None:
    pair = pair_of()
    pair.main.script(Reply(hangs=True))
    assert (await pair.gateway.generate(FELL_BACK, timeout_s=1.0)).provider == "second"


async def test_a_request_that_is_at_fault_goes_nowhere_else(pair_of: Make) -> None:
    pair = pair_of()
    pair.main.script(Reply(400))
    with pytest.raises(ModelRequestRefused):
        await pair.gateway.generate(FELL_BACK)
    assert pair.second.seen == []


async def test_an_open_breaker_passes_on_at_once_and_one_good_answer_closes_it(pair_of: Make) -> None:
    pair = pair_of(attempts=1)
    pair.main.script(*[Reply(500)] * 5)
    for _ in range(7):
        assert (await pair.gateway.generate(FELL_BACK)).provider == "second"
    assert (len(pair.main.seen), pair.pauses.asked) == (5, [])
    pair.desk.clock.advance(10)
    assert [(await pair.gateway.generate(FELL_BACK)).provider for _ in range(2)] == ["main", "main"]


async def test_an_open_breaker_is_not_waited_for(pair_of: Make) -> None:
    pair = pair_of(attempts=5)
    pair.main.script(*[Reply(500)] * 5)
    with pytest.raises(ModelProviderUnavailable, match="answered 500"):
        await pair.gateway.generate(ASK)
    pauses = len(pair.pauses.asked)
    with pytest.raises(ModelProviderUnavailable, match="left alone") as raised:
        await pair.gateway.generate(ASK)
    assert len(pair.pauses.asked) == pauses
    assert 0 < (raised.value.retry_after_s or 0) <= 10


@pytest.mark.parametrize(
    ("named", "asked"),
    [
        (("second/t",), ("second", "t")),
        (("other-model",), ("main", "other-model")),
        (("keyless", "nobody-has/this/second", "second"), ("main", "nobody-has/this/second")),
        (("second/unknown", "main", "second"), ("second", "s")),
    ],
)
async def test_an_application_names_its_own_and_what_cannot_be_asked_is_passed_over(
    pair_of: Make, named: tuple[str, ...], asked: tuple[str, str]
) -> None:
    pair = pair_of(attempts=1)
    pair.main.script(Reply(500))
    with capture_logs():
        generation = await pair.gateway.generate(replace(FELL_BACK, fallbacks=named))
    assert (generation.provider, generation.model) == asked


async def test_a_key_that_is_not_set_is_stood_in_for(pair_of: Make) -> None:
    pair = pair_of(default_provider="keyless")
    assert (await pair.gateway.generate(FELL_BACK)).provider == "second"


async def test_when_all_fail_the_last_ones_error_is_told(pair_of: Make) -> None:
    pair = pair_of(attempts=1)
    pair.main.script(Reply(500))
    pair.second.replies.clear()
    pair.second.script(Reply(body=b"?"))
    with pytest.raises(BadModelAnswer, match="'second'"):
        await pair.gateway.generate(FELL_BACK)


async def test_without_a_word_of_fallbacks_there_are_none(pair_of: Make) -> None:
    pair = pair_of(attempts=1)
    pair.main.script(Reply(500), Reply(hangs=True))
    with pytest.raises(ModelProviderUnavailable):
        await pair.gateway.generate(ASK)
    with pytest.raises(ModelTooSlow):
        await pair.gateway.generate(replace(ASK, fallbacks=()), timeout_s=0.05)
    assert pair.second.seen == []


async def test_what_a_recording_lacks_a_provider_answers(pair_of: Make, tmp_path: Any) -> None:
    recording = tmp_path / "log.jsonl"
    recording.write_text('{"input": {"a": 1}, "output": "recorded"}\n')
    pair = pair_of()
    providers = {**pair.settings["providers"], "log": {"kind": "replay", "path": str(recording)}}
    desk = Desk(pair.main, {**pair.settings, "providers": providers, "default_provider": "log"})
    try:
        known = await desk.gateway.generate(replace(FELL_BACK, replay_input={"a": 1}))
        other = await desk.gateway.generate(replace(FELL_BACK, replay_input={"a": 2}))
        with pytest.raises(NotRecorded):
            await desk.gateway.generate(replace(ASK, replay_input={"a": 2}))
    finally:
        await desk.gateway.aclose()
    assert (known.text, other.text) == ("recorded", "from the second")

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.shown_metrics import ShownMeter
from tests.unit.llm.model_desk import ASK, Desk, opened
from tests.unit.llm.scripted_model_server import Reply, openai_answer, scripted_model_server
from uhlp.catalogue import models
from uhlp.clock import FakeClock
from uhlp.errors import (
    BadModelAnswer,
    ModelProviderUnavailable,
    ModelRequestRefused,
    ModelTooSlow,
    NoModelProvider,
    NotRecorded,
    ValidationFailed,
)
from uhlp.llm import GenerateRequest, LlmSettings, ModelGateway
from uhlp.llm.circuit_breaker import CircuitBreaker
from uhlp.llm.instruments import ModelInstruments
from uhlp.metering import NullMeter


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with opened() as desk:
        yield desk


async def test_an_answer_says_who_gave_it_and_what_it_took(desk: Desk) -> None:
    generation = await desk.gateway.generate(ASK)
    assert (generation.text, generation.provider, generation.model) == ("hello", "main", "gpt-4.1-mini")
    assert (generation.tokens_in, generation.tokens_out, generation.usage_source) == (11, 7, "provider")


async def test_the_key_is_read_by_reference(desk: Desk) -> None:
    await desk.gateway.generate(ASK)
    assert desk.server.seen[0].headers["Authorization"] == "Bearer sk-secret-value"


async def test_without_a_provider_the_error_says_what_to_set() -> None:
    gateway = ModelGateway(settings=LlmSettings(), clock=FakeClock(), meter=NullMeter())
    with pytest.raises(NoModelProvider, match="OPENAI_API_KEY"):
        await gateway.generate(ASK)


async def test_a_key_that_is_not_set_is_named_by_its_reference() -> None:
    settings = LlmSettings.model_validate({"providers": {"main": {"kind": "openai", "api_key": "secret:ABSENT"}}})
    gateway = ModelGateway(settings=settings, clock=FakeClock(), meter=NullMeter())
    with pytest.raises(NoModelProvider, match="secret:ABSENT"):
        await gateway.generate(ASK)


async def test_an_unknown_provider_is_told_with_those_that_are_known(desk: Desk) -> None:
    with pytest.raises(NoModelProvider, match=r"'other'.*main"):
        await desk.gateway.generate(GenerateRequest(ASK.messages, provider="other"))


@pytest.mark.parametrize(
    ("request_model", "default_model", "provider_model", "asked"),
    [
        ("wanted", "default", "its-own", "wanted"),
        (None, "default", "its-own", "default"),
        (None, None, "its-own", "its-own"),
        (None, None, None, "gpt-4.1-mini"),
        ("main/wanted", None, None, "wanted"),
        ("vendor/wanted", None, None, "vendor/wanted"),
    ],
)
async def test_the_nearest_model_name_wins(
    request_model: str | None, default_model: str | None, provider_model: str | None, asked: str
) -> None:
    async with scripted_model_server() as server:
        provider = {"kind": "openai", "base_url": server.url, "default_model": provider_model}
        desk = Desk(server, {"providers": {"main": provider}, "default_model": default_model})
        await desk.gateway.generate(GenerateRequest(ASK.messages, model=request_model))
        await desk.gateway.aclose()
        assert server.seen[0].body["model"] == asked


async def test_a_model_outside_the_offered_ones_is_refused() -> None:
    async with scripted_model_server() as server:
        desk = Desk(server, {"providers": {"main": {"kind": "openai", "base_url": server.url, "models": ["small"]}}})
        assert (await desk.gateway.generate(ASK)).model == "small"
        with pytest.raises(ValidationFailed, match="'huge'"):
            await desk.gateway.generate(GenerateRequest(ASK.messages, model="huge"))
        await desk.gateway.aclose()


async def test_a_passing_failure_is_repeated_after_growing_pauses(desk: Desk) -> None:
    desk.server.script(Reply(500), Reply(drops=True), Reply(503))
    assert (await desk.gateway.generate(ASK)).text == "hello"
    first, second, third = desk.pauses.asked
    assert 0.125 <= first <= 0.25 <= second * 2
    assert second <= 0.5
    assert 0.5 <= third <= 1.0
    assert desk.meter.counts["uhlp_model_retries_total", "main", "gpt-4.1-mini"] == 3


async def test_retry_after_lengthens_the_pause(desk: Desk) -> None:
    desk.server.script(Reply(429, headers={"Retry-After": "3"}))
    await desk.gateway.generate(ASK, timeout_s=30)
    assert desk.pauses.asked == [3.0]


async def test_a_pause_beyond_the_time_limit_is_left_to_the_caller(desk: Desk) -> None:
    desk.server.script(Reply(429, headers={"Retry-After": "40"}))
    with pytest.raises(ModelProviderUnavailable) as raised:
        await desk.gateway.generate(ASK, timeout_s=30)
    assert raised.value.retry_after_s == 40
    assert desk.pauses.asked == []


async def test_attempts_are_counted_and_end(desk: Desk) -> None:
    desk.server.script(*[Reply(500)] * 4)
    with pytest.raises(ModelProviderUnavailable) as raised:
        await desk.gateway.generate(ASK)
    assert raised.value.retry_after_s is not None
    assert len(desk.server.seen) == 4


@pytest.mark.parametrize(
    ("reply", "error"),
    [(Reply(400), ModelRequestRefused), (Reply(401), ModelRequestRefused), (Reply(body=b"{"), BadModelAnswer)],
)
async def test_what_repeating_cannot_help_is_not_repeated(desk: Desk, reply: Reply, error: type[Exception]) -> None:
    desk.server.script(reply)
    with pytest.raises(error):
        await desk.gateway.generate(ASK)
    assert len(desk.server.seen) == 1


async def test_a_slow_provider_is_given_up_at_the_limit(desk: Desk) -> None:
    desk.server.script(Reply(hangs=True))
    with pytest.raises(ModelTooSlow, match="'main' did not answer within"):
        await desk.gateway.generate(ASK, timeout_s=0.05)


async def test_five_failures_in_a_row_open_the_breaker_and_one_good_probe_closes_it() -> None:
    async with opened(attempts=1) as desk:
        desk.server.script(*[Reply(500)] * 6)
        for _ in range(5):
            with pytest.raises(ModelProviderUnavailable, match="answered 500"):
                await desk.gateway.generate(ASK)
        with pytest.raises(ModelProviderUnavailable, match="left alone") as raised:
            await desk.gateway.generate(ASK)
        assert 9 <= (raised.value.retry_after_s or 0) <= 10
        assert len(desk.server.seen) == 5

        desk.clock.advance(10)
        with pytest.raises(ModelProviderUnavailable, match="answered 500"):
            await desk.gateway.generate(ASK)
        with pytest.raises(ModelProviderUnavailable, match="left alone"):
            await desk.gateway.generate(ASK)

        desk.clock.advance(10)
        for _ in range(3):
            assert (await desk.gateway.generate(ASK)).text == "hello"
        assert desk.meter.counts[models.BREAKER_OPENINGS.name, "main"] == 2


async def test_whether_the_breaker_is_open_is_shown() -> None:
    meter, clock = ShownMeter(), FakeClock()
    breaker = CircuitBreaker(clock=clock, instruments=ModelInstruments(meter=meter).breaker_of("main"))
    shown = [meter.series(models.BREAKER_OPEN)["main",]]
    for _ in range(5):
        breaker.failed()
    shown.append(meter.series(models.BREAKER_OPEN)["main",])
    clock.advance(10)
    assert breaker.admit() == 0
    shown.append(meter.series(models.BREAKER_OPEN)["main",])
    breaker.succeeded()
    shown.append(meter.series(models.BREAKER_OPEN)["main",])
    assert shown == [0, 1, 1, 0]


async def test_garbage_opens_the_breaker_too() -> None:
    async with opened(attempts=1) as desk:
        desk.server.script(*[Reply(body=b"<html>")] * 5)
        for _ in range(5):
            with pytest.raises(BadModelAnswer):
                await desk.gateway.generate(ASK)
        with pytest.raises(ModelProviderUnavailable, match="left alone"):
            await desk.gateway.generate(ASK)


async def test_refused_requests_and_short_limits_do_not_open_the_breaker() -> None:
    async with opened(attempts=1) as desk:
        desk.server.script(*[Reply(400)] * 6, *[Reply(hangs=True)] * 6)
        for _ in range(6):
            with pytest.raises(ModelRequestRefused):
                await desk.gateway.generate(ASK)
        for _ in range(6):
            with pytest.raises(ModelTooSlow):
                await desk.gateway.generate(ASK, timeout_s=0.01)
        desk.server.replies.clear()  # what gave up before it was heard left its reply
        assert (await desk.gateway.generate(ASK)).text == "hello"


@pytest.mark.parametrize(
    ("prices", "cost"),
    [({"m": {"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 10.0}}, 11e-6 + 70e-6), ({}, None)],
)
async def test_a_price_is_the_settings_or_unknown_but_never_free(prices: dict[str, Any], cost: float | None) -> None:
    async with scripted_model_server() as server:
        desk = Desk(server, {"providers": {"main": {"kind": "openai", "base_url": server.url, "prices": prices}}})
        request = GenerateRequest(ASK.messages, model="m")
        generation = await desk.gateway.generate(request)
        asked_before = await desk.gateway.price_usd(request, tokens_in=11, tokens_out=7)
        nobody = await desk.gateway.price_usd(GenerateRequest((), provider="nobody"), tokens_in=1, tokens_out=1)
        await desk.gateway.aclose()
        assert generation.cost_usd == (None if cost is None else pytest.approx(cost))
        assert asked_before == generation.cost_usd
        assert nobody is None


async def test_an_answer_without_usage_is_estimated_and_says_so(desk: Desk) -> None:
    desk.server.script(Reply(body={**openai_answer("four"), "usage": None}))
    generation = await desk.gateway.generate(ASK)
    assert generation.usage_source == "estimated"
    assert generation.tokens_in > 0


async def test_requests_tokens_and_cost_are_counted_by_provider_and_model(desk: Desk) -> None:
    await desk.gateway.generate(GenerateRequest(ASK.messages, model="m"))
    counts = desk.meter.counts
    assert counts["uhlp_model_requests_total", "main", "m", "ok"] == 1
    assert counts["uhlp_model_tokens_total", "main", "m", "in"] == 11
    assert counts["uhlp_model_tokens_total", "main", "m", "out"] == 7


async def test_neither_logs_nor_errors_hold_the_key_or_the_question(desk: Desk) -> None:
    desk.server.script(*[Reply(500, body={"error": {"message": "key sk-secret-value is odd"}})] * 5)
    with capture_logs() as logs, pytest.raises(ModelProviderUnavailable) as raised:
        await desk.gateway.generate(ASK)
    told = json.dumps([logs, raised.value.envelope()])
    assert "sk-secret-value" not in told
    assert "Where is my card?" not in told


async def test_a_recording_answers_by_named_fields_with_recorded_or_estimated_figures(tmp_path: Path) -> None:
    recording = tmp_path / "log.jsonl"
    rows = [
        {"text": "Where is it?", "label": "arrival", "latency_ms": 812.5, "tokens_in": 40, "tokens_out": 3},
        {"text": "Why?", "label": {"desk": "b"}},
    ]
    recording.write_text("\n".join(map(json.dumps, rows)))
    provider = {"kind": "replay", "path": str(recording), "inputField": "text", "outputField": "label"}
    gateway = ModelGateway(
        settings=LlmSettings.model_validate({"providers": {"log": provider}}), clock=FakeClock(), meter=NullMeter()
    )

    first = await gateway.generate(GenerateRequest(ASK.messages, replay_input={"text": "Where is it?"}))
    assert (first.text, first.latency_ms, first.tokens_in, first.usage_source) == ("arrival", 812.5, 40, "recorded")
    second = await gateway.generate(GenerateRequest(ASK.messages, replay_input="Why?"))
    assert (second.text, second.usage_source, second.cost_usd) == ('{"desk":"b"}', "estimated", None)
    with pytest.raises(NotRecorded):
        await gateway.generate(GenerateRequest(ASK.messages, replay_input={"text": "Never asked"}))


@pytest.mark.parametrize("text", [None, "not json", '{"input": 1}', "[1]"])
async def test_a_recording_that_cannot_be_used_says_why(tmp_path: Path, text: str | None) -> None:
    recording = tmp_path / "log.jsonl"
    if text is not None:
        recording.write_text(text)
    settings = LlmSettings.model_validate({"providers": {"log": {"kind": "replay", "path": str(recording)}}})
    gateway = ModelGateway(settings=settings, clock=FakeClock(), meter=NullMeter())
    with pytest.raises(ValidationFailed, match=r"log\.jsonl.*(line 1|No such file)"):
        await gateway.generate(ASK)

"""What was recorded is played again, and holds no secrets."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.unit.llm.model_desk import Desk
from tests.unit.llm.scripted_model_server import Reply, openai_answer, scripted_model_server
from uhlp.clock import FakeClock
from uhlp.errors import NotRecorded
from uhlp.llm import CassetteRecorder, GenerateRequest, LlmSettings, ModelGateway
from uhlp.llm.generation import Generation
from uhlp.llm.provider import ModelCall
from uhlp.metering import NullMeter

KEY = "sk-ant-a1b2c3d4e5f6g7h8i9"


def ask(content: str, **more: Any) -> GenerateRequest:
    return GenerateRequest(({"role": "user", "content": content},), **more)


def player(path: Path) -> ModelGateway:
    settings = LlmSettings.model_validate({"providers": {"tape": {"kind": "replay", "path": str(path)}}})
    return ModelGateway(settings=settings, clock=FakeClock(), meter=NullMeter())


async def record(path: Path, requests: list[GenerateRequest], answers: list[str]) -> list[Generation]:
    """What a scripted model answers, each answer recorded."""
    recorder = CassetteRecorder(path=path, most_bytes=1_000_000)
    async with scripted_model_server() as server:
        desk = Desk(server, {}, recorder=recorder)
        server.script(*[Reply(body=openai_answer(text)) for text in answers])
        generations = [await desk.gateway.generate(request) for request in requests]
        await desk.gateway.aclose()
    await recorder.run_cycle()
    return generations


async def test_every_call_is_played_with_its_text_and_what_it_took(tmp_path: Path) -> None:
    requests = [
        ask("Why?", model="m", replay_input={"n": 1}),
        ask("Why?", model="m", parameters={"temperature": 1}, replay_input={"n": 1}),
        ask("Why?", model="other", replay_input={"n": 1}),
        ask("How?", model="m"),
    ]
    recorded = await record(tmp_path / "tape.jsonl", requests, ["one", "two", "three", "four"])
    tape = player(tmp_path / "tape.jsonl")
    played = [await tape.generate(request) for request in requests]
    assert [one.text for one in played] == ["one", "two", "three", "four"]
    assert [(one.tokens_in, one.tokens_out, one.model) for one in played] == [
        (one.tokens_in, one.tokens_out, one.model) for one in recorded
    ]
    assert {one.usage_source for one in played} == {"recorded"}


async def test_a_model_that_was_not_recorded_is_played_by_the_one_that_was(tmp_path: Path) -> None:
    await record(tmp_path / "tape.jsonl", [ask("Why?", model="m")], ["because"])
    assert (await player(tmp_path / "tape.jsonl").generate(ask("Why?"))).text == "because"


async def test_another_question_was_not_recorded_whatever_its_input(tmp_path: Path) -> None:
    await record(tmp_path / "tape.jsonl", [ask("Why?", replay_input={"n": 1})], ["because"])
    with pytest.raises(NotRecorded, match="among its 1"):
        await player(tmp_path / "tape.jsonl").generate(ask("Why not?", replay_input={"n": 1}))


async def test_a_cassette_holds_no_secrets_and_is_its_owners_alone(tmp_path: Path) -> None:
    tape = tmp_path / "tape.jsonl"
    pem = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\n-----END PRIVATE KEY-----"
    request = ask(f"My key is {KEY}", replay_input={KEY: [f"{KEY}!", pem]})
    await record(tape, [request], [f"Your keys are {KEY} and sk-secret-value."])
    written = tape.read_text()
    assert "Your keys are *** and ***." in written
    for secret in (KEY, "sk-secret-value", "MIIEvQIBADANBg"):
        assert secret not in written
    assert stat.S_IMODE(tape.stat().st_mode) == 0o600
    assert "***" in (await player(tape).generate(request)).text


async def test_recording_goes_on_behind_what_was_recorded_before(tmp_path: Path) -> None:
    await record(tmp_path / "tape.jsonl", [ask("one")], ["1"])
    await record(tmp_path / "tape.jsonl", [ask("two")], ["2"])
    tape = player(tmp_path / "tape.jsonl")
    assert [(await tape.generate(ask(word))).text for word in ("one", "two")] == ["1", "2"]


@pytest.mark.parametrize(("path", "most_bytes"), [("absent/tape.jsonl", 1_000_000), ("tape.jsonl", 10)])
async def test_what_cannot_be_recorded_is_told_once_and_stops_nothing(
    tmp_path: Path, path: str, most_bytes: int
) -> None:
    recorder = CassetteRecorder(path=tmp_path / path, most_bytes=most_bytes)
    call = ModelCall(({"role": "user", "content": "Why?"},), "m", {})
    with capture_logs() as logs:
        for _ in range(3):
            recorder.note(call, Generation("because", "m", "main", 1, 1, None, 1.0))
            await recorder.run_cycle()
    assert [one["event"] for one in logs] == ["model_calls_not_recorded"]
    assert not (tmp_path / path).exists() or (tmp_path / path).read_bytes() == b""


async def test_a_recording_is_not_recorded(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(json.dumps({"input": 1, "output": "x"}) + "\n")
    settings = LlmSettings.model_validate(
        {"providers": {"log": {"kind": "replay", "path": str(tmp_path / "log.jsonl")}}}
    )
    recorder = CassetteRecorder(path=tmp_path / "tape.jsonl", most_bytes=1000)
    gateway = ModelGateway(settings=settings, clock=FakeClock(), meter=NullMeter(), recorder=recorder)
    await gateway.generate(ask("?", replay_input=1))
    await recorder.run_cycle()
    assert not (tmp_path / "tape.jsonl").exists()


async def test_a_word_in_place_of_a_key_spoils_no_answer(tmp_path: Path) -> None:
    recorder = CassetteRecorder(path=tmp_path / "tape.jsonl", most_bytes=1_000_000)
    recorder.hide("simulated")
    recorder.note(
        ModelCall(({"role": "user", "content": "Who?"},), "m", {}),
        Generation("a simulated model", "m", "main", 1, 1, None, 1.0),
    )
    await recorder.run_cycle()
    assert (await player(tmp_path / "tape.jsonl").generate(ask("Who?"))).text == "a simulated model"

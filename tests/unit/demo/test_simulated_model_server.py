import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from jinja2 import Template

from tests.unit.demo.written_handlers import task_for
from uhlp import authoring
from uhlp.clock import FakeClock, SystemClock
from uhlp.demo.simulated_model import Faults, SimulatedModel, SimulatedModelServer
from uhlp.demo.simulated_model.simulated_model import Question
from uhlp.errors import ValidationFailed
from uhlp.llm import GenerateRequest, LlmSettings, ModelGateway
from uhlp.metering import NullMeter
from uhlp.optimization.jit.specification import write_specification
from uhlp.prompts import parse_prompt

AMOUNT = "You read an amount of money in cents.\nAmount as written: 12,50 EUR"
NOTES = (
    "Write a summary of a support case.\nCase notes:\nMs Tanaka reports that the headset came without the screws. "
    "We asked for photos. Order 321391; the customer asks for a call."
)


@asynccontextmanager
async def serving(**model: Any) -> AsyncIterator[str]:
    server = SimulatedModelServer(model=SimulatedModel(**model), clock=FakeClock())
    async with server.listening() as url:
        yield url


def chat(prompt: str, *, model: str = "simulated-small", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": prompt}], **more}


async def ask(url: str, body: Any, path: str = "/v1/chat/completions") -> httpx.Response:
    async with httpx.AsyncClient(base_url=url) as client:
        return await client.post(path, json=body)


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
async def test_the_gateway_is_answered_on_both_wires(wire: str) -> None:
    async with serving() as url:
        base_url = f"{url}/v1" if wire == "openai" else url
        settings = LlmSettings.model_validate({"providers": {"simulated": {"kind": wire, "base_url": base_url}}})
        gateway = ModelGateway(settings=settings, clock=SystemClock(), meter=NullMeter())
        request = GenerateRequest(messages=({"role": "user", "content": AMOUNT},), model="simulated-small")
        generation = await gateway.generate(request, timeout_s=5)
        await gateway.aclose()
    assert json.loads(generation.text) == {"amountCents": 1250, "currency": "EUR"}
    assert generation.usage_source == "provider"
    assert (generation.tokens_in, generation.tokens_out) == (-(-len(AMOUNT) // 4), -(-len(generation.text) // 4))


async def test_the_coder_writes_a_handler_over_the_wire_and_the_small_model_does_not() -> None:
    specification = write_specification(task_for([({"text": f"{n} kg"}, {"n": n}) for n in range(30)], {}))
    async with serving() as url:
        written = (await ask(url, chat(specification, model="simulated-coder"))).json()
        refused = (await ask(url, chat(specification))).json()
    assert "def handle" in json.loads(written["choices"][0]["message"]["content"])["code"]
    assert "simulated-coder" in refused["choices"][0]["message"]["content"]


async def test_it_names_models_that_say_they_are_simulated() -> None:
    async with serving() as url, httpx.AsyncClient(base_url=url) as client:
        models = (await client.get("/v1/models")).json()["data"]
    assert all(model["id"].startswith("simulated-") for model in models)


@pytest.mark.parametrize(
    ("asked", "handler", "answers"),
    [
        ("gpt-9", False, "simulated-small"),
        ("gpt-9", True, "simulated-coder"),
        ("big-Coder-7b", False, "simulated-coder"),
        ("simulated-small", True, "simulated-small"),
    ],
)
async def test_a_model_of_any_name_is_played_and_the_answer_says_by_which(
    asked: str, handler: bool, answers: str
) -> None:
    specification = write_specification(task_for([({"text": f"{n} kg"}, {"n": n}) for n in range(30)], {}))
    async with serving() as url:
        answer = await ask(url, chat(specification if handler else AMOUNT, model=asked))
    assert (answer.status_code, answer.json()["model"]) == (200, answers)


@pytest.mark.parametrize(
    ("subject", "text", "queue"),
    [
        ("Charged twice", "My invoice shows the same payment two times.", "billing"),
        ("Where is it?", "The parcel should have arrived last Tuesday.", "shipping"),
        ("App crashes", "The app closes as soon as I open the settings.", "technical"),
        ("Good morning", "Do you open on Sundays?", "other"),
    ],
)
async def test_the_starter_application_s_prompt_is_understood(subject: str, text: str, queue: str) -> None:
    folder = Path(authoring.__file__).parent / "templates" / "tickets" / "prompts" / "classify-ticket.yaml"
    prompt = parse_prompt(folder.read_bytes(), path="prompts/classify-ticket.yaml")
    rendered = Template(prompt.text).render(subject=subject, text=text)
    reply = await SimulatedModel().reply(Question("any", (("user", rendered),)))
    assert json.loads(reply.text) == {"queue": queue}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize(
    ("body", "status"),
    [
        ([], 400),
        ({"model": "simulated-small"}, 400),
        ({"model": "simulated-small", "max_tokens": 9, "messages": [{"role": "user", "content": 7}]}, 400),
        ({"model": "simulated-small", "max_tokens": 0, "messages": [{"role": "user", "content": "x"}]}, 400),
        ({"model": "simulated-small", "max_tokens": 9, "stream": True, "messages": [{"role": "user"}]}, 400),
    ],
)
async def test_requests_that_are_none_are_refused_in_the_wires_own_form(path: str, body: Any, status: int) -> None:
    async with serving() as url:
        answer = await ask(url, body, path)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


async def test_two_servers_with_one_seed_answer_alike_and_the_next_ask_differs() -> None:
    def question() -> Question:
        return Question("simulated-small", (("user", NOTES),))

    runs = []
    for seed in (1, 1, 2):
        model = SimulatedModel(seed=seed, latency_ms=250)
        runs.append([await model.reply(question()) for _ in range(4)])
    assert runs[0] == runs[1] != runs[2]
    assert len({reply.text for reply in runs[0]}) > 1


async def test_latency_is_spread_around_the_median_and_grows_with_the_answer() -> None:
    model = SimulatedModel(latency_ms=200)
    waits = [
        (await model.reply(Question("simulated-small", (("user", f"{AMOUNT} {n}"),)))).latency_s for n in range(400)
    ]
    middle, high = sorted(waits)[200], sorted(waits)[380]
    assert 0.18 < middle < 0.25
    assert 1.5 < high / middle < 2.2


async def test_noise_replaces_its_share_of_answers_by_plausible_ones() -> None:
    model = SimulatedModel(noise=0.2)
    prompts = [f"amount of money in cents\nAmount as written: {n}.00 EUR" for n in range(500)]
    answers = [json.loads((await model.reply(Question("simulated-small", (("user", each),)))).text) for each in prompts]
    wrong = sum(answer["amountCents"] != n * 100 for n, answer in enumerate(answers))
    assert 70 <= wrong <= 130


async def test_faults_come_in_their_shares() -> None:
    faults = Faults.of({"429": 0.2, "500": 0.1, "mangled": 0.1})
    model = SimulatedModel(faults=faults)
    drawn = [(await model.reply(Question("simulated-small", (("user", f"{n}"),)))).fault for n in range(1000)]
    assert 160 <= drawn.count("429") <= 240
    assert 70 <= drawn.count("500") <= 130
    assert 70 <= drawn.count("mangled") <= 130


@pytest.mark.parametrize("shares", [{"429": 2}, {"teapot": 0.1}, {"500": float("nan")}, {"429": 0.6, "500": 0.6}])
def test_a_fault_that_is_none_is_refused(shares: dict[str, float]) -> None:
    with pytest.raises(ValidationFailed):
        Faults.of(shares)


async def test_each_fault_looks_as_it_does_at_a_real_provider() -> None:
    async with serving(faults=Faults.of({"429": 1})) as url:
        limited = await ask(url, chat(AMOUNT))
    async with serving(faults=Faults.of({"500": 1})) as url:
        failed = await ask(url, chat(AMOUNT))
    async with serving(faults=Faults.of({"garbage": 1})) as url:
        garbage = await ask(url, chat(AMOUNT))
    async with serving(faults=Faults.of({"mangled": 1})) as url:
        mangled = await ask(url, chat(AMOUNT))
    assert (limited.status_code, limited.headers["retry-after"]) == (429, "1")
    assert failed.status_code == 500
    with pytest.raises(json.JSONDecodeError):
        garbage.json()
    with pytest.raises(json.JSONDecodeError):
        json.loads(mangled.json()["choices"][0]["message"]["content"])


@pytest.mark.parametrize("kind", ["drop", "half"])
async def test_a_connection_may_end_before_the_answer_does(kind: str) -> None:
    async with serving(faults=Faults.of({kind: 1})) as url:
        with pytest.raises(httpx.RemoteProtocolError):
            await ask(url, chat(AMOUNT))


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_an_answer_may_be_none_with_status_200(path: str) -> None:
    question = chat(AMOUNT, max_tokens=50)
    async with serving(faults=Faults.of({"page": 1})) as url:
        page = await ask(url, question, path)
    async with serving(faults=Faults.of({"error": 1})) as url:
        error = await ask(url, question, path)
    assert (page.status_code, page.headers["content-type"].partition(";")[0]) == (200, "text/html")
    assert (error.status_code, error.json()["error"]["message"]) == (200, "simulated error")


async def test_faults_are_changed_while_it_runs() -> None:
    async with serving() as url, httpx.AsyncClient(base_url=url) as client:
        assert (await client.put("/faults", json={"500": 1})).json() == {"500": 1}
        failed = await ask(url, chat(AMOUNT))
        for shares in ({"teapot": 1}, {"500": "all"}, [1]):
            assert (await client.put("/faults", json=shares)).status_code == 400
        still = await ask(url, chat(AMOUNT))
        await client.put("/faults", json={"schema": 1})
        odd = (await ask(url, chat(AMOUNT))).json()["choices"][0]["message"]["content"]
        await client.put("/faults", json={})
        well = await ask(url, chat(AMOUNT))
    assert (failed.status_code, still.status_code, well.status_code) == (500, 500, 200)
    assert "simulated" in json.loads(odd)


async def test_a_hanging_answer_ends_with_the_server() -> None:
    async with serving(faults=Faults.of({"timeout": 1})) as url:
        asking = asyncio.create_task(ask(url, chat(AMOUNT)))
        done, _ = await asyncio.wait([asking], timeout=0.2)
        assert not done
    with pytest.raises(httpx.HTTPError):
        await asking


async def test_an_unknown_task_gets_an_answer_of_the_schema_asked_for() -> None:
    schema = {
        "type": "object",
        "properties": {"mood": {"enum": ["good", "bad"]}, "score": {"type": "integer", "minimum": 3, "maximum": 5}},
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    async with serving() as url:
        by_format, again, by_prompt = [
            (await ask(url, body)).json()["choices"][0]["message"]["content"]
            for body in (
                chat("How are you?", response_format=wanted),
                chat("How are you?", response_format=wanted),
                chat(f"Answer by this schema: {json.dumps(schema)}"),
            )
        ]
    assert by_format == again
    for text in (by_format, by_prompt):
        value = json.loads(text)
        assert value["mood"] in ("good", "bad")
        assert 3 <= value["score"] <= 5


async def test_an_answer_stops_at_the_token_limit() -> None:
    async with serving() as url:
        answer = (await ask(url, chat(NOTES, max_tokens=5))).json()
        message = (await ask(url, chat(NOTES, max_tokens=5), "/v1/messages")).json()
    assert (answer["choices"][0]["finish_reason"], answer["usage"]["completion_tokens"]) == ("length", 5)
    assert (message["stop_reason"], message["usage"]["output_tokens"]) == ("max_tokens", 5)

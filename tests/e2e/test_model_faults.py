"""The model provider is down, slow, busy or answers nonsense: handlers go on, the rest says when to come back."""

import json
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.applications import APP, BILLING, PARCEL, SHIPPING, TICKET, desk
from tests.e2e.model import Model
from tests.e2e.server import Server, wait_until
from tests.unit.llm.scripted_model_server import Reply, openai_answer

PAUSE_S = 0.5
PROMPT = """\
description: Sorts a ticket into a queue.
template: |
  Sort the support ticket into one queue: billing, shipping, technical or other.
  Answer with JSON only: {"queue": "..."}.

  # Ticket
  {{ text }}
outputFormat: json
outputSchema:
  type: object
  properties: {queue: {enum: [billing, shipping, technical, other]}}
  required: [queue]
"""
OPENING = {"500": 503, "429": 503, "drop": 503, "half": 503, "page": 502, "error": 502, "garbage": 502, "huge": 502}
"""Faults that count against the provider, with what is answered before its breaker opens."""
ANSWERED = ("mangled", "schema")
"""Faults of the model within good answers of its provider."""


class Provider:
    """A simulated model in a process of its own, whose faults are set while it runs."""

    def __init__(self, folder: Path) -> None:
        command = (sys.executable, "-m", "uhlp", "simulate-model", "--port", "{port}", "--latency-ms", "0")
        self.server = Server(folder, command=command)

    def fails(self, **shares: float) -> None:
        kinds = {kind.removeprefix("_"): share for kind, share in shares.items()}
        httpx.put(f"{self.server.url}/faults", json=kinds, trust_env=False).raise_for_status()

    @property
    def settings(self) -> dict[str, Any]:
        prices = {"simulated-small": {"inputUsdPerMtok": 1.0, "outputUsdPerMtok": 1.0}}
        return {"kind": "openai", "baseUrl": f"{self.server.url}/v1", "models": ["simulated-small"], "prices": prices}


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    provider = Provider(tmp_path_factory.mktemp("provider") / "model")
    provider.server.launch()
    wait_until(lambda: provider.server.answers("/v1/models"), "the simulated model answers", 30.0)
    yield provider
    provider.server.stop()
    provider.server.http.close()


def environment(provider: Provider, **llm: Any) -> dict[str, str]:
    settings = {
        "providers": {"simulated": provider.settings},
        "attempts": 1,
        "backoff_s": 0.02,
        "breaker_pause_s": PAUSE_S,
        **llm,
    }
    return {"UHLP_LLM": json.dumps(settings)}


def application(app_id: str = APP, *, timeout_ms: int = 2000, **more: Any) -> dict[str, Any]:
    """/classify asks the model, /sort runs a handler first."""
    made = desk(app_id, **more)
    made["files"]["prompts/classify.yaml"] = PROMPT
    registry = json.loads(made["files"]["component_registry.yaml"])
    for component in registry["components"]:
        component["timeoutMs"] = timeout_ms
    made["files"]["component_registry.yaml"] = json.dumps(registry)
    return made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, provider: Provider) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("faults") / "data", environment=environment(provider)) as server:
        server.administer("POST", "/apps", application())
        server.administer("POST", "/apps", application("patient", timeout_ms=6500))
        yield server


@pytest.fixture
def server(shared: Server, provider: Provider) -> Iterator[Server]:
    """The provider is well before and after."""
    yield shared
    provider.fails()
    wait_until(lambda: classified(shared).status_code == 200, "the model answers again")


def classified(server: Server, app_id: str = APP) -> httpx.Response:
    return server.http.post(f"/apps/{app_id}/classify", json=TICKET)


def breaker_is_open(server: Server) -> bool:
    shown = server.http.get("/metrics").text
    found = re.search(r'^uhlp_model_breaker_open\{provider="simulated"\} ([01])', shown, re.MULTILINE)
    assert found is not None, "the breaker is not shown"
    return found.group(1) == "1"


def handler_goes_on(server: Server) -> None:
    answer = server.http.post(f"/apps/{APP}/sort", json=PARCEL)
    assert (answer.status_code, answer.json(), answer.headers["X-UHLP-Handler"]) == (200, SHIPPING, "jit")


@pytest.mark.parametrize("kind", OPENING)
def test_handlers_go_on_and_the_breaker_opens_and_closes_again(server: Server, provider: Provider, kind: str) -> None:
    provider.fails(**{f"_{kind}": 1.0})
    refused = classified(server)
    assert refused.status_code == OPENING[kind], refused.text
    assert int(refused.headers["Retry-After"]) >= 1
    assert refused.json()["error"]["retryable"] is True
    wait_until(lambda: classified(server).status_code == 503 and breaker_is_open(server), "the breaker opens")
    handler_goes_on(server)
    left_alone = server.http.post(f"/apps/{APP}/sort", json=TICKET)  # the handler's part of it is done, the model's not
    assert left_alone.status_code in (502, 503), left_alone.text
    assert int(left_alone.headers["Retry-After"]) >= 1
    provider.fails()
    wait_until(lambda: classified(server).status_code == 200, "the model answers again")
    assert classified(server).json() == BILLING
    assert not breaker_is_open(server)


@pytest.mark.parametrize("kind", ANSWERED)
def test_answers_of_no_use_are_refused_and_a_good_provider_is_not_left_alone(
    server: Server, provider: Provider, kind: str
) -> None:
    provider.fails(**{kind: 1.0})
    for _ in range(6):
        refused = classified(server)
        assert (refused.status_code, refused.json()["error"]["code"]) == (502, "BAD_MODEL_ANSWER")
        assert int(refused.headers["Retry-After"]) >= 1
        handler_goes_on(server)
    assert not breaker_is_open(server)


def test_a_model_slower_than_the_deadline_is_given_up_in_time(server: Server, provider: Provider) -> None:
    provider.fails(timeout=1.0)
    with ThreadPoolExecutor(8) as callers:
        waiting = [callers.submit(classified, server, "patient") for _ in range(5)]  # five that wait for long
        refused = classified(server)
        handler_goes_on(server)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "MODEL_TOO_SLOW"), refused.text
        assert int(refused.headers["Retry-After"]) >= 1
        assert {one.result().status_code for one in waiting} == {503}
    assert breaker_is_open(server)


def test_a_storm_of_429_leaves_handlers_their_time(server: Server, provider: Provider) -> None:
    provider.fails(_429=1.0)
    with ThreadPoolExecutor(24) as callers:
        storm = [callers.submit(classified, server) for _ in range(120)]
        while not all(one.done() for one in storm):
            handler_goes_on(server)
        answers = [one.result() for one in storm]
    assert {answer.status_code for answer in answers} == {503}
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in answers)


def test_budgets_hold_whatever_the_model_answers(server: Server, provider: Provider) -> None:
    server.administer("POST", "/apps", application("poor", llm={"budget": {"tokensPerDay": 600}}))

    def used() -> dict[str, Any]:
        components = server.administer("GET", "/apps/poor/usage")["components"]
        return dict(components.get("classify", {"tokensIn": 0}))

    provider.fails(_500=1.0)
    for _ in range(8):
        assert classified(server, "poor").status_code == 503
    assert used()["tokensIn"] == 0
    provider.fails(schema=1.0)
    answers = wait_until(lambda: _until_refused(server), "the budget is spent")
    assert {answer.status_code for answer in answers[:-1]} <= {502, 503}
    last = answers[-1]
    assert last.json()["error"]["code"] == "BUDGET_EXHAUSTED"
    assert int(last.headers["Retry-After"]) >= 1
    spent = used()["tokensIn"]
    provider.fails()
    assert [classified(server, "poor").status_code for _ in range(3)] == [429] * 3
    assert used()["tokensIn"] == spent
    assert server.http.post("/apps/poor/sort", json=PARCEL).status_code == 200


def _until_refused(server: Server) -> list[httpx.Response]:
    answers = [classified(server, "poor")]
    while answers[-1].status_code != 429 and len(answers) < 60:
        answers.append(classified(server, "poor"))
    return answers if answers[-1].status_code == 429 else []


def test_another_provider_stands_in_and_exact_repeats_are_cached(
    tmp_path: Path, provider: Provider, model: Model
) -> None:
    standby = {"kind": "openai", "baseUrl": f"{model.url}/v1", "defaultModel": "standby"}
    providers = {"simulated": provider.settings, "standby": standby}
    tape = tmp_path / "tape.jsonl"
    surroundings = environment(provider, providers=providers, fallbacks=["standby"], record=str(tape))
    cached = application("cached", llm={"cache": {"enabled": True}, "provider": "simulated"})
    with Server(tmp_path / "data", environment=surroundings) as server:
        server.administer("POST", "/apps", application())
        server.administer("POST", "/apps", cached)
        first, again = classified(server, "cached"), classified(server, "cached")
        assert (first.json(), again.json()) == (BILLING, BILLING)
        assert (first.headers["X-UHLP-Reason"], again.headers["X-UHLP-Reason"]) == ("STATIC", "CACHED")
        assert again.headers["X-UHLP-Handler"] == "llm"
        provider.fails(_500=1.0)
        try:
            model.says({"queue": "other"})
            stood_in = classified(server)
            assert (stood_in.status_code, stood_in.json()) == (200, {"queue": "other"})
            assert classified(server, "cached").headers["X-UHLP-Reason"] == "CACHED"
        finally:
            provider.fails()
        usage = server.administer("GET", "/apps/cached/usage")["components"]["classify"]
        samples = wait_until(
            lambda: server.administer("GET", "/apps/cached/samples?componentId=classify")["samples"], "a sample"
        )
        assert (usage["count"], len(samples)) == (3, 1)
    rows = [json.loads(line) for line in tape.read_text().splitlines()]
    assert [(row["provider"], row["output"]) for row in rows] == [
        ("simulated", '{"queue":"billing"}'),
        ("standby", '{"queue": "other"}'),
    ]
    played = {"UHLP_LLM": json.dumps({"providers": {"tape": {"kind": "replay", "path": str(tape)}}})}
    with Server(tmp_path / "played", environment=played) as server:
        server.administer("POST", "/apps", application())
        assert classified(server).json() == BILLING
        unknown = server.http.post(f"/apps/{APP}/classify", json={"text": "never recorded"})
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (503, "NOT_RECORDED")


def test_no_log_holds_keys_questions_or_answers(tmp_path: Path, model: Model) -> None:
    key, question, answer = "sk-canary-0123456789abcdef", "CANARY-QUESTION", "CANARY-ANSWER"
    (tmp_path / "data" / "secrets").mkdir(parents=True)
    (tmp_path / "data" / "secrets" / "MODEL_KEY").write_text(key)
    provider = {"kind": "openai", "baseUrl": f"{model.url}/v1", "apiKey": "secret:MODEL_KEY"}
    settings = {
        "providers": {"main": provider}, "attempts": 2, "backoff_s": 0.01, "breaker_failures": 100,
        "record": str(tmp_path / "tape"),
    }  # fmt: skip
    surroundings = {"UHLP_LLM": json.dumps(settings), "UHLP_LOG__LEVEL": "debug"}
    told = f"Incorrect API key {key}; your prompt: {question}; {answer}"
    with Server(tmp_path / "data", environment=surroundings) as server:
        server.administer("POST", "/apps", application(llm={"cache": {"enabled": True}}))
        for status in (200, 400, 401, 403, 429, 500):
            model.script(*[Reply(status, body={"error": {"message": told}})] * 2)
        model.script(Reply(body=told.encode()), *[Reply(body=openai_answer(told))] * 2)
        model.says({"queue": answer}, times=2)
        model.says(BILLING)
        bodies = []
        for number in range(14):
            headers = {"X-API-Key": "uhlp_canary_0123456789abcdefghij", "Authorization": f"Bearer {key}"}
            got = server.http.post(f"/apps/{APP}/classify", json={"text": f"{question} {number}"}, headers=headers)
            bodies.append(got.text)
        server.http.post(f"/apps/{APP}/sort", json={"text": question, "seconds": "CANARY-QUESTION"})
    assert model.seen[0].headers["Authorization"] == f"Bearer {key}"
    logged = server.stdout.read_text() + server.stderr.read_text()
    assert "model_call_retried" in logged, "the log says nothing of what happened"
    for canary in (key, question, answer, "uhlp_canary_0123456789abcdefghij"):
        assert canary not in logged
    tape = (tmp_path / "tape").read_text()
    assert question in tape, "nothing was recorded"
    assert key not in "".join(bodies) + tape

"""A component that a model runs, over real wires to a scripted model."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.applications import BILLING, PARCEL, SHIPPING, TICKET, desk
from tests.e2e.model import Model, started_model
from tests.e2e.server import Server


@pytest.fixture(scope="module")
def shared_model() -> Iterator[Model]:
    with started_model() as model:
        yield model


@pytest.fixture(scope="module")
def desk_server(tmp_path_factory: pytest.TempPathFactory, shared_model: Model) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("model-path")
    with Server(folder / "data", environment=shared_model.environment) as server:
        server.administer("POST", "/apps", desk())
        yield server


@pytest.fixture
def model(shared_model: Model) -> Model:
    """Nothing scripted, nothing asked yet."""
    shared_model.forget()
    return shared_model


def test_a_prompt_answers_over_the_openai_wire(desk_server: Server, model: Model) -> None:
    model.says(BILLING)
    answer = desk_server.http.post("/apps/desk/classify", json=TICKET)
    assert (answer.status_code, answer.json()) == (200, BILLING)
    assert answer.headers["X-UHLP-Handler"] == "llm"
    assert answer.headers["X-UHLP-Implementation"] == "prompt@stable"
    assert answer.headers["X-UHLP-Reason"] == "STATIC"
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["X-Trace-Id"])
    (asked,) = model.seen
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["Authorization"] == "Bearer sk-scripted"
    assert TICKET["text"] in str(asked.body["messages"])


def test_a_prompt_answers_over_the_anthropic_wire(tmp_path: Path, model: Model) -> None:
    model.says_as_anthropic(BILLING)
    environment = {"ANTHROPIC_API_KEY": "sk-ant", "ANTHROPIC_BASE_URL": model.url}
    with Server(tmp_path / "data", environment=environment) as server:
        server.administer("POST", "/apps", desk())
        assert server.http.post("/apps/desk/classify", json=TICKET).json() == BILLING
    (asked,) = model.seen
    assert (asked.path, asked.headers["x-api-key"]) == ("/v1/messages", "sk-ant")


def test_an_answer_that_breaks_the_schema_is_repaired_once_then_refused(desk_server: Server, model: Model) -> None:
    model.says({"queue": "nowhere"})
    model.says(BILLING)
    assert desk_server.http.post("/apps/desk/classify", json=TICKET).json() == BILLING
    assert "nowhere" in str(model.seen[1].body["messages"])
    model.says({"queue": "nowhere"}, times=2)
    refused = desk_server.http.post("/apps/desk/classify", json=TICKET)
    assert (refused.status_code, refused.json()["error"]["code"]) == (502, "BAD_MODEL_ANSWER")


def test_a_handler_answers_what_it_knows_and_leaves_the_rest_to_the_model(desk_server: Server, model: Model) -> None:
    model.says(BILLING)
    known = desk_server.http.post("/apps/desk/sort", json=PARCEL)
    assert (known.headers["X-UHLP-Handler"], known.headers["X-UHLP-Implementation"]) == ("jit", "jit@v1")
    assert known.json() == SHIPPING
    unknown = desk_server.http.post("/apps/desk/sort", json=TICKET)
    assert (unknown.headers["X-UHLP-Handler"], unknown.headers["X-UHLP-Deoptimized"]) == ("llm", "guard")
    assert unknown.json() == BILLING
    assert len(model.seen) == 1


def test_bad_input_does_not_reach_the_model(desk_server: Server, model: Model) -> None:
    refused = desk_server.http.post("/apps/desk/classify", json={"text": 7})
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "INPUT_INVALID")
    malformed = desk_server.http.post("/apps/desk/classify", content=b'{"text": NaN}')
    assert malformed.status_code in (400, 422)
    assert model.asked == 0


def test_what_happened_is_counted(desk_server: Server, model: Model) -> None:
    def usage() -> dict[str, int]:
        counted = desk_server.administer("GET", "/apps/desk/usage")["components"]["classify"]
        return {name: counted[name] for name in ("count", "tokensIn", "tokensOut")}

    before = usage()
    model.says(BILLING)
    desk_server.http.post("/apps/desk/classify", json=TICKET)
    added = {name: after - before[name] for name, after in usage().items()}
    assert added == {"count": 1, "tokensIn": 11, "tokensOut": 7}
    shown = desk_server.http.get("/metrics").text
    assert re.search(r'^uhlp_executions_total\{.*componentId="classify".*outcome="ok"', shown, re.MULTILINE)


def test_the_starter_application_is_accepted_and_serves(desk_server: Server, model: Model, tmp_path: Path) -> None:
    server = desk_server
    folder = tmp_path / "my-desk"
    assert server.command("init", str(folder)).returncode == 0
    applied = server.command("apply", str(folder))
    assert applied.returncode == 0, applied.stderr
    assert "created my-desk" in applied.stdout
    assert "unchanged at revision" in server.command("apply", str(folder)).stdout
    model.says(BILLING)
    ticket = {"subject": "Charged twice", "text": "Two payments on one invoice."}
    assert server.http.post("/apps/my-desk/tickets/classify", json=ticket).json() == BILLING
    status = json.loads(server.command("status", "--json").stdout)
    assert ("my-desk", "ACTIVE") in [(one["appId"], one["status"]) for one in status]

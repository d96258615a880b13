"""How long a request may take, and what is left of one whose client has left: nothing, up to the model's connection."""

import json
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.applications import BILLING, PARCEL, TICKET, desk
from tests.e2e.model import Model, started_model
from tests.e2e.server import Server, wait_until

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
ASKING = """\
from uhlp_runtime import call_tool


def handle(inputs, context):
    return call_tool("core.llm.generate", {"prompt": inputs["text"]})["text"]
"""


def asking_desk() -> dict[str, Any]:
    """The desk, with a handler of its own that asks the model by a tool and has no prompt to fall back to."""
    body = desk()
    components = json.loads(body["files"]["component_registry.yaml"])
    route = {"pathPattern": "/ask", "methods": ["POST"]}
    task = {"script": "_jit_code/ask/v1/handler.py", "function": "handle"}
    components["components"].append(
        {"componentId": "ask", "handlerType": "JIT", "taskDetails": task, "routeMatcher": route,
         "tools": ["core.llm.generate"]}
    )  # fmt: skip
    body["files"] |= {"component_registry.yaml": json.dumps(components), task["script"]: ASKING}
    return body


@pytest.fixture(scope="module")
def shared_model() -> Iterator[Model]:
    with started_model() as model:
        yield model


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, shared_model: Model) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("deadlines")
    with Server(folder / "data", environment=shared_model.environment) as server:
        server.administer("POST", "/apps", asking_desk())
        yield server


@pytest.fixture
def model(shared_model: Model) -> Iterator[Model]:
    shared_model.forget()
    yield shared_model
    shared_model.release()


@contextmanager
def request(server: Server, component: str, body: dict[str, Any]) -> Iterator[socket.socket]:
    """A request whose answer nobody has read yet; the block's end closes its connection."""
    content = json.dumps(body).encode()
    head = f"POST /apps/desk/{component} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        yield connection


def in_flight(server: Server, component: str) -> float:
    found = re.search(
        rf'^uhlp_requests_in_flight{{appId="desk",componentId="{component}"}} (\S+)$',
        server.http.get("/metrics").text,
        re.MULTILINE,
    )
    return float(found[1]) if found else 0.0


@pytest.mark.parametrize("component", ["classify", "ask"])
def test_when_the_client_leaves_the_models_connection_is_closed(server: Server, model: Model, component: str) -> None:
    model.hold()
    with request(server, component, TICKET):
        wait_until(lambda: model.asked == 1, "the model is asked")
    wait_until(lambda: model.given_up == 1, "the model's caller hangs up")
    wait_until(lambda: in_flight(server, component) == 0, "nothing is in flight")
    model.release()
    model.says(BILLING)
    assert server.http.post("/apps/desk/classify", json=TICKET).json() == BILLING


def test_when_the_client_leaves_the_handlers_process_ends(server: Server, model: Model) -> None:
    def workers() -> dict[tuple[str, str], int]:
        listed = server.administer("GET", "/apps/desk/sandboxes")["sandboxes"]
        return {(one["sandboxId"], each["workerId"]): each["busy"] for one in listed for each in one["workers"]}

    def busy() -> list[tuple[str, str]]:
        return [worker for worker, calls in workers().items() if calls]

    with request(server, "sort", {**PARCEL, "seconds": 14}):
        (worker,) = wait_until(busy, "a worker runs the handler")
    wait_until(lambda: worker not in workers(), "the worker is gone", within_s=6)  # not by the deadline
    wait_until(lambda: in_flight(server, "sort") == 0, "nothing is in flight")
    assert model.asked == 0, "nobody is there whom the model could answer"


@pytest.mark.parametrize("component", ["classify", "ask"])
def test_a_caller_that_waits_less_than_the_component_bounds_the_models_call(
    server: Server, model: Model, component: str
) -> None:
    model.hold()
    headers = {"X-Request-Timeout-Ms": "1000"}
    answer = server.http.post(f"/apps/desk/{component}", json=TICKET, headers=headers, timeout=20)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "MODEL_TOO_SLOW"), answer.text
    wait_until(lambda: model.given_up == 1, "the model's caller hangs up")


def test_within_a_callers_time_a_slow_handler_leaves_the_model_its_part(server: Server, model: Model) -> None:
    model.says(BILLING)
    answer = server.http.post(
        "/apps/desk/sort", json={**PARCEL, "seconds": 9}, headers={"X-Request-Timeout-Ms": "4000"}, timeout=20
    )
    assert (answer.status_code, answer.json()) == (200, BILLING)
    assert answer.headers["X-UHLP-Deoptimized"] == "timeout"


@pytest.mark.parametrize("given", ["0", "-5", "1.5", "soon", "", "9999999999"])
def test_a_time_that_is_none_is_refused(server: Server, model: Model, given: str) -> None:
    answer = server.http.post("/apps/desk/classify", json=TICKET, headers={"X-Request-Timeout-Ms": given})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "BAD_REQUEST")
    assert model.asked == 0


def test_the_model_is_asked_within_the_callers_trace(server: Server, model: Model) -> None:
    model.says(BILLING, times=2)
    headers = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "rojo=1"}
    for component in ("classify", "ask"):
        assert server.http.post(f"/apps/desk/{component}", json=TICKET, headers=headers).status_code == 200
    for seen in model.seen:
        version, trace_id, span_id, flags = seen.headers["traceparent"].split("-")
        assert (version, trace_id, flags) == ("00", TRACE, "01")
        assert span_id != SPAN
        assert seen.headers["tracestate"] == "rojo=1"

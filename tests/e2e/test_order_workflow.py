"""The order workflow of the demo on a real server: a prompt, a handler, somebody else's MCP server, and what fails."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.e2e.server import CHECKOUT, Server, wait_until
from tests.free_port import free_port
from tests.node_programs import node_program

APP = "order-workflow"
FOLDER = CHECKOUT / "uhlp" / "demo" / "order_workflow"
MUGS = [{"sku": "mug", "quantity": 2, "unitPriceCents": 650}]
GIFT = {"orderId": "A-1", "city": "Chicago", "note": "It is a birthday present.", "items": MUGS}
EVOLUTION = {
    "cycle_s": 0.5,
    "canary": {"weights": [0.5, 1.0], "min_step_s": 0.2, "min_executions": 10},
    "limits": {"usd_per_day": 1.0},
}
NOTES = (
    ("express", "please hurry with my {thing}", "the {thing} is urgent", "I need the {thing} tomorrow"),
    ("fragile", "the {thing} is fragile", "careful with the {thing}", "the {thing} is made of glass"),
    ("gift", "the {thing} is a gift", "please wrap the {thing}", "the {thing} is a birthday present"),
    ("standard", "leave the {thing} at the door", "thank you for the {thing}", "just the {thing} as always"),
)
THINGS = ("lamp", "mug", "chair", "clock", "vase", "plate", "shelf", "desk", "radio", "fan", "mirror", "kettle")


class Program:
    """A program of the test's own that is ended and started again on the same port."""

    def __init__(self, command: list[str], environment: dict[str, str], look: str) -> None:
        self._command, self._environment, self._look = command, {**os.environ, **environment}, look
        self._process: subprocess.Popen[bytes] | None = None

    def launch(self) -> None:
        self._process = subprocess.Popen(
            self._command, env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def start(self) -> None:
        """Launch it, and wait until it answers."""
        if self._process is None:
            self.launch()
        wait_until(self._answers, f"{self._look} answers", 30.0)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            httpx.get(self._look, timeout=2.0, trust_env=False)
        except httpx.TransportError:
            return False
        return True


class Shop:
    """The server with its application, the model and the weather service."""

    def __init__(self, server: Server, model: Program, weather: Program) -> None:
        self.server, self.model, self.weather = server, model, weather

    def order(self, **changed: Any) -> httpx.Response:
        return self.server.http.post(f"/apps/{APP}/orders", json={**GIFT, **changed})

    def is_connected(self) -> bool:
        """Whether the server speaks to the weather service: a step has less time than a busy machine takes for that."""
        (weather,) = self.server.administer("GET", f"/apps/{APP}/tools?ask=true")["servers"]
        return bool(weather["state"] == "connected")

    def timeline(self, answer: httpx.Response) -> dict[str, Any]:
        return self.server.administer("GET", f"/apps/{APP}/executions/{answer.headers['X-Execution-Id']}")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("orders")
    everything = node_program("@modelcontextprotocol/server-everything", "mcp-server-everything")
    weather_port, model_port = free_port(), free_port()
    weather = Program(
        [*everything, "streamableHttp"], {"PORT": str(weather_port)}, f"http://127.0.0.1:{weather_port}/mcp"
    )
    simulate = [sys.executable, "-m", "uhlp", "simulate-model", "--port", str(model_port), "--latency-ms", "20"]
    model = Program(simulate, {"PYTHONPATH": str(CHECKOUT)}, f"http://127.0.0.1:{model_port}/v1/models")
    prices = {
        name: {"inputUsdPerMtok": 0.4, "outputUsdPerMtok": 1.6} for name in ("simulated-small", "simulated-coder")
    }
    provider = {"kind": "openai", "baseUrl": f"http://127.0.0.1:{model_port}/v1", "prices": prices}
    environment = {
        "UHLP_MCP": json.dumps(
            {
                "servers": {"weather": {"url": f"http://127.0.0.1:{weather_port}/mcp"}},
                "backoff_initial_s": 0.1,
                "backoff_max_s": 0.2,
            }
        ),
        "UHLP_LLM": json.dumps({"providers": {"simulated": provider}, "attempts": 2, "breaker_pause_s": 0.2}),
        "UHLP_EVOLUTION": json.dumps(EVOLUTION),
    }
    weather.launch()
    model.launch()
    try:
        weather.start()
        model.start()
        with Server(folder / "data", environment=environment) as server:
            applied = server.command("apply", str(FOLDER))
            assert applied.returncode == 0, applied.stderr
            shop = Shop(server, model, weather)
            wait_until(shop.is_connected, "the weather service is connected")
            yield shop
    finally:
        weather.stop()
        model.stop()


def test_an_order_goes_through_every_step(shop: Shop) -> None:
    answer = shop.order()
    assert (answer.status_code, answer.json()) == (
        201,
        {"orderId": "A-1", "handling": "gift", "totalCents": 1990, "days": 4},
    ), answer.text
    assert answer.headers["X-UHLP-Handler"] == "workflow"
    told = shop.timeline(answer)
    assert told["state"] == "succeeded"
    steps = {step["stepId"]: step for step in told["steps"]}
    assert [step["stepId"] for step in told["steps"]] == ["note", "price", "size", "weather", "promise"]
    assert {step["state"] for step in told["steps"]} == {"succeeded"}
    assert steps["note"]["output"] == {"handling": "gift"}
    assert steps["note"]["implementation"] == "prompt@stable"
    assert steps["price"]["implementation"] == "jit@v1"
    assert steps["weather"]["output"]["conditions"] == "Light rain / drizzle"


def test_a_branch_leads_past_the_steps_that_are_not_needed(shop: Shop) -> None:
    answer = shop.order(items=[{"sku": "safe", "quantity": 9, "unitPriceCents": 200_000}])
    assert (answer.status_code, answer.json()["waitsFor"]) == (202, "sales")
    assert [step["stepId"] for step in shop.timeline(answer)["steps"]] == ["note", "price", "size", "sales"]


def test_an_order_that_is_none_starts_nothing(shop: Shop) -> None:
    assert shop.order(city="Atlantis").status_code == 422
    assert shop.order(items=[]).json()["error"]["code"] == "INPUT_INVALID"


def test_without_the_model_the_order_is_set_aside(shop: Shop) -> None:
    shop.model.stop()
    try:
        answer = shop.order(orderId="A-2")
    finally:
        shop.model.start()
    assert (answer.status_code, answer.json()) == (
        202,
        {"orderId": "A-2", "waitsFor": "a person", "failedStep": "note", "code": "MODEL_PROVIDER_UNAVAILABLE"},
    ), answer.text
    told = shop.timeline(answer)
    assert [(step["stepId"], step["state"]) for step in told["steps"]] == [("note", "failed"), ("aside", "succeeded")]
    assert told["steps"][0]["error"]["code"] == "MODEL_PROVIDER_UNAVAILABLE"
    wait_until(lambda: shop.order().status_code == 201, "orders go through again")


def test_without_the_weather_service_the_order_is_set_aside(shop: Shop) -> None:
    shop.weather.stop()
    try:
        answer = shop.order(orderId="A-3")
    finally:
        shop.weather.start()
    assert (answer.status_code, answer.json()["waitsFor"], answer.json()["failedStep"]) == (202, "a person", "weather")
    told = shop.timeline(answer)
    attempts = [(step["stepId"], step["state"]) for step in told["steps"]]
    assert attempts[:3] == [("note", "succeeded"), ("price", "succeeded"), ("size", "succeeded")]
    assert attempts[-2:] == [("weather", "failed"), ("aside", "succeeded")]
    wait_until(lambda: shop.order().status_code == 201, "orders go through again")


def test_the_model_step_is_observed_as_a_component_and_can_be_compiled(shop: Shop) -> None:
    dice = random.Random(1)

    def send(count: int) -> None:
        """Orders, each of which is told as its note says."""
        orders = []
        for number in range(count):
            handling, *forms = dice.choice(NOTES)
            orders.append((handling, f"{dice.choice(forms).format(thing=dice.choice(THINGS))}, order {number}"))
        with ThreadPoolExecutor(8) as callers:
            answers = list(callers.map(lambda order: shop.order(note=order[1]), orders))
        assert [(one.status_code, one.json().get("handling")) for one in answers] == [(201, one) for one, _ in orders]

    send(120)
    samples = wait_until(
        lambda: shop.server.administer("GET", f"/apps/{APP}/samples?componentId=read-note&limit=50")["samples"],
        "samples of the step",
    )
    assert all(set(one["output"]) == {"handling"} for one in samples if one["ok"])
    started = shop.server.command("optimize", APP, "read-note", "--reason", "enough notes")
    assert started.returncode == 0, started.stderr

    def state() -> str:
        (candidate,) = shop.server.administer("GET", f"/candidates?appId={APP}")["candidates"]
        assert candidate["state"] not in ("rejected", "rolled_back", "quarantined"), candidate
        return str(candidate["state"])

    def is_served_by_code() -> bool:
        send(24)
        answer = shop.order()
        steps = {step["stepId"]: step for step in shop.timeline(answer)["steps"]}
        return state() == "promoted" and steps["note"]["implementation"] == "jit@v1"

    wait_until(is_served_by_code, "the note is read by code", 60.0)

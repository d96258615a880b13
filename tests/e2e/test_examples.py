"""The example applications as their README starts them: applied, asked once, and held against their golden examples."""

import json
import sys
from collections.abc import Iterator

import pytest

from tests.e2e.server import CHECKOUT, Server
from tests.e2e.test_order_workflow import GIFT, Program
from tests.free_port import free_port
from tests.node_programs import node_program

EXAMPLES = CHECKOUT / "uhlp" / "demo"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a simulated model, a recording as banking77 wants one, and a community MCP server for the weather.

    The recording says what is right: what the example shows is that its questions come back and are compared.
    """
    folder = tmp_path_factory.mktemp("examples")
    golden = [json.loads(line) for line in (EXAMPLES / "banking77/evals/intent.jsonl").read_text().splitlines()]
    rows = [{"text": one["input"]["text"], "llm_label": one["expected"]} for one in golden]
    (folder / "recording.jsonl").write_text("\n".join(map(json.dumps, rows)))
    replay = {
        "kind": "replay",
        "path": str(folder / "recording.jsonl"),
        "inputField": "text",
        "outputField": "llm_label",
    }
    everything = node_program("@modelcontextprotocol/server-everything", "mcp-server-everything")
    weather_port, model_port = free_port(), free_port()
    weather_url = f"http://127.0.0.1:{weather_port}/mcp"
    weather = Program([*everything, "streamableHttp"], {"PORT": str(weather_port)}, weather_url)
    simulate = [sys.executable, "-m", "uhlp", "simulate-model", "--port", str(model_port), "--latency-ms", "5"]
    model = Program(simulate, {"PYTHONPATH": str(CHECKOUT)}, f"http://127.0.0.1:{model_port}/v1/models")
    provider = {"kind": "openai", "baseUrl": f"http://127.0.0.1:{model_port}/v1"}
    environment = {
        "UHLP_MCP__SERVERS": json.dumps({"weather": {"url": weather_url}}),
        "UHLP_LLM__PROVIDERS": json.dumps({"simulated": provider, "replay": replay}),
    }
    weather.launch()
    model.launch()
    try:
        weather.start()
        model.start()
        with Server(folder / "data", environment=environment) as started:
            yield started
    finally:
        weather.stop()
        model.stop()


@pytest.mark.parametrize(
    ("folder", "path", "body", "answer", "components"),
    [
        (
            "support_desk", "/support-desk/amounts", {"text": "Please refund 12.50 EUR."},
            {"amountCents": 1250, "currency": "EUR"}, {"order-lines": (), "ticket-triage": (), "amounts": ()},
        ),
        (
            "order_workflow", "/order-workflow/orders", GIFT,
            {"orderId": "A-1", "handling": "gift", "totalCents": 1990, "days": 4},
            {"read-note": (), "price-order": ("--served",)},
        ),
        (
            "banking77",
            "/banking77/intents",
            {"text": "Why am I not allowed to send money to this recipient?"},
            "beneficiary_not_allowed",
            {"intent": ()},
        ),
        (
            "city_weather", "/city-weather/outings", {"city": "Chicago"},
            {"goOut": False, "why": "Light rain / drizzle"}, {"outing": ("--served",)},
        ),
    ],
)  # fmt: skip
def test_an_example_is_applied_answers_and_agrees_with_its_golden_examples(
    server: Server, folder: str, path: str, body: dict, answer: object, components: dict[str, tuple[str, ...]]
) -> None:
    applied = server.command("apply", str(EXAMPLES / folder))
    assert applied.returncode == 0, applied.stderr
    answered = server.http.post(f"/apps{path}", json=body)
    assert answered.json() == answer, answered.text
    app_id = path.split("/")[1]
    for component, options in components.items():
        done = server.command("eval", app_id, component, "--dataset", "golden", "--json", *options)
        assert done.returncode == 0, (component, done.stdout, done.stderr)
        figures = json.loads(done.stdout)["figures"]
        lines = (EXAMPLES / folder / "evals" / f"{component}.jsonl").read_text().splitlines()
        assert (figures["passed"], figures["n"]) == (len(lines), len(lines)), done.stdout


def test_every_example_tells_how_to_start_it() -> None:
    for folder in ("support_desk", "banking77", "order_workflow", "city_weather"):
        lines = (EXAMPLES / folder / "README.md").read_text().splitlines()
        assert len([line for line in lines if line.strip()]) <= 20
        assert "uhlp " in "\n".join(lines), folder

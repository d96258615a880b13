"""What a log would give, asked without a server: rules for nothing, a coder for the price of its answers."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random

import httpx
import pytest

from tests.e2e.server import CHECKOUT, wait_until
from tests.free_port import free_port
from tests.walls import need_walls
from uhlp.demo.simulated_model.tasks.amounts import answer
from uhlp.demo.traffic import generator


@pytest.fixture
def simulated_model(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment that makes a simulated model the provider `openai`."""
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("UHLP_")},
        "PYTHONPATH": str(CHECKOUT),
    }
    command = [sys.executable, "-m", "uhlp", "simulate-model", "--port", str(port), "--latency-ms", "0"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: _answers(f"http://127.0.0.1:{port}/v1/models"), "the simulated model answers", 20)
            yield {**environment, "OPENAI_API_KEY": "simulated", "OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1"}
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, verify=False).status_code == 200
    except httpx.TransportError:
        return False


def test_a_coder_answers_what_rules_cannot(tmp_path: Path, simulated_model: dict[str, str]) -> None:
    need_walls()
    log = tmp_path / "amounts.jsonl"
    rows = [
        {"input": value, "output": answer(value["text"], Random(0))} for value in islice(generator("amounts", 3), 160)
    ]
    log.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "uhlp", "estimate", str(log), "--coder", "openai/simulated-coder", "--json"],
        cwd=tmp_path, env=simulated_model, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    report = json.loads(done.stdout)
    assert not report["applies"]
    coder = report["coder"]
    assert coder["applies"], coder["reason"]
    assert coder["answered"] > 0.6 * coder["held_out"]
    assert coder["agreed"] == coder["answered"]
    assert coder["cost"]["drafts"] == 2
    assert "def handle(" in coder["code"]

"""The demo's support desk behind a server of the tests' own, with a simulated model that is quick: minutes in seconds.

Nothing of the gate is other than production offers; canary steps are few and short, and cycles come often. The model
is slow enough for a handler to be faster on a machine that is busy with other tests.
"""

import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.e2e.server import CHECKOUT, Server, wait_until
from uhlp.demo.traffic import generator

APP = "support-desk"
FOLDER = CHECKOUT / "uhlp" / "demo" / "support_desk"
ROUTES = {
    "order-lines": "/order-lines",
    "ticket-triage": "/tickets",
    "amounts": "/amounts",
    "case-summary": "/summaries",
}
EVOLUTION = {
    "cycle_s": 0.5,
    "canary": {"weights": [0.25, 1.0], "min_step_s": 0.5, "min_executions": 20},
    "limits": {"canaries_per_application": 4, "compilations_per_hour": 100, "usd_per_day": 1.0},
}
PRICES = {
    "simulated-small": {"inputUsdPerMtok": 0.40, "outputUsdPerMtok": 1.60},
    "simulated-coder": {"inputUsdPerMtok": 2.00, "outputUsdPerMtok": 8.00},
}
Change = Callable[[dict[str, dict[str, Any]]], None]


class SupportDesk:
    """A server that serves the support desk, and callers for it."""

    def __init__(self, server: Server, model: Server) -> None:
        self.server = server
        self._model = model
        self._requests = {name: generator(name, seed=1) for name in ROUTES}
        self._threads = ThreadPoolExecutor(max_workers=12)
        self._http = httpx.Client(timeout=60.0, trust_env=False)

    def register(self, change: Change = lambda components: None) -> None:
        """Register it; `change` may alter its components, which it is given by id."""
        files = {
            path.relative_to(FOLDER).as_posix(): path.read_text(encoding="utf-8")
            for path in sorted(FOLDER.rglob("*"))
            if path.suffix in (".yaml", ".json", ".jsonl")
        }
        registry = yaml.safe_load(files["component_registry.yaml"])
        change({one["componentId"]: one for one in registry["components"]})
        files["component_registry.yaml"] = yaml.safe_dump(registry)
        self.server.administer("POST", "/apps", {"definition": yaml.safe_load(files["app.yaml"]), "files": files})

    def call(self, component_id: str, times: int, *, side_by_side: int = 12) -> list[httpx.Response]:
        """So many requests of its callers; all of them are answered."""
        path = f"{self.server.url}/apps/{APP}{ROUTES[component_id]}"
        bodies = [next(self._requests[component_id]) for _ in range(times)]
        answers: list[httpx.Response] = []
        for at in range(0, times, side_by_side):
            answers += self._threads.map(lambda body: self._http.post(path, json=body), bodies[at : at + side_by_side])
        assert {answer.status_code for answer in answers} == {200}
        return answers

    def candidate(self, component_id: str) -> dict[str, Any] | None:
        """The newest candidate of a component, as the list shows it."""
        rows = self.server.administer("GET", f"/candidates?appId={APP}")["candidates"]
        return next((dict(row) for row in rows if row["componentId"] == component_id), None)

    def model_fails(self, **shares: float) -> None:
        """From now on this share of the model's answers has that fault; without any it answers as before."""
        self._model.http.put("/faults", json=shares).raise_for_status()

    def close(self) -> None:
        self._threads.shutdown()
        self._http.close()


@contextmanager
def support_desk(folder: Path, *, latency_ms: float = 60.0) -> Iterator[SupportDesk]:
    """A desk that has not registered its application yet."""
    command = (sys.executable, "-m", "uhlp", "simulate-model", "--port", "{port}", "--latency-ms", f"{latency_ms:g}")
    model = Server(folder / "model", command=command)
    model.launch()
    try:
        wait_until(lambda: model.answers("/v1/models"), "the simulated model answers", 30.0)
        provider = {"kind": "openai", "baseUrl": f"{model.url}/v1", "prices": PRICES}
        environment = {
            "UHLP_EVOLUTION": json.dumps(EVOLUTION),
            "UHLP_LLM__PROVIDERS": json.dumps({"simulated": provider}),
            "UHLP_LLM__DEFAULT_PROVIDER": "simulated",
        }
        with Server(folder / "data", environment=environment) as server:
            desk = SupportDesk(server, model)
            try:
                yield desk
            finally:
                desk.close()
    finally:
        model.stop()
        model.http.close()

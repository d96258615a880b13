"""Soak: a server that does everything at once for a while, and what it holds meanwhile and afterwards."""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from tests.chaos.storm import BY_MODEL
from tests.e2e.model import Model, started_model
from tests.e2e.server import Server, wait_until
from tests.e2e.soak.applications import DESK, SHOP, busy_desk, orders, shop
from tests.e2e.soak.held import Held, held_by, messages_in
from tests.e2e.soak.load import Load, Took
from tests.e2e.soak.mix import Mix
from tests.e2e.soak.releases import Release, Releases
from tests.unit.llm.scripted_model_server import openai_answer

A_MINUTE_S = 60.0
REST_WITHIN_S = 240.0
_LOOK_EVERY_S = 2.0
_GAUGES_EVERY_S = 6.0
_MODEL_MS = 60
_MODEL_NAMES = ("simulated-small", "simulated-coder")
_EVOLUTION = {
    "cycle_s": 0.5,
    "canary": {"weights": [0.25, 1.0], "min_step_s": 0.5, "min_executions": 20},
    "limits": {"usd_per_day": 10_000.0},
    "freeze_rollbacks_per_hour": 1_000,
}
"""The gate is as in production; canary steps are short, and an application may be rolled back every minute."""


@dataclass
class Soak:
    """What was seen. `at_rest` is what was held after a warm-up and at the end, with no request on its way."""

    seconds: float
    seen: list[Held] = field(default_factory=list)
    at_rest: list[Held] = field(default_factory=list)
    took: list[Took] = field(default_factory=list)
    answered: Counter[tuple[str, str]] = field(default_factory=Counter)
    releases: list[Release] = field(default_factory=list)
    wrong: Counter[str] = field(default_factory=Counter)
    messages: dict[str, int] = field(default_factory=dict)
    shown: str = ""
    """/metrics at the end."""

    @property
    def settled(self) -> list[Held]:
        """What was seen after the first third, in which caches and pools fill."""
        return self.seen[len(self.seen) // 3 :]


def soak(folder: Path, seconds: float) -> Soak:
    """Warm up for a minute, then go on for `seconds`."""
    found = Soak(seconds)
    with _models(folder) as environment, Server(folder / "data", environment=environment) as server:
        for body in (busy_desk(), shop(), orders()):
            server.administer("POST", "/apps", body)
        mix = Mix(admin=server.admin, desk_key=_key(server, DESK), shop_key=_key(server, SHOP))
        load = Load(server.url, mix.steps())
        releases = Releases(server.url, load, admin=server.admin, period_s=A_MINUTE_S)
        with releases.going_on():
            load.run(A_MINUTE_S, lambda: None, every_s=_LOOK_EVERY_S)
        found.at_rest.append(_rest(server))
        load.took.clear()
        with releases.going_on():
            load.run(seconds, lambda: found.seen.append(_look(server)), every_s=_LOOK_EVERY_S)
        found.at_rest.append(_rest(server))
        found.took, found.answered, found.releases = load.took, load.answered, releases.done
        found.wrong = load.wrong + releases.wrong
        found.messages = messages_in(server)
        found.shown = server.http.get("/metrics").text
    return found


def _look(server: Server) -> Held:
    return held_by(server, time.monotonic())


def _rest(server: Server) -> Held:
    """What is held when no message, sandbox or process was left at two looks in a row, with /metrics renewed between.
    (A sandbox that is being started for the schedule has processes before it is shown.)
    """
    looks: list[Held] = []

    def is_at_rest() -> bool:
        time.sleep(_GAUGES_EVERY_S)
        look = _look(server)
        if messages_in(server) or look.sandboxes or look.processes:
            looks.clear()
        else:
            looks.append(look)
        return len(looks) == 2

    wait_until(is_at_rest, "messages, sandboxes and processes are gone", REST_WITHIN_S)
    return looks[-1]


def _key(server: Server, app_id: str) -> str:
    return str(server.administer("POST", f"/apps/{app_id}/api-keys", {"permissions": ["*"]})["apiKey"])


class _Billing(Model):
    """Says what it says, and remembers nothing of it."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        return web.json_response(openai_answer(json.dumps(BY_MODEL)))


@contextmanager
def _models(folder: Path) -> Iterator[dict[str, str]]:
    """What a server needs to ask two models: one that always says the same, and the demo's, which writes handlers."""
    words = ("simulate-model", "--port", "{port}", "--latency-ms", str(_MODEL_MS))
    simulated = Server(folder / "model", command=(sys.executable, "-m", "uhlp", *words))
    with started_model(_Billing) as model:
        simulated.launch()
        try:
            wait_until(lambda: simulated.answers("/v1/models"), "the simulated model answers", 30.0)
            prices = {name: {"inputUsdPerMtok": 0.4, "outputUsdPerMtok": 1.6} for name in _MODEL_NAMES}
            provider = {"kind": "openai", "baseUrl": f"{simulated.url}/v1", "prices": prices}
            driver = {name: value for name, value in os.environ.items() if name.startswith("UHLP_SANDBOX__")}
            yield {
                **driver,
                **model.environment,
                "UHLP_LLM__DEFAULT_PROVIDER": "openai",
                "UHLP_LLM__PROVIDERS": json.dumps({"simulated": provider}),
                "UHLP_EVOLUTION": json.dumps(_EVOLUTION),
            }
        finally:
            simulated.stop()
            simulated.http.close()

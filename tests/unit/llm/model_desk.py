"""A model gateway on a scripted server, for tests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.unit.llm.scripted_model_server import ScriptedModelServer, scripted_model_server
from uhlp.clock import FakeClock
from uhlp.llm import GenerateRequest, LlmSettings, ModelGateway
from uhlp.metering import NullMeter

ASK = GenerateRequest(messages=({"role": "user", "content": "Where is my card?"},))


class Pauses:
    """A sleep that only moves the clock and remembers how long it was asked for."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.asked: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        self.clock.advance(seconds)


class CountingMeter(NullMeter):
    """Remembers what counters were told, by name and labels."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, ...], float] = {}

    def counter(self, name: str, help_text: str, labels: Any = ()) -> Any:
        return _Counter(self.counts, (name,))


class _Counter:
    def __init__(self, counts: dict[tuple[str, ...], float], key: tuple[str, ...]) -> None:
        self.counts, self.key = counts, key

    def labels(self, *values: str) -> "_Counter":
        return _Counter(self.counts, (*self.key, *values))

    def inc(self, amount: float = 1.0) -> None:
        self.counts[self.key] = self.counts.get(self.key, 0.0) + amount


class Desk:
    """A gateway on a scripted server, with its clock, pauses and meter."""

    def __init__(self, server: ScriptedModelServer, settings: dict[str, Any], **gateway: Any) -> None:
        self.server = server
        self.clock = FakeClock()
        self.pauses = Pauses(self.clock)
        self.meter = CountingMeter()
        provider = {"kind": "openai", "base_url": server.url, "api_key": "secret:MODEL_KEY"}
        settings = {"providers": {"main": provider}, **settings}
        self.gateway = ModelGateway(
            settings=LlmSettings.model_validate(settings),
            clock=self.clock,
            meter=self.meter,
            read_secret={"MODEL_KEY": "sk-secret-value"}.get,
            sleep=self.pauses,
            **gateway,
        )


@asynccontextmanager
async def opened(**settings: Any) -> AsyncIterator[Desk]:
    async with scripted_model_server() as server:
        desk = Desk(server, settings)
        try:
            yield desk
        finally:
            await desk.gateway.aclose()

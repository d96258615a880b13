"""Realistic callers: several at a time for each component, and what they saw."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any

import aiohttp


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer as the caller saw it; `latency_ms` includes everything."""

    status: int
    handler: str
    headers: dict[str, str]
    latency_ms: float
    input: dict[str, Any]
    body: str


@dataclass(slots=True)
class Tally:
    """What the callers of one component saw."""

    n: int = 0
    failed: int = 0
    handlers: Counter[str] = field(default_factory=Counter)
    deoptimised: Counter[str] = field(default_factory=Counter)
    latencies_ms: list[float] = field(default_factory=list)
    first: Answer | None = None
    last: Answer | None = None
    recent: deque[Answer] = field(default_factory=lambda: deque(maxlen=100))
    errors: Counter[str] = field(default_factory=Counter)

    def count(self, answer: Answer) -> None:
        self.n += 1
        self.failed += answer.status != 200
        if answer.status != 200:
            self.errors[f"{answer.status} {answer.body[:200]}"] += 1
        self.handlers[answer.handler] += 1
        if reason := answer.headers.get("X-UHLP-Deoptimized"):
            self.deoptimised[reason] += 1
        self.latencies_ms.append(answer.latency_ms)
        self.first = self.first or answer
        self.last = answer
        self.recent.append(answer)

    def quantile_ms(self, share: float) -> float | None:
        """The latency below which `share` of the answers stayed."""
        if len(self.latencies_ms) < 2:
            return self.latencies_ms[0] if self.latencies_ms else None
        return quantiles(self.latencies_ms, n=100, method="inclusive")[round(share * 100) - 1]

    @property
    def recent_p50_ms(self) -> float | None:
        """The median of the last hundred answers."""
        return median(one.latency_ms for one in self.recent) if self.recent else None

    def recent_share(self, handler: str) -> float:
        """Share of the last hundred answers that `handler` gave."""
        return sum(one.handler == handler for one in self.recent) / len(self.recent) if self.recent else 0.0


class Callers:
    """Calls one route with inputs from a generator."""

    def __init__(self, session: aiohttp.ClientSession, url: str, inputs: Iterator[dict[str, Any]]) -> None:
        self._session = session
        self.url = url
        self._inputs = inputs
        self.tally = Tally()

    async def call(self, value: dict[str, Any]) -> Answer:
        """One request."""
        started = time.perf_counter()
        try:
            async with self._session.post(self.url, json=value) as response:
                body = await response.text()
                status, headers = response.status, dict(response.headers)
        except aiohttp.ClientError as error:
            status, headers, body = 0, {}, str(error)
        latency_ms = (time.perf_counter() - started) * 1000
        named = {name.title().replace("Uhlp", "UHLP"): value for name, value in headers.items()}
        return Answer(status, named.get("X-UHLP-Handler", "-"), named, latency_ms, value, body)

    async def run(self, until: asyncio.Event, *, side_by_side: int, pause_s: float) -> None:
        """Call until told to stop; each of the callers waits `pause_s` between its calls."""

        async def caller() -> None:
            while not until.is_set():
                self.tally.count(await self.call(next(self._inputs)))
                await asyncio.sleep(pause_s)

        async with asyncio.TaskGroup() as group:
            for _ in range(side_by_side):
                group.create_task(caller())

    async def measure(self, n: int, *, side_by_side: int) -> Tally:
        """`n` calls, counted on their own."""
        tally = Tally()
        left = iter(range(n))

        async def caller() -> None:
            for _ in left:
                tally.count(await self.call(next(self._inputs)))

        async with asyncio.TaskGroup() as group:
            for _ in range(side_by_side):
                group.create_task(caller())
        return tally

"""Requests that run beside a test: one in flight, or a steady load."""

import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.e2e.server import Server


class InFlight:
    """Sends requests from threads of its own; each gives a Future of the response."""

    def __init__(self, server: Server) -> None:
        self._url = server.url
        self._threads = ThreadPoolExecutor(max_workers=32)

    def post(self, path: str, body: Mapping[str, Any]) -> "Future[httpx.Response]":
        return self._threads.submit(
            lambda: httpx.post(self._url + path, json=body, timeout=60.0, trust_env=False, verify=False)
        )


@dataclass
class Outcomes:
    """What became of a load's requests. A refused connection is the one thing no caller may see."""

    statuses: list[int] = field(default_factory=list)
    refused: int = 0
    cut_off: int = 0

    @property
    def answered(self) -> int:
        return len(self.statuses)


@contextmanager
def steady_load(server: Server, path: str, *, callers: int = 4, per_second: float = 40.0) -> Iterator[Outcomes]:
    """GET `path` at a steady pace, each request on a connection of its own, until the block ends."""
    outcomes, ending = Outcomes(), threading.Event()

    def call() -> None:
        while not ending.wait(callers / per_second):
            try:
                answer = httpx.get(server.url + path, timeout=20.0, trust_env=False, verify=False)
                outcomes.statuses.append(answer.status_code)
            except httpx.ConnectError:
                outcomes.refused += 1
            except httpx.HTTPError:
                outcomes.cut_off += 1

    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield outcomes
    finally:
        ending.set()
        deadline = time.monotonic() + 30
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

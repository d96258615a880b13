"""Load: callers that go through a soak's steps together, at a rate."""

import itertools
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import httpx

A_SECOND = 50
CALLERS = 10
PATIENCE_S = 60.0

Do = Callable[[httpx.Client, int], str]
"""Does one step, the n-th of the load; says who answered, where that is told apart. Raises Wrong."""


class Wrong(Exception):
    """An answer that is not right."""


class Step(NamedTuple):
    name: str
    do: Do


class Took(NamedTuple):
    name: str
    began_s: float
    """Monotonic."""
    took_s: float


class Load:
    """`wrong` has every answer that was not right, `took` every step, `answered` how often each name and answerer."""

    def __init__(self, url: str, steps: Sequence[Step]) -> None:
        self.wrong: Counter[str] = Counter()
        self.took: list[Took] = []
        self.answered: Counter[tuple[str, str]] = Counter()
        self._url = url
        self._steps = steps
        self._numbers = itertools.count()
        self._counting = threading.Lock()

    def run(self, seconds: float, watch: Callable[[], None], *, every_s: float) -> None:
        """For so long; `watch` is called now and then meanwhile."""
        ending = threading.Event()
        threads = [threading.Thread(target=self._call, args=(ending,), name=f"caller {at}") for at in range(CALLERS)]
        for thread in threads:
            thread.start()
        try:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                watch()
                ending.wait(every_s)
        finally:
            ending.set()
            for thread in threads:
                thread.join(PATIENCE_S)
        assert not any(thread.is_alive() for thread in threads), "a caller waits for ever"

    def _call(self, ending: threading.Event) -> None:
        with httpx.Client(base_url=self._url, timeout=PATIENCE_S, trust_env=False) as http:
            while not ending.is_set():
                number = next(self._numbers)
                step = self._steps[number % len(self._steps)]
                began = time.monotonic()
                try:
                    who = step.do(http, number)
                    with self._counting:
                        self.answered[step.name, who] += 1
                except (Wrong, httpx.HTTPError) as error:
                    with self._counting:
                        self.wrong[f"{step.name}: {error!r}"] += 1
                took = time.monotonic() - began
                self.took.append(Took(step.name, began, took))
                ending.wait(max(0.0, CALLERS / A_SECOND - took))


def right(answer: httpx.Response, status: int, body: object = None) -> None:
    """Raises Wrong where it is not; without a `body` any will do."""
    if answer.status_code != status or (body is not None and answer.json() != body):
        text = re.sub(r'"(traceId|executionId)":"\w+"', r'"\1":…', answer.text[:400])
        raise Wrong(f"{answer.status_code} {text}, not {status} {body or ''}")

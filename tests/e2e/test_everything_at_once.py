"""Ten minutes of everything at once, fifty requests a second: what the server holds afterwards is what it held before.

UHLP_SOAK_S says how many seconds, where ten minutes are too long or too short. Times are printed, not asserted.
"""

import itertools
import os
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from tests.chaos.storm import ANSWERS, BY_MODEL, storm
from tests.e2e.applications import PARCEL, TICKET, desk
from tests.e2e.model import Model, started_model
from tests.e2e.server import Server
from tests.otlp_requests import as_protobuf, point, request, total

pytestmark = pytest.mark.long

SECONDS = float(os.environ.get("UHLP_SOAK_S", "600"))
A_SECOND = 50
CALLERS = 10
ANSWERS_OF_THE_MODEL = 100_000
MOST_MORE_MIB = 6.0
"""What the last third may hold more than the second; the first is for warming up. A leak of a kilobyte a request would
be ten times that in ten minutes."""
MOST_MORE_DESCRIPTORS = 24
PATIENCE_S = 60.0

Step = Callable[[httpx.Client, int], httpx.Response]


class Held(NamedTuple):
    """What the serving process holds at one moment."""

    memory_mib: float
    descriptors: int
    threads: int


def held_by(pid: int) -> Held:
    process = Path(f"/proc/{pid}")
    pages = int((process / "statm").read_text().split()[1])
    return Held(
        pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20),
        len(list((process / "fd").iterdir())),
        len(list((process / "task").iterdir())),
    )


def steps(admin: dict[str, str]) -> list[tuple[str, int, Step]]:
    """(name, status that is right, what is done with the number of the round)."""

    def ask(path: str, body: Any) -> Step:
        return lambda http, number: http.post(f"/apps/desk/{path}", json=body)

    def record(http: httpx.Client, number: int) -> httpx.Response:
        labels = {"appId": "desk", "shelf": str(number % 200)}
        one = {"metric_name": "app.custom.parcels", "metric_type": "histogram", "value": number % 7, "labels": labels}
        return http.post("/record", json=[one] * 10)

    def export(http: httpx.Client, number: int) -> httpx.Response:
        sent = request(*(total(f"soak.{at}", point(float(number), of={"appId": "desk", "n": number % 200}))
                         for at in range(5)))  # fmt: skip
        headers = {"Content-Type": "application/x-protobuf"}
        return http.post("/v1/metrics", content=as_protobuf(sent), headers=headers)

    def remember(http: httpx.Client, number: int) -> httpx.Response:
        path = f"/admin/v1/apps/desk/runtime/key-{number % 100}"
        return http.put(path, json={"value": {"number": number}, "ttlSeconds": 30}, headers=admin)

    def look(path: str) -> Step:
        return lambda http, number: http.get(path, headers=admin)

    def commit(http: httpx.Client, number: int) -> httpx.Response:
        change = {"content": f"{number}\n", "commitMessage": "Note the number"}
        return http.put("/admin/v1/apps/desk/definition/files/number.txt", json=change, headers=admin)

    def come_and_go(http: httpx.Client, number: int) -> httpx.Response:
        app_id = f"guest-{number}"
        made = http.post("/admin/v1/apps", json=storm(app_id), headers=admin)
        if made.status_code == 201:
            http.post(f"/apps/{app_id}/sort", json=ANSWERS)
            return http.delete(f"/admin/v1/apps/{app_id}?deleteState=true", headers=admin)
        return made

    often: list[tuple[str, int, Step]] = [
        ("handler", 200, ask("sort", PARCEL)),
        ("handler", 200, ask("sort", PARCEL)),
        ("handler", 200, ask("sort", PARCEL)),
        ("model", 200, ask("classify", TICKET)),
        ("model instead of the handler", 200, ask("sort", TICKET)),
        ("bad input", 422, ask("sort", {"text": 7})),
        ("record", 202, record),
        ("export", 200, export),
        ("runtime value", 200, remember),
    ]
    now_and_then = [
        ("scrape", 200, look("/metrics")),
        ("usage", 200, look("/admin/v1/apps/desk/usage")),
        ("window", 200, look("/admin/v1/apps/desk/metrics?windowS=3600")),
        ("candidates", 200, look("/admin/v1/candidates")),
        ("sandboxes", 200, look("/admin/v1/sandboxes")),
        ("why", 200, look("/admin/v1/apps/desk/samples?componentId=sort&limit=20")),
        ("commit", 200, commit),
    ]
    mixed = [one for rare in now_and_then for one in [*often, *often, *often, rare]]
    return [*mixed, ("application that comes and goes", 200, come_and_go)]


class Load:
    """Callers that go through the steps together, at a rate; `times_s` has (name, began, took) of each."""

    def __init__(self, server: Server) -> None:
        self.wrong: Counter[str] = Counter()
        self.times_s: list[tuple[str, float, float]] = []
        self._server = server
        self._steps = list(enumerate(itertools.islice(itertools.cycle(steps(server.admin)), ANSWERS_OF_THE_MODEL)))
        self._steps.reverse()
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._call, name=f"caller {number}") for number in range(CALLERS)]

    def run(self, seconds: float, watch: Callable[[], None]) -> None:
        for thread in self._threads:
            thread.start()
        try:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                watch()
                self._ending.wait(1.0)
        finally:
            self._ending.set()
            for thread in self._threads:
                thread.join(PATIENCE_S)
        assert not any(thread.is_alive() for thread in self._threads), "a caller waits for ever"

    def _call(self) -> None:
        with httpx.Client(base_url=self._server.url, timeout=PATIENCE_S, trust_env=False) as http:
            while not self._ending.is_set() and self._steps:
                number, (name, status, step) = self._steps.pop()
                began = time.monotonic()
                try:
                    answer = step(http, number)
                    if answer.status_code != status:
                        self.wrong[f"{name}: {answer.status_code} {answer.text[:300]}"] += 1
                except httpx.HTTPError as error:
                    self.wrong[f"{name}: {error!r}"] += 1
                took = time.monotonic() - began
                self.times_s.append((name, began, took))
                self._ending.wait(max(0.0, CALLERS / A_SECOND - took))


@pytest.fixture
def model() -> Iterator[Model]:
    with started_model() as model:
        model.says(BY_MODEL, times=ANSWERS_OF_THE_MODEL)
        yield model


def test_ten_minutes_of_everything_leave_memory_descriptors_and_threads_as_they_were(
    tmp_path: Path, model: Model
) -> None:
    seen: list[Held] = []
    with Server(tmp_path / "data", environment=model.environment) as server:
        server.administer("POST", "/apps", desk(optimizationConfig={"enabled": False}))
        load = Load(server)
        load.run(SECONDS, lambda: seen.append(held_by(server.worker_pid)))
        report(seen, load)
        assert load.wrong == Counter()
        shown = server.http.get("/metrics").text
        assert 'uhlp_requests_in_flight{appId="desk",componentId="sort"} 0.0' in shown
        assert "guest-" not in shown
    third = len(seen) // 3
    middle, last = seen[third : 2 * third], seen[2 * third :]
    more_mib = statistics.median(one.memory_mib for one in last) - statistics.median(one.memory_mib for one in middle)
    assert more_mib <= MOST_MORE_MIB
    assert max(one.descriptors for one in last) <= max(one.descriptors for one in middle) + MOST_MORE_DESCRIPTORS
    assert max(one.threads for one in last) <= max(one.threads for one in middle) + 4


def report(seen: list[Held], load: Load) -> None:
    """For people: what was held, and how long requests took at first and at last."""
    every = max(1, len(seen) // 10)
    for at in range(0, len(seen), every):
        one = seen[at]
        print(f"{at:5d} s: {one.memory_mib:6.1f} MiB, {one.descriptors} descriptors, {one.threads} threads")
    began = sorted(began for _, began, _ in load.times_s)
    first, last = began[len(began) // 3], began[-len(began) // 3]
    for name in ("handler", "model", "scrape", "export"):
        early = [took for what, at, took in load.times_s if what == name and at <= first]
        late = [took for what, at, took in load.times_s if what == name and at >= last]
        times = f"p99 {_p99_ms(early):.1f} ms at first, {_p99_ms(late):.1f} at last"
        print(f"{name}: {len(early) + len(late)} requests, {times}")


def _p99_ms(times_s: list[float]) -> float:
    return sorted(times_s)[int(len(times_s) * 0.99)] * 1000 if times_s else 0.0

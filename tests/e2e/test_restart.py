"""What a restart keeps, and what a lost runtime store costs."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.applications import BILLING, PARCEL, SHIPPING, TICKET, desk
from tests.e2e.model import Model
from tests.e2e.server import Server, need, wait_until
from tests.free_port import free_port


def test_applications_samples_windows_candidates_and_ledger_survive(server: Server, model: Model) -> None:
    server.administer("POST", "/apps", desk())
    log = server.folder / "log.jsonl"
    calls = [{"input": {"text": f"parcel {number}"}, "output": SHIPPING} for number in range(60)]
    log.write_text("".join(json.dumps(call) + "\n" for call in calls))
    imported = server.command("traffic", "import", "desk", "classify", str(log))
    assert "imported 60 samples" in imported.stdout, imported.stderr
    model.hold()  # the coder is asked for ever: the candidate waits in the middle of its making
    asked = server.administer("POST", "/apps/desk/components/classify/optimize", {"action": "jit", "reason": "a test"})
    server.administer("PUT", "/apps/desk/runtime/seen", {"value": {"count": 1}})
    for _ in range(3):
        server.http.post("/apps/desk/sort", json=PARCEL)

    def window() -> dict[str, object]:
        shown = server.administer("GET", "/apps/desk/metrics?componentId=sort&windowS=86400")["all"]
        return {name: value for name, value in shown.items() if name != "callsPerMin"}

    def kept() -> dict[str, object]:
        return {
            "revision": server.administer("GET", "/apps/desk")["revision"],
            "samples": len(server.administer("GET", "/apps/desk/samples?componentId=classify&limit=100")["samples"]),
            "runtime": server.administer("GET", "/apps/desk/runtime/seen")["value"],
            "window": window(),
        }

    before = kept()
    server.stop()
    model.release()
    server.start()
    assert kept() == before
    assert (before["samples"], window()["count"]) == (60, 3)
    candidates = server.administer("GET", "/candidates?appId=desk")["candidates"]
    assert asked["candidateId"] in [one["candidateId"] for one in candidates]
    assert server.administer("POST", "/ledger/verify", {})["ok"]
    assert server.http.post("/apps/desk/sort", json=PARCEL).json() == SHIPPING


class Redis:
    """A Redis server of the test's own, which keeps every write in its append-only file."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        line = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"]
        # Every second it would hold writes back while the disk is busy, and lose them with its death.
        line += ["--appendfsync", "always", "--dir", str(self._folder)]
        self._process = subprocess.Popen(line, stdout=subprocess.DEVNULL)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    need("redis-server")
    redis = Redis(tmp_path)
    redis.start()
    yield redis
    redis.stop()


def test_without_redis_routes_answer_and_writes_say_503_until_it_is_back(
    tmp_path: Path, model: Model, redis: Redis
) -> None:
    value = {"value": [1, 2]}
    environment = {**model.environment, "UHLP_RUNTIME__URL": redis.url}
    with Server(tmp_path / "data", environment=environment) as server:
        server.administer("POST", "/apps", desk())
        server.administer("PUT", "/apps/desk/runtime/seen", value)
        redis.stop()
        refused = server.http.put("/admin/v1/apps/desk/runtime/seen", headers=server.admin, json=value)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "RUNTIME_STORE_UNAVAILABLE")
        assert refused.headers["Retry-After"]
        model.says(BILLING)
        assert server.http.post("/apps/desk/classify", json=TICKET).json() == BILLING
        assert server.http.post("/apps/desk/sort", json=PARCEL).json() == SHIPPING
        unready = server.http.get("/readyz")
        assert unready.status_code == 503
        assert "Redis" in unready.json()["reasons"]["runtimeStore"]
        redis.start()
        wait_until(lambda: server.answers("/readyz"), "the server is ready again")
        assert server.administer("GET", "/apps/desk/runtime/seen")["value"] == value["value"]

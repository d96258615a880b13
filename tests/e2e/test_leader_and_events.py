"""Two servers on one Redis, of which one decides; what it decides is streamed and posted."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from tests.e2e.applications import desk
from tests.e2e.model import Model
from tests.e2e.server import Server, kill, need, wait_until
from tests.e2e.test_restart import Redis

LEASE_S = 4


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    need("redis-server")
    redis = Redis(tmp_path)
    redis.start()
    yield redis
    redis.stop()


def leadership(server: Server) -> dict[str, object]:
    """What the server says at /readyz of who leads."""
    answer = server.http.get("/readyz")
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["evolution"])


def test_a_killed_leader_is_followed_and_a_follower_decides_nothing(tmp_path: Path, model: Model, redis: Redis) -> None:
    environment = {**model.environment, "UHLP_RUNTIME__URL": redis.url, "UHLP_RUNTIME__LEASE_S": str(LEASE_S)}
    with (
        Server(tmp_path / "one", environment=environment) as first,
        Server(tmp_path / "two", environment=environment) as second,
    ):
        wait_until(lambda: leadership(first)["leads"], "the first server leads")
        follows = leadership(second)
        assert (follows["leads"], follows["leader"]) == (False, leadership(first)["leader"])
        second.administer("POST", "/apps", desk())
        reason = {"reason": "a test"}
        refused = second.http.post("/admin/v1/evolution/pause", headers=second.admin, json=reason)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "NOT_LEADING")
        assert refused.headers["Retry-After"]
        assert first.administer("POST", "/evolution/pause", reason)["leadership"]["token"] == 1
        for pid in first.processes():
            kill(pid)
        wait_until(lambda: leadership(second)["leads"], "the second server leads", 10 * LEASE_S)
        paused = second.administer("POST", "/evolution/pause", reason)
        assert (paused["paused"], paused["leadership"]["token"]) == (True, 2)
        assert second.administer("POST", "/ledger/verify", {})["ok"]


class Hook:
    """A receiver that keeps what it gets."""

    def __init__(self) -> None:
        got: list[tuple[dict[str, str], dict[str, object]]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                got.append(({name.lower(): value for name, value in self.headers.items()}, json.loads(body)))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *words: object) -> None:
                """Says nothing."""

        self.got = got
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"


@pytest.fixture
def hook() -> Iterator[Hook]:
    one = Hook()
    thread = threading.Thread(target=one.server.serve_forever)
    thread.start()
    yield one
    one.server.shutdown()
    thread.join()
    one.server.server_close()


def test_a_decision_is_posted_and_streamed_and_an_open_stream_does_not_hold_up_the_end(
    tmp_path: Path, model: Model, hook: Hook
) -> None:
    webhooks = [{"url": hook.url, "secret": "secret:HOOK_SECRET", "events": ["paused"]}]
    environment = {**model.environment, "HOOK_SECRET": "between us", "UHLP_ALERTS__WEBHOOKS": json.dumps(webhooks)}
    with Server(tmp_path / "data", environment=environment) as server:
        assert leadership(server)["leads"]
        with httpx.stream("GET", f"{server.url}/admin/v1/events", headers=server.admin, timeout=30) as stream:
            lines = stream.iter_lines()
            assert next(lines) == ": UHLP events"
            server.administer("POST", "/evolution/pause", {"reason": "a holiday"})
            assert next(line for line in lines if line.startswith("id:")) == "id: 1"
            assert next(lines) == "event: paused"
            told = json.loads(next(lines).removeprefix("data: "))
            wait_until(lambda: hook.got, "the webhook is called")
            ((headers, posted),) = hook.got
            assert posted == told
            assert posted["reason"] == "a holiday"
            assert headers["webhook-id"] == posted["id"]
            assert headers["webhook-signature"].startswith("v1,")
            server.signal()
            assert list(lines) == [""]
        assert server.wait(10) == 0
        assert "between us" not in server.stdout.read_text() + server.stderr.read_text()

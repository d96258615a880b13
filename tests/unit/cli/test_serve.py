"""`uhlp serve`: the socket outlives the worker."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest


@dataclass(frozen=True)
class Serving:
    url: str
    data: Path


def serve(data: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "uhlp", "serve", "--port", "0", "--data-dir", str(data)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """`uhlp serve` as its own process on a free port, ended by SIGTERM."""
    data = tmp_path_factory.mktemp("data")
    process = serve(data)
    try:
        assert process.stdout is not None
        line = next(line for line in process.stdout if "running on http" in line)
        url = next(word for word in line.split() if word.startswith("http"))
        assert httpx.get(f"{url}/healthz", timeout=30).status_code == 200  # asked before the worker is ready
        yield Serving(url, data)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        assert process.returncode == 0
    finally:
        process.kill()


def test_a_killed_worker_is_replaced_and_no_connection_is_refused(serving: Serving) -> None:
    os.kill(int((serving.data / "lock").read_text()), signal.SIGKILL)
    for attempt in range(50):
        try:
            answer = httpx.get(f"{serving.url}/readyz", timeout=30)
            break
        except (httpx.ReadError, httpx.RemoteProtocolError):  # taken by the worker that died; never ConnectError
            assert attempt < 49
    assert (answer.status_code, answer.json()["status"]) == (200, "ready")


def test_a_request_with_endless_headers_is_refused(serving: Serving) -> None:
    answer = httpx.get(f"{serving.url}/healthz", headers={"X-Long": "a" * 300_000}, timeout=30)
    assert answer.status_code == 431


def test_the_admin_token_is_kept_for_its_owner_only(serving: Serving) -> None:
    file = serving.data / "admin_token"
    assert file.stat().st_mode & 0o777 == 0o600
    headers = {"Authorization": f"Bearer {file.read_text().strip()}"}
    answer = httpx.get(f"{serving.url}/admin/v1/apps", headers=headers, timeout=30)
    assert (answer.status_code, answer.json()) == (200, {"applications": []})


def test_a_second_server_on_the_same_data_is_refused_by_name(serving: Serving) -> None:
    second = serve(serving.data)
    told, _ = second.communicate(timeout=30)
    assert second.returncode == 3
    assert "UHLP cannot start: Another server (pid " in told
    assert "Traceback" not in told

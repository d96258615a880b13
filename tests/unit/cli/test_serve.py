"""`uhlp serve`: the socket outlives the worker."""

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.free_port import free_port
from uhlp.cli.serve import ALLOCATOR, HEALTH_CHECK_S


@dataclass(frozen=True)
class Serving:
    url: str
    data: Path


def serve(data: Path, *, port: int = 0, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "uhlp", "serve", "--port", str(port), "--data-dir", str(data)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
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
        assert f"{url}/panel" in line
        assert "next: uhlp init" in line
        yield Serving(url, data)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)
        assert process.returncode == 0
    finally:
        process.kill()


def test_callers_wait_from_the_first_moment_until_the_worker_is_ready(tmp_path: Path) -> None:
    port = free_port()
    process = serve(tmp_path, port=port)
    try:
        for attempt in range(3_000):
            try:
                connection = socket.create_connection(("127.0.0.1", port), timeout=120)
                break
            except ConnectionRefusedError:
                assert attempt < 2_999
                assert process.poll() is None
                select.select([], [], [], 0.01)
        with connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
    finally:
        process.terminate()
        process.communicate(timeout=120)


def test_a_port_that_is_taken_is_named_with_a_way_out(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = serve(tmp_path, port=port)
        told, _ = refused.communicate(timeout=120)
    assert refused.returncode == 1
    assert told.splitlines() == [
        f"uhlp: port {port} of 127.0.0.1 is in use",
        f"  choose another: uhlp serve --port {port % 65_535 + 1}",
    ]


def test_a_setting_that_is_wrong_is_said_in_one_line(tmp_path: Path) -> None:
    refused = serve(tmp_path, UHLP_NOPE="1")
    told, _ = refused.communicate(timeout=120)
    assert refused.returncode == 3
    assert told.startswith("UHLP cannot start: UHLP_NOPE is not a setting")
    assert len(told.splitlines()) == 1


def test_a_killed_worker_is_replaced_and_no_connection_is_refused(serving: Serving) -> None:
    os.kill(int((serving.data / "lock").read_text()), signal.SIGKILL)
    for attempt in range(50):
        try:
            answer = httpx.get(f"{serving.url}/readyz", timeout=120)
            break
        except (httpx.ReadError, httpx.RemoteProtocolError):  # taken by the worker that died; never ConnectError
            assert attempt < 49
    assert (answer.status_code, answer.json()["status"]) == (200, "ready")


def test_a_worker_that_hangs_and_is_then_killed_is_replaced_long_before_a_hung_one_would_be(serving: Serving) -> None:
    worker = int((serving.data / "lock").read_text())
    os.kill(worker, signal.SIGSTOP)
    with pytest.raises(httpx.ReadTimeout):  # meanwhile the supervisor has asked it for a sign of life
        httpx.get(f"{serving.url}/healthz", timeout=1.5)
    os.kill(worker, signal.SIGKILL)
    for attempt in range(50):
        try:
            answer = httpx.get(f"{serving.url}/healthz", timeout=HEALTH_CHECK_S * 0.9)
            break
        except (httpx.ReadError, httpx.RemoteProtocolError):
            assert attempt < 49
    assert answer.status_code == 200


def test_a_request_with_endless_headers_is_refused(serving: Serving) -> None:
    answer = httpx.get(f"{serving.url}/healthz", headers={"X-Long": "a" * 300_000}, timeout=120)
    assert answer.status_code == 431


def test_the_admin_token_is_kept_for_its_owner_only(serving: Serving) -> None:
    file = serving.data / "admin_token"
    assert file.stat().st_mode & 0o777 == 0o600
    headers = {"Authorization": f"Bearer {file.read_text().strip()}"}
    answer = httpx.get(f"{serving.url}/admin/v1/apps", headers=headers, timeout=120)
    assert (answer.status_code, answer.json()) == (200, {"appIds": [], "applications": []})


def test_a_second_server_on_the_same_data_is_refused_by_name(serving: Serving) -> None:
    second = serve(serving.data)
    told, _ = second.communicate(timeout=120)
    assert second.returncode == 3
    assert "UHLP cannot start: Another server (pid " in told
    assert len(told.splitlines()) == 1


def test_the_worker_gives_memory_back_as_its_environment_says(tmp_path: Path) -> None:
    process = serve(tmp_path, MALLOC_ARENA_MAX="3")
    try:
        assert process.stdout is not None
        next(line for line in process.stdout if "running on http" in line)
        worker = int((tmp_path / "lock").read_text())
        given = dict(one.split("=", 1) for one in Path(f"/proc/{worker}/environ").read_text().split("\0") if "=" in one)
    finally:
        process.terminate()
        process.communicate(timeout=120)
    assert {name: given.get(name) for name in ALLOCATOR} == {**ALLOCATOR, "MALLOC_ARENA_MAX": "3"}

"""What a stranger meets: a server that starts without configuration, or says in one line why it does not."""

import re
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.applications import TICKET, desk
from tests.e2e.server import END_WITHIN_S, Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """No configuration at all, and no model."""
    with Server(tmp_path_factory.mktemp("first") / "data") as server:
        yield server


def refusal(server: Server) -> str:
    """The one line that says why `server` does not start."""
    server.launch()
    assert server.wait(END_WITHIN_S) != 0
    said = server.stderr.read_text()
    lines = [line for line in said.splitlines() if "UHLP cannot start" in line]
    assert len(lines) == 1, said
    assert "Traceback" not in said
    return lines[0]


def test_the_admin_token_is_printed_at_the_first_start_and_never_again(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        kept = server.data_dir / "admin_token"
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert server.stdout.read_text().count(kept.read_text().strip()) == 1
        server.stop()
        server.start()
        assert "admin token" not in server.stdout.read_text() + server.stderr.read_text()
        assert server.administer("GET", "/apps")["applications"] == []


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/openapi.json"])
def test_the_server_tells_of_itself(server: Server, path: str) -> None:
    assert server.http.get(path).status_code == 200


def test_administration_needs_the_token(server: Server) -> None:
    assert server.http.get("/admin/v1/apps").status_code == 401
    wrong = {"Authorization": "Bearer wrong"}
    assert server.http.get("/admin/v1/apps", headers=wrong).json()["error"]["code"] == "UNAUTHORIZED"


def test_the_panel_asks_for_the_token_first(server: Server) -> None:
    page = server.http.get("/panel", follow_redirects=True)
    assert (page.status_code, page.url.path) == (200, "/panel/login")


def test_without_a_model_the_answer_says_what_to_set(server: Server) -> None:
    server.administer("POST", "/apps", desk())
    answer = server.http.post("/apps/desk/classify", json=TICKET)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "NO_MODEL_PROVIDER")
    assert "OPENAI_API_KEY" in answer.json()["error"]["message"]


def test_a_recorded_metric_is_shown(server: Server) -> None:
    record = {"metric_name": "app.custom.tickets", "metric_type": "counter", "value": 3, "labels": {"queue": "billing"}}
    assert server.http.post("/record", json=record).status_code == 202
    assert re.search(r'^app_custom_tickets[^#]*queue="billing".* 3', server.http.get("/metrics").text, re.MULTILINE)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS to a plain port
        b"NONSENSE\r\n\r\n",
        b"GET /healthz HTTP/9.9\r\n\r\n",
        b"POST /record HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
        b"POST /record HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"POST /record HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /" + b"a" * 200_000,
        b"GET /\x00\xff HTTP/1.1\r\nHost: \xff\xfe\r\n\r\n",
        b"\x00" * 4096,
    ],
)
def test_garbage_on_the_socket_is_never_a_server_error(server: Server, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.settimeout(5)
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(64)
        except (ConnectionError, TimeoutError):  # hung up on
            answer = b""
    assert not answer.startswith(b"HTTP/1.1 5"), answer
    assert server.answers("/healthz")


def test_a_second_server_on_the_same_data_is_refused_and_told_who_is_there(server: Server) -> None:
    second = Server(server.data_dir, folder=server.folder)
    second.stdout, second.stderr = server.folder / "second.stdout", server.folder / "second.stderr"
    assert f"pid {server.worker_pid}" in refusal(second)
    assert server.answers("/readyz")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("UHLP_COLOUR", "red", "UHLP_COLOUR is not a setting"),
        ("UHLP_EVOLUTION__CYCLE_S", "soon", "evolution.cycle_s"),
        ("UHLP_DEPLOYMENT_MODE", "production", "UHLP_ADMIN_TOKEN"),
        ("UHLP_RUNTIME__URL", "ftp://nowhere", "runtime.url"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_line(tmp_path: Path, name: str, value: str, said: str) -> None:
    assert said in refusal(Server(tmp_path / "data", environment={name: value}))


def test_uhlp_toml_is_read(tmp_path: Path) -> None:
    (tmp_path / "uhlp.toml").write_text("[limits]\nmax_body_bytes = 2048\n")
    with Server(tmp_path / "data", folder=tmp_path) as server:
        setting = server.administer("GET", "/settings")["settings"]["limits.max_body_bytes"]
        assert setting == {"value": 2048, "origin": "uhlp.toml"}
        assert server.http.post("/record", content=b" " * 4096).status_code == 413


def test_uvicorn_serves_the_same_application(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "uvicorn", "uhlp.main:app", "--port", "{port}")
    with Server(tmp_path / "data", command=command) as server:
        server.administer("POST", "/apps", desk())
        assert server.http.post("/apps/desk/classify", json=TICKET).status_code == 503

"""Tokens and settings of a real server: what a person made or changed outlives a restart, and wins."""

import threading
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from tests.e2e.applications import desk
from tests.e2e.server import Server, wait_until


def test_what_was_made_and_changed_at_run_time_outlives_a_restart(tmp_path: Path) -> None:
    with Server(tmp_path / "data", environment={"UHLP_EVOLUTION__DELTA": "0.1"}) as server:
        made = server.administer("POST", "/tokens", {"name": "ann", "role": "operator"})
        hers = {"Authorization": f"Bearer {made['token']}"}
        server.administer("POST", "/apps", desk())
        server.administer("PUT", "/evolution/config", {"changes": {"delta": 0.02}, "reason": "stricter"})
        server.administer("PUT", "/config", {"configuration": {"currency": "EUR"}, "reason": "ours"})
        assert server.administer("GET", "/apps/desk/config/currency")["value"] == "EUR"
        paused = server.http.post("/admin/v1/evolution/pause", headers=hers, json={"reason": "holiday"})
        assert paused.status_code == 200, paused.text
        assert server.http.delete("/admin/v1/apps/desk", headers=hers).json()["error"]["code"] == "PERMISSION_DENIED"
        server.stop()
        server.start()
        assert server.http.get("/admin/v1/apps", headers=hers).status_code == 200
        delta = server.administer("GET", "/evolution/config")["numbers"]["delta"]
        assert (delta["value"], delta["origin"], delta["changedBy"]) == (0.02, "run time", "admin")
        assert server.administer("GET", "/apps/desk/config/currency")["value"] == "EUR"
        entries = server.administer("GET", "/ledger")["entries"]
        assert [(one["event"], one["actor"], one["role"]) for one in entries] == [
            ("access", "admin", "owner"),
            ("setting", "admin", "owner"),
            ("setting", "admin", "owner"),
            ("paused", "ann", "operator"),
        ]
        assert server.administer("POST", "/ledger/verify")["ok"] is True
        server.administer("DELETE", f"/tokens/{made['tokenId']}")
        assert server.http.get("/admin/v1/apps", headers=hers).status_code == 401
        secret = made["token"].rpartition("_")[2]
        assert secret not in server.stdout.read_text() + server.stderr.read_text()
        assert not any(secret.encode() in file.read_bytes() for file in server.data_dir.rglob("*") if file.is_file())


def test_a_definition_sends_no_secret_of_the_servers_own(tmp_path: Path) -> None:
    asked: list[str | None] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers["Authorization"])
            self.send_error(401)

        def log_message(self, *facts: object) -> None:
            pass

    elsewhere = HTTPServer(("127.0.0.1", 0), Elsewhere)
    threading.Thread(target=elsewhere.serve_forever, daemon=True).start()
    remote = {"repoUrl": f"http://127.0.0.1:{elsewhere.server_port}/x.git", "username": "me"}
    allowed = {"UHLP_SECRETS__APPLICATIONS": '{"*": ["*"]}', "UHLP_REMOTES__ALLOW_HOSTS": '["127.0.0.1"]'}
    with Server(
        tmp_path / "data", environment={"UHLP_ADMIN_TOKEN": "the-owners", "THEIRS": "harmless"} | allowed
    ) as server:
        for app_id, secret in (("bold", "UHLP_ADMIN_TOKEN"), ("fair", "THEIRS")):
            state = {"stateStoreConfig": {"params": {**remote, "credential": f"secret:{secret}"}}}
            answer = server.http.post(
                "/admin/v1/apps",
                json={"definition": {"appId": app_id, **state}, "files": {}},
                headers={"Authorization": "Bearer the-owners"},
            )
            assert answer.status_code == (422 if app_id == "bold" else 201), answer.text
            assert "the-owners" not in answer.text
        wait_until(lambda: b64encode(b"me:harmless").decode() in str(asked), "the remote is asked with what is theirs")
    elsewhere.shutdown()
    assert b64encode(b"me:the-owners").decode() not in str(asked)

"""Tokens and settings of a real server: what a person made or changed outlives a restart, and wins."""

from pathlib import Path

from tests.e2e.applications import desk
from tests.e2e.server import Server


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

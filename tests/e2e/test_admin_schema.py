"""The administration under requests made up from its own OpenAPI document: no 5xx, nothing it does not describe."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.server import Server

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
)
DESK = {
    "definition": {"appId": "desk", "public": True},
    "files": {
        "component_registry.yaml": "components: [{componentId: triage, taskDetails: {prompt_template: triage},"
        " routeMatcher: {pathPattern: /tickets}}]",
        "prompts/triage.yaml": "template: hello",
    },
}
KNOWN = """\
[parameters]
"path.app_id" = "desk"
"path.component_id" = "triage"
"""
NOT_PLAYED = ("events_", "deregister_application")
"""An answer without end, and the end of the application that all others ask for."""


def found_by_schemathesis(folder: Path, *, seconds: int, examples: int) -> str:
    with Server(folder / "data", environment={"UHLP_SANDBOX__DRIVER": "process"}) as server:
        token = (server.data_dir / "admin_token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        server.http.post("/admin/v1/apps", json=DESK, headers=headers).raise_for_status()
        document = server.http.get("/openapi.json").json()
        operations = [one["operationId"] for path in document["paths"].values() for one in path.values()]
        excluded = [name for name in operations if name.startswith(NOT_PLAYED)]
        assert len(excluded) == len(NOT_PLAYED)
        (folder / "schemathesis.toml").write_text(KNOWN)
        command = [
            Path(sys.executable).with_name("schemathesis"), "--no-color", "--config-file", "schemathesis.toml",
            "run", f"{server.url}/openapi.json", "--header", f"Authorization: Bearer {token}",
            "--checks", ",".join(CHECKS), "--phases", "coverage,fuzzing", "--continue-on-failure",
            "--max-time", str(seconds), "--max-examples", str(examples), "--seed", "1", "--request-timeout", "20",
            *(part for name in excluded for part in ("--exclude-operation-id", name)),
        ]  # fmt: skip
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=seconds + 120)
        logged = server.stderr.read_text() + server.stdout.read_text()
    assert "request_failed" not in logged
    assert "Test cases:" in done.stdout, done.stdout + done.stderr
    return "" if done.returncode == 0 else done.stdout


def test_made_up_requests_find_no_fault_in_the_administration(tmp_path: Path):
    assert found_by_schemathesis(tmp_path, seconds=8, examples=5) == ""


@pytest.mark.long
def test_many_made_up_requests_find_no_fault_in_the_administration(tmp_path: Path):
    assert found_by_schemathesis(tmp_path, seconds=180, examples=100) == ""

"""A prompt is evaluated, shortened, overridden and put back on a real server (simulated model)."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.server import wait_until
from tests.e2e.support_desk import APP, FOLDER, SupportDesk, support_desk

NAME = "ticket-triage"
PLACE = f"/apps/{APP}/prompts/{NAME}/overrides"
FILLER = "Read to the end before you decide, and then decide as you would for a ticket of your own."
TICKET = {"subject": "Help", "text": "The invoice shows the same payment twice."}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SupportDesk]:
    with support_desk(tmp_path_factory.mktemp("desk"), latency_ms=2.0) as made:
        made.register()
        wordy = (FOLDER / "prompts" / f"{NAME}.yaml").read_text().replace("  # Rules\n", f"  # Rules\n{_repeated(9)}")
        made.server.administer(
            "PUT", f"/apps/{APP}/definition/prompts/{NAME}.yaml", {"content": wordy, "commitMessage": "Say it often"}
        )
        made.call(NAME, 60)
        yield made


def _repeated(times: int) -> str:
    return f"  {FILLER}\n" * times


def command(desk: SupportDesk, *words: str) -> Any:
    """What `uhlp <words> --json` prints."""
    ended = desk.server.command(*words, "--json")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return json.loads(ended.stdout)


def test_a_component_is_evaluated_and_two_evaluations_are_compared(desk: SupportDesk) -> None:
    golden = command(desk, "eval", APP, NAME, "--dataset", "golden")
    assert golden["state"] == "done"
    assert golden["figures"]["n"] == golden["figures"]["asked"] == 5
    recorded = command(desk, "eval", APP, NAME, "--limit", "20", "--repeats", "2")
    assert recorded["figures"]["n"] == 40
    assert recorded["figures"]["errored"] == 0
    assert recorded["figures"]["tokensIn"] > 40 * 100
    compared = command(desk, "eval", "compare", APP, golden["id"], recorded["id"])
    assert (compared["sameDataset"], compared["samePrompt"]) == (False, True)
    assert {one["id"] for one in command(desk, "eval", "list", APP)} >= {golden["id"], recorded["id"]}
    shown = desk.server.command("eval", APP, NAME, "--dataset", "golden").stdout
    assert "prompt@stable: done" in shown
    assert max(len(line) for line in shown.splitlines() if "runs" in line or "100.0%" in line) <= 90


def test_what_cannot_be_evaluated_is_told(desk: SupportDesk, tmp_path: Path) -> None:
    gone = desk.server.command("eval", APP, NAME, "--tag", "gone", "--dataset", "golden", "--json")
    figures = json.loads(gone.stdout)["figures"]
    assert (figures["errored"], figures["passed"]) == (5, 0)
    nothing_known = desk.server.command("eval", APP, "case-summary")
    assert nothing_known.returncode != 0
    assert "evals/case-summary.jsonl" in nothing_known.stderr
    bad = tmp_path / "bad.jsonl"
    bad.write_text("{}\nnonsense\n")
    assert "line 2" in desk.server.command("eval", APP, NAME, "--dataset", str(bad)).stderr


def test_a_shorter_prompt_is_found_put_into_service_and_taken_back(desk: SupportDesk) -> None:
    found = command(desk, "compress", APP, NAME, "--strategy", "deterministic")
    assert (found["step"], found["verdict"]) == ("DONE", "shorter")
    (accepted,) = [one for one in found["report"]["edits"] if one["outcome"] == "accepted"]
    assert accepted["measuredSaving"] > 100
    assert found["totalTokenReduction"] > 100
    (modification,) = found["report"]["modifications"]
    override = {
        "path": modification["sectionPath"],
        "expectedHash": modification["originalHash"],
        "body": modification["proposedBody"],
    }
    before = desk.server.administer("GET", f"/apps/{APP}/status")["details"]["revision"]
    put = command(desk, "compressions", found["requestId"], "--apply", "--reason", "shorter")
    after = desk.server.administer("GET", f"/apps/{APP}/status")["details"]["revision"]
    assert before != after
    assert _tokens(desk) < 0.9 * found["baselineTokenCount"]
    assert FILLER in command(desk, "overrides", APP, NAME, "--diff", "source..stable")["diff"]
    refused = _post(desk, PLACE, {"overrides": [override], "expectedRevision": None})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "OVERRIDE_CONFLICT")
    broken = _post(desk, PLACE, {"overrides": [{**override, "body": "{{ secret }}"}]})
    assert (broken.status_code, broken.json()["error"]["code"]) == (422, "OVERRIDE_REFUSED")
    assert (put["sections"], put["tag"]) == (["rules"], "stable")
    again = desk.server.command("compressions", found["requestId"], "--apply")
    assert again.returncode != 0
    assert "not the prompt that the report is about any more" in again.stderr
    command(desk, "overrides", APP, NAME, "--restore", "stable@none")
    assert _tokens(desk) == pytest.approx(found["baselineTokenCount"], rel=0.1)
    history = command(desk, "overrides", APP, NAME, "--history", "stable")["versions"]
    assert [one["revision"] for one in history] == [put["revision"]]


def test_a_request_is_followed_and_cancelled(desk: SupportDesk) -> None:
    body = {"promptNs": APP, "promptKey": NAME, "requestId": "to-be-cancelled", "strategies": ["deterministic"]}
    assert desk.server.administer("POST", "/optimize-requests", body) == {"requestId": "to-be-cancelled"}
    again = desk.server.administer("POST", "/optimize-requests", body)
    assert again == {"requestId": "to-be-cancelled"}
    cancelled = _post(desk, "/optimize-requests/to-be-cancelled/cancel", {})
    assert cancelled.status_code in (200, 409)  # it may be over already
    assert "to-be-cancelled" in desk.server.command("compressions").stdout
    unknown = _post(desk, "/optimize-requests", {"promptNs": APP, "promptKey": "nobody"})
    assert unknown.status_code == 404


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"strategies": ["deterministic", "magic"]}, 422),
        ({"componentId": "nobody"}, 422),
        ({"createdAt": "2026-01-01T00:00:00"}, 422),
        ({"evaluator": {"kind": "schema", "schema": {"type": "nope"}}}, 422),
        ({"dataset": {"samples": [{"id": "1", "input": {"text": "x" * 2_000_000}, "expected": 1}]}}, 413),
    ],
)
def test_a_request_that_is_refused_is_not_kept(desk: SupportDesk, more: dict[str, Any], status: int) -> None:
    sent = {"promptNs": APP, "promptKey": NAME, "requestId": "refused", **more}
    refused = _post(desk, "/optimize-requests", sent)
    assert refused.status_code == status, refused.text
    known = desk.server.administer("GET", "/optimize-requests")["requests"]
    assert "refused" not in {one["requestId"] for one in known}


def test_an_evaluation_that_hangs_is_left_with_ctrl_c_and_cancelled(desk: SupportDesk) -> None:
    desk.model_fails(timeout=1.0)
    try:
        words = (sys.executable, "-m", "uhlp", "eval", APP, NAME, "--dataset", "golden")
        with subprocess.Popen(
            words, cwd=desk.server.folder, env=desk.server.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as left:
            running = wait_until(
                lambda: next((one for one in command(desk, "eval", "list", APP) if one["state"] == "running"), None),
                "the evaluation runs",
            )
            left.send_signal(signal.SIGINT)
            out, err = left.communicate(timeout=120)
        assert (left.returncode, out) == (130, b"")
        assert err.decode().strip() == f"it goes on at the server; to end it: uhlp eval cancel {APP} {running['id']}"
        cancelled = desk.server.command("eval", "cancel", APP, running["id"])
        assert cancelled.stdout == f"{running['id']} is cancelled; 0 of 5 runs were answered\n", cancelled.stderr
        again = desk.server.command("eval", "cancel", APP, running["id"])
        assert (again.returncode, "is over: cancelled" in again.stderr) == (1, True)
    finally:
        desk.model_fails()


def _post(desk: SupportDesk, path: str, body: dict[str, Any]) -> httpx.Response:
    return desk.server.http.post(f"/admin/v1{path}", headers=desk.server.admin, json=body)


def _tokens(desk: SupportDesk) -> float:
    """Prompt tokens of one request, as they are counted for the application."""
    before = _sum(desk)
    answer = desk.server.http.post(f"/apps/{APP}/tickets", json=TICKET)
    assert answer.status_code == 200, answer.text
    return wait_until(lambda: _sum(desk) - before, "the request's tokens are counted")


def _sum(desk: SupportDesk) -> float:
    usage = desk.server.administer("GET", f"/apps/{APP}/usage")
    return float(usage["components"][NAME]["total"]["byPurpose"]["serve"]["tokensIn"])

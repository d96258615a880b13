"""Commands that act, for programs: what came of it on standard output, and errors in the server's form."""

import json
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import Done, Run


def result(done: Done) -> Any:
    assert (done.status, done.err) == (0, ""), done
    return json.loads(done.out)


async def test_an_application_is_written_and_applied(uhlp: Run, server: dict[str, str], tmp_path: Path) -> None:
    made = result(await uhlp("init", "desk", "--json"))
    assert (made["appId"], made["folder"], made["source"]) == ("desk", "desk", "template")
    assert {"app.yaml", "component_registry.yaml"} <= {*made["files"]}
    drafted = result(await uhlp("init", "letters", "--describe", "Sort letters", "--json", **server))
    assert (drafted["source"], drafted["problems"]) == ("template", [])

    async def applied() -> tuple[dict[str, Any], str]:
        done = await uhlp("apply", "desk", "--json", **server)
        assert done.status == 0, done.err
        return json.loads(done.out), done.err

    created, warned = await applied()
    assert (created["outcome"], [one["componentId"] for one in created["components"]]) == (
        "created",
        ["classify-ticket"],
    )
    assert created["warnings"][0] in warned
    (tmp_path / "desk" / "evals" / "classify-ticket.jsonl").unlink()
    updated, _ = await applied()
    assert (updated["outcome"], updated["changes"]) == ("updated", ["removed evals/classify-ticket.jsonl"])
    assert updated["resultingRevision"] != created["resultingRevision"]
    assert (await applied())[0]["outcome"] == "unchanged"


async def test_calls_are_imported_and_candidates_moved(uhlp: Run, server: dict[str, str], tmp_path: Path) -> None:
    await uhlp("init", "desk")
    await uhlp("apply", "desk", **server)
    rows = [{"input": {"subject": "s", "text": "t"}, "output": {"queue": queue}} for queue in ("billing", "nonsense")]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, rows)))
    told = result(await uhlp("traffic", "import", "desk", "classify-ticket", "log.jsonl", "--json", **server))
    assert (told["imported"], told["refused"], told["problems"][0]["line"]) == (1, 1, 2)
    because = ("--reason", "tried it", "--json")
    assert result(await uhlp("optimize", "desk", "classify-ticket", *because, **server))["candidateId"] == "cand-1"
    for action in ("approve", "reject", "rollback", "promote-full", "quarantine", "pause", "resume"):
        assert result(await uhlp(action, "cand-1", *because, **server))["candidateId"] == "cand-1", action
    key = result(await uhlp("keys", "create", "desk", "--json", **server))
    assert result(await uhlp("keys", "delete", "desk", key["keyId"], "--json", **server))["keyId"] == key["keyId"]
    token = result(await uhlp("tokens", "create", "ann", "--role", "viewer", "--json", **server))
    assert token["token"].startswith("uhlp_admin_")


@pytest.mark.parametrize(
    ("words", "environment", "status", "code", "hint"),
    [
        (("why", "nobody", "x"), {}, 1, "APP_NOT_FOUND", "there is no application yet"),
        (("apply", "nowhere"), {}, 1, "COMMAND_FAILED", "uhlp init DIR"),
        (("status",), {"UHLP_ADMIN_TOKEN": "wrong"}, 3, "UNAUTHORIZED", "UHLP_ADMIN_TOKEN"),
        (("status",), {"UHLP_URL": "http://127.0.0.1:9"}, 3, "SERVER_NOT_ASKED", "uhlp serve"),
        (("estimate", "bad.jsonl"), {}, 1, "VALIDATION_FAILED", ""),
    ],
)
async def test_an_error_is_json_on_standard_error(
    uhlp: Run,
    server: dict[str, str],
    tmp_path: Path,
    words: tuple[str, ...],
    environment: dict[str, str],
    status: int,
    code: str,
    hint: str,
) -> None:
    (tmp_path / "bad.jsonl").write_text("{no\n")
    failed = await uhlp(*words, "--json", **{**server, **environment})
    error = json.loads(failed.err)["error"]
    assert (failed.status, failed.out, error["code"]) == (status, "", code)
    assert error.keys() == {"code", "message", "retryable", "details", "traceId", "hint"}
    assert hint in error["hint"]
    plain = await uhlp(*words, **{**server, **environment})
    assert plain.err.startswith(f"uhlp: {error['message']}")

"""Every command that reads, in a terminal of 80 columns, against a server that has something to show."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.cells import cell_len

from tests.e2e.server import CHECKOUT, wait_until
from tests.e2e.support_desk import APP, SupportDesk, support_desk

COLUMNS = 80


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SupportDesk]:
    """A desk with answers, a key, a token, an evaluation, a second revision, and a candidate that has been judged."""
    with support_desk(tmp_path_factory.mktemp("terminal"), latency_ms=10.0) as opened:
        opened.register()
        opened.call("order-lines", 120)
        opened.call("case-summary", 12)
        server = opened.server
        for words in (
            ("optimize", APP, "order-lines", "--reason", "a rehearsal with words enough to need more than one line"),
            ("keys", "create", APP, "--description", "the shop's own callers, all of them, day and night"),
            ("tokens", "create", "a-colleague-with-a-long-name", "--role", "viewer"),
            ("pause", "--app", APP, "--component", "amounts", "--reason", "nobody looks after it now"),
            ("eval", APP, "order-lines", "--dataset", "golden"),
        ):
            done = server.command(*words)
            assert done.returncode == 0, (words, done.stdout, done.stderr)
        wait_until(
            lambda: (opened.candidate("order-lines") or {}).get("state") != "discovered", "a judged candidate", 30.0
        )
        yield opened


def shown(desk: SupportDesk, *words: str) -> str:
    """What a command prints in a terminal of 80 columns."""
    done = subprocess.run(
        [sys.executable, "-m", "uhlp", *words],
        cwd=desk.server.folder,
        env={**desk.server.environment, "COLUMNS": str(COLUMNS)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), (words, done.stdout, done.stderr)
    return done.stdout


def reading(desk: SupportDesk) -> list[tuple[str, ...]]:
    candidate = str((desk.candidate("order-lines") or {})["candidateId"])
    evals = json.loads(shown(desk, "eval", "list", APP, "--json"))
    log = desk.server.folder / "log.jsonl"
    rows = [json.loads(line) for line in (Path(CHECKOUT) / "uhlp/demo/support_desk/evals/ticket-triage.jsonl").open()]
    log.write_text("\n".join(json.dumps({"input": one["input"], "output": one["expected"]}) for one in rows * 20))
    return [
        ("status",), ("why", APP, "order-lines"), ("why", APP, "case-summary"), ("candidates",), ("show", candidate),
        ("history", APP), ("history", APP, "order-lines"), ("recommendations",), ("savings", APP), ("usage", APP),
        ("executions", APP), ("queues", APP), ("tools", APP), ("logs",), ("logs", "--app", APP), ("metrics",),
        ("adjudications", APP, "order-lines"), ("ledger", "show"), ("ledger", "verify"), ("evolution", "config"),
        ("eval", "list", APP), ("eval", "compare", APP, evals[0]["id"], evals[0]["id"]),
        ("overrides", APP, "order-lines"), ("compressions",), ("settings",), ("config",), ("keys", "list", APP),
        ("tokens", "list"), ("sandbox", "list"), ("estimate", str(log)), ("diff", APP),
    ]  # fmt: skip


def test_nothing_is_wider_than_the_terminal_but_words_that_are(desk: SupportDesk) -> None:
    too_wide = {}
    for words in reading(desk):
        lines = [line for line in shown(desk, *words).splitlines() if cell_len(line) > COLUMNS]
        wide = [line for line in lines if all(cell_len(word) < COLUMNS - 6 for word in line.split())]
        if wide and words[0] != "diff":
            too_wide[words] = wide[:3]
    assert too_wide == {}, json.dumps(list(too_wide.values()), indent=1)


@pytest.mark.long
def test_every_command_that_reads_prints_json_that_can_be_read(desk: SupportDesk) -> None:
    for words in reading(desk):
        json.loads(shown(desk, *words, "--json"))


def test_the_log_says_who_changed_what(desk: SupportDesk) -> None:
    lines = json.loads(shown(desk, "logs", "--json", "--limit", "1000"))
    changes = [one for one in lines if one["event"] == "admin_change" and one["facts"]["path"] == "/admin/v1/tokens"]
    ((actor, trace),) = {(one["facts"]["actor"], one["traceId"]) for one in changes}
    assert actor == "admin"
    assert trace in shown(desk, "logs", "--trace", trace)
    assert shown(desk, "logs", "--app", "nobody") == "No lines.\n"

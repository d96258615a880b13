"""The demo, run as a stranger runs it, and its report held against what it promises."""

import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.e2e.server import CHECKOUT
from tests.walls import need_walls

_WORDS = {
    "beneficiary_not_allowed": ("beneficiary", "payee", "recipient"),
    "disposable_card_limits": ("disposable", "virtual", "throwaway"),
    "exchange_rate": ("exchange", "currency", "conversion"),
    "pending_card_payment": ("payment", "purchase", "merchant"),
    "pending_cash_withdrawal": ("cash", "withdrawal", "atm"),
}
_FILLING = ("why", "does", "my", "the", "app", "still", "show", "again", "today", "please", "since", "this", "week")


def run_demo(tmp_path: Path, *options: str, within_s: float) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """The finished command and its report."""
    need_walls()
    report = tmp_path / "report.json"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UHLP_")}
    done = subprocess.run(
        [sys.executable, "-m", "uhlp", "demo", "--once", "--port", "0", "--report", str(report), *options],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(CHECKOUT), "COLUMNS": "100", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
    )
    assert report.is_file(), done.stdout + done.stderr
    return done, json.loads(report.read_text(encoding="utf-8"))


def left_running(tmp_path: Path) -> list[str]:
    """Command lines of living processes that still work in the demo's own directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if str(tmp_path / "uhlp-demo-").encode() in line:
            found.append(line.replace(b"\0", b" ").decode(errors="replace")[:200])
    return found


@pytest.fixture(scope="module")
def support_desk(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    tmp_path = tmp_path_factory.mktemp("demo")
    done, report = run_demo(tmp_path, within_s=400)
    assert left_running(tmp_path) == []
    return done, report


def component(report: dict[str, Any], component_id: str) -> dict[str, Any]:
    return next(one for one in report["components"] if one["component_id"] == component_id)


def test_every_expectation_of_the_demo_holds(support_desk: Any) -> None:
    done, report = support_desk
    stories = [(one["component_id"], one["broken"], one["reason"]) for one in report["components"]]
    assert report["ok"], (report["broken"], stories, done.stdout[-3000:])
    assert done.returncode == 0
    assert report["model"] == "simulated"
    assert report["ledger"]["ok"]


def test_one_component_compiles_fully_and_one_partly(support_desk: Any) -> None:
    _, report = support_desk
    order_lines, tickets = component(report, "order-lines"), component(report, "ticket-triage")
    assert order_lines["state"] == tickets["state"] == "promoted"
    assert order_lines["before"]["handlers"] == {"llm": 60}
    assert order_lines["after"]["handlers"]["jit"] >= 0.95 * order_lines["after"]["calls"]
    assert order_lines["after"]["tokens_per_1000"] < order_lines["before"]["tokens_per_1000"] / 2
    assert 0 < tickets["deoptimised"]["guard"] < tickets["after"]["calls"]
    assert tickets["agreement"] >= 0.95


def test_a_first_handler_that_passes_its_own_tests_is_stopped_by_replay(support_desk: Any) -> None:
    _, report = support_desk
    amounts = component(report, "amounts")
    assert amounts["state"] == "promoted"
    assert "train_replay" in amounts["refused"][0]


def test_free_text_stays_with_the_model_says_why_and_gets_a_shorter_prompt_on_trial(support_desk: Any) -> None:
    done, report = support_desk
    summaries = component(report, "case-summary")
    assert summaries["state"] in ("shadow", "canary", "promoted")
    assert "not a function" in summaries["refused"][0]
    assert summaries["after"]["handlers"] == {"llm": summaries["after"]["calls"]}
    tokens = summaries["tokens"]
    assert tokens["after"] < 0.9 * tokens["before"]
    assert tokens["ofBefore"] == tokens["ofAfter"] >= 30
    assert tokens["passedAfter"] >= 0.95 * tokens["ofAfter"]
    assert "prompt tokens a call" in done.stdout
    said = " ".join(done.stdout.split())
    assert ("the shorter prompt goes into service by itself" in said) == (summaries["state"] != "promoted")
    assert "The server ends now" in said
    assert "In another terminal" not in said


def test_two_calls_and_the_source_are_printed(support_desk: Any) -> None:
    done, _ = support_desk
    assert done.stdout.index("X-UHLP-Handler: llm") < done.stdout.index("X-UHLP-Handler: jit")
    assert "X-UHLP-Implementation: jit@v1" in done.stdout
    assert "def handle(inputs, context):" in done.stdout


def test_a_recording_becomes_a_partial_handler_with_its_figures(tmp_path: Path) -> None:
    random = Random(7)
    rows = []
    for number in range(220):
        label = random.choice(sorted(_WORDS))
        words = random.choices(_FILLING, k=7)
        words.insert(random.randrange(8), random.choice(_WORDS[label]))
        text = f"{' '.join(words)} {number}"
        rows.append({"text": text, "llm_label": label, "gold_label": label})
    recording = tmp_path / "recorded.jsonl"
    recording.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    done, report = run_demo(tmp_path, "--app", "banking77", "--traffic", str(recording), within_s=120)
    assert done.returncode == 0, done.stdout[-2000:]
    assert report["model"] == "recorded"
    assert report["imported"] == report["served"] == 220
    assert report["train"] + report["held_out"] == 220
    assert report["answered_by_code"] > 0.5 * report["held_out"]
    assert report["agree_with_model"] == report["agree_with_gold"] >= 0.95 * report["answered_by_code"]
    assert report["proven"] <= 0.10
    assert left_running(tmp_path) == []


def test_a_recording_that_is_missing_is_one_readable_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "uhlp", "demo", "--app", "banking77", "--traffic", "none.jsonl"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(CHECKOUT)}, capture_output=True, text=True, timeout=30,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.strip() == "uhlp: there is no file none.jsonl"

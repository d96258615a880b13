"""A shorter prompt goes through the governor on a real server: found, shadowed, canaried, promoted, taken back."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.server import wait_until
from tests.e2e.support_desk import APP, FOLDER, SupportDesk, support_desk

NAME = "ticket-triage"
FILLER = "Read to the end before you decide, and then decide as you would for a ticket of your own."
PATH = f"overrides/stable/{NAME}.yaml"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SupportDesk]:
    with support_desk(tmp_path_factory.mktemp("desk"), latency_ms=2.0) as made:
        made.register(_without_rules)
        wordy = (
            (FOLDER / "prompts" / f"{NAME}.yaml")
            .read_text()
            .replace("  # Rules\n", "  # Rules\n" + f"  {FILLER}\n" * 9)
        )
        made.server.administer(
            "PUT", f"/apps/{APP}/definition/prompts/{NAME}.yaml", {"content": wordy, "commitMessage": "Say it often"}
        )
        made.call(NAME, 60)
        yield made


def _without_rules(components: dict[str, dict[str, Any]]) -> None:
    for one in components.values():
        one["optimization"]["rules"] = []
    components[NAME]["optimization"] |= {"epsilon": 0.1, "decisionField": None}


def test_a_shorter_prompt_is_promoted_by_what_it_shows_and_taken_back(desk: SupportDesk) -> None:
    asked = desk.server.command("optimize", APP, NAME, "--action", "compress", "--reason", "it is long")
    assert asked.returncode == 0, asked.stderr
    candidate_id = asked.stdout.split()[0]

    def state() -> str:
        desk.call(NAME, 24)
        return str((desk.candidate(NAME) or {})["state"])

    seen: list[str] = []

    def is_over() -> bool:
        seen.append(state())
        return seen[-1] in ("promoted", "rejected", "rolled_back", "superseded")

    wait_until(is_over, "the shorter prompt is promoted", within_s=120)
    told = desk.server.administer("GET", f"/candidates/{candidate_id}")
    assert told["state"] == "promoted", told["reason"]
    assert {"shadow", "canary"} & set(seen)
    assert told["tokens"]["after"] < told["tokens"]["before"] - 100
    assert f"-{FILLER}" in told["diff"]

    def commits() -> int:
        return len(desk.server.administer("GET", f"/apps/{APP}/history?path={PATH}")["commits"])

    wait_until(commits, "the repository follows the ledger", within_s=30)
    assert commits() == 1
    shown = desk.server.command("show", candidate_id).stdout
    assert "prompt tokens a call before" in shown
    assert max(len(line) for line in shown.splitlines() if "before," in line) <= 80
    answer = desk.call(NAME, 1)[0]
    assert answer.headers["X-UHLP-Implementation"] == "prompt@stable"
    back = desk.server.command("rollback", candidate_id, "--reason", "as it was")
    assert back.returncode == 0, back.stderr
    assert FILLER not in desk.server.command("overrides", APP, NAME, "--diff", "source..stable", "--json").stdout
    ledger = desk.server.command("ledger", "verify")
    assert ledger.returncode == 0

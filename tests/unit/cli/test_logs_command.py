"""`uhlp logs` shows what a server logged last, over its administration."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from web.stores import stored_services

from cli.conftest import Run
from uhlp.recent_logs import RecentLogs
from uhlp.web.services import Services


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[Services]:
    recent = RecentLogs(lines=10)
    for second, facts in enumerate(
        (
            {"event": "sandbox_started", "level": "info", "app_id": "shop", "pool": "default"},
            {
                "event": "request_failed",
                "level": "error",
                "app_id": "desk",
                "trace_id": "t-1",
                "exception": "a\nKeyError: 1",
            },
        )
    ):
        recent.keep(None, "", {"timestamp": f"2026-05-01T12:00:0{second}.5Z", **facts})
    async with stored_services(tmp_path / "data", recent_logs=recent) as opened:
        yield opened


async def test_lines_are_shown_oldest_first_and_found_by_application_and_trace(
    uhlp: Run, server: dict[str, str]
) -> None:
    shown = await uhlp("logs", **server)
    assert shown.out.splitlines() == [
        "2026-05-01T12:00:00 info    sandbox_started  app=shop pool=default",
        "2026-05-01T12:00:01 error   request_failed  app=desk trace=t-1 exception=KeyError",
    ], shown.err
    assert "sandbox_started" not in (await uhlp("logs", "--trace", "t-1", **server)).out
    told = json.loads((await uhlp("logs", "--app", "shop", "--json", **server)).out)
    assert [line["event"] for line in told] == ["sandbox_started"]
    assert (await uhlp("logs", "--level", "error", "--app", "shop", **server)).out == "No lines.\n"


async def test_a_level_that_there_is_not_is_refused_in_one_line(uhlp: Run, server: dict[str, str]) -> None:
    refused = await uhlp("logs", "--level", "loud", **server)
    assert refused.status == 1
    assert "level" in refused.err
    assert refused.out == ""

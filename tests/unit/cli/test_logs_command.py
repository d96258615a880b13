"""`uhlp logs` shows what a server logged last, over its administration."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from web.stores import stored_services

from cli.conftest import Run, begun
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


async def test_what_is_logged_is_followed_each_line_once_until_ctrl_c(
    uhlp: Run, server: dict[str, str], services: Services, tmp_path: Path
) -> None:
    def log(event: str, app: str = "desk", level: str = "info") -> None:
        services.recent_logs.keep(None, "", {"event": event, "level": level, "app_id": app, "timestamp": "2026-05-01"})

    words = ("logs", "--follow", "--app", "desk", "--level", "info", "--json")
    async with begun(tmp_path, *words, **server) as following, asyncio.timeout(60):
        assert following.stdout is not None

        async def read(number: int) -> list[str]:
            return [json.loads(await following.stdout.readline())["event"] for _ in range(number)]  # type: ignore[union-attr]

        assert await read(1) == ["request_failed"]
        for number in range(3):
            log(f"first_{number}")
            log("another", app="shop")
            log("quiet", level="debug")
        assert await read(3) == ["first_0", "first_1", "first_2"]
        log("second")
        assert await read(1) == ["second"]
        following.send_signal(signal.SIGINT)
        out, err = await following.communicate()
    assert (following.returncode, out, err) == (130, b"", b"")


async def test_who_follows_is_told_of_lines_that_were_too_many(
    server: dict[str, str], services: Services, tmp_path: Path
) -> None:
    async with begun(tmp_path, "logs", "-f", **server) as following, asyncio.timeout(60):
        assert following.stdout is not None
        assert following.stderr is not None
        for _ in range(2):
            await following.stdout.readline()
        for number in range(25):
            services.recent_logs.keep(None, "", {"event": f"line_{number}", "timestamp": "2026-05-01"})
        assert (await following.stderr.readline()).decode() == "uhlp: 15 lines were logged faster than they were read\n"
        shown = [(await following.stdout.readline()).decode().split()[2] for _ in range(10)]
    assert shown == [f"line_{number}" for number in range(15, 25)]


async def test_a_level_that_there_is_not_is_refused_in_one_line(uhlp: Run, server: dict[str, str]) -> None:
    refused = await uhlp("logs", "--level", "loud", **server)
    assert refused.status == 1
    assert "level" in refused.err
    assert refused.out == ""

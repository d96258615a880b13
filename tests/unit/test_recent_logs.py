"""The newest lines of the log: which are kept, what of them, and who asks for which."""

import io
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import structlog

from uhlp.recent_logs import MOST_TEXT, RecentLogs
from uhlp.registry.secret_scan import masked

KEY = "sk-proj-0123456789abcdefghij"


@pytest.fixture
def written() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def recent() -> RecentLogs:
    return RecentLogs(lines=5, mask=masked)


@pytest.fixture
def log(recent: RecentLogs, written: io.StringIO) -> Any:
    """A logger of these lines alone."""
    facts = [structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True)]
    processors = [*facts, structlog.processors.format_exc_info, recent.keep, structlog.processors.JSONRenderer()]
    return structlog.wrap_logger(structlog.PrintLogger(written), processors=processors)


def events(lines: list[dict[str, Any]]) -> list[str]:
    return [line["event"] for line in lines]


def test_the_newest_lines_are_kept_and_older_ones_go(log: Any, recent: RecentLogs) -> None:
    for number in range(7):
        log.info(f"line_{number}")
    assert events(recent.newest()) == ["line_6", "line_5", "line_4", "line_3", "line_2"]
    assert events(recent.newest(limit=2)) == ["line_6", "line_5"]


def test_who_asks_on_with_the_cursor_gets_every_line_once(log: Any, recent: RecentLogs) -> None:
    log.info("before")
    cursor = recent.page().cursor
    assert (recent.page(after=cursor).lines, recent.page(after=cursor).cursor) == ([], cursor)
    for number in range(4):
        log.info("step", number=number, app_id="desk" if number % 2 else "shop")
    first = recent.page(after=cursor, limit=3)
    assert [line["facts"]["number"] for line in first.lines] == [2, 1, 0]
    rest = recent.page(after=first.cursor, limit=3)
    assert ([line["facts"]["number"] for line in rest.lines], rest.missed) == ([3], 0)
    assert recent.page(after=rest.cursor).lines == []
    desk = recent.page(after=cursor, app_id="desk", limit=1)
    assert [line["facts"]["number"] for line in desk.lines] == [1]
    desk = recent.page(after=desk.cursor, app_id="desk", limit=1)
    assert [line["facts"]["number"] for line in desk.lines] == [3]


def test_lines_that_were_pushed_out_are_counted(log: Any, recent: RecentLogs) -> None:
    log.info("before")
    cursor = recent.page().cursor
    for number in range(8):
        log.info("step", number=number)
    page = recent.page(after=cursor)
    assert [line["facts"]["number"] for line in page.lines] == [7, 6, 5, 4, 3]
    assert page.missed == 3


@pytest.mark.parametrize("cursor", ["", "another-3", "another", "x-9999999999999999999999"])
def test_behind_a_cursor_of_another_start_everything_is_new(log: Any, recent: RecentLogs, cursor: str) -> None:
    log.info("started")
    assert [line["event"] for line in recent.page(after=cursor).lines] == ["started"]


def test_lines_of_many_threads_are_each_followed_once(log: Any) -> None:
    recent = RecentLogs(lines=10_000)

    def logs(number: int) -> None:
        for step in range(200):
            recent.keep(None, "", {"event": f"{number}/{step}"})

    followed: list[str] = []
    cursor = recent.page().cursor
    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(logs, number) for number in range(4)]
        while True:
            is_over = all(one.done() for one in running)
            page = recent.page(after=cursor, limit=50)
            cursor = page.cursor
            followed += [line["event"] for line in reversed(page.lines)]
            if is_over and not page.lines:
                break
    assert (len(followed), len(set(followed))) == (800, 800)


def test_lines_are_found_by_application_trace_and_severity(log: Any, recent: RecentLogs) -> None:
    log.info("pool_started", app_id="shop", pool="default")
    log.warning("request_slow", app_id="desk", trace_id="t-1")
    log.error("request_failed", app_id="shop", trace_id="t-2")
    assert events(recent.newest(app_id="shop")) == ["request_failed", "pool_started"]
    assert events(recent.newest(trace_id="t-1")) == ["request_slow"]
    assert events(recent.newest(level="warning")) == ["request_failed", "request_slow"]
    (started,) = recent.newest(app_id="shop", level="info", limit=2)[1:]
    assert (started["appId"], started["traceId"], started["facts"]) == ("shop", None, {"pool": "default"})


def test_keys_are_masked_and_long_texts_cut_while_the_log_itself_stays_whole(
    log: Any, recent: RecentLogs, written: io.StringIO
) -> None:
    log.warning("provider_refused", answer=f"bad key {KEY}", body="x" * 10_000, tried=3, given={"key": KEY})
    facts = recent.newest()[0]["facts"]
    assert KEY not in json.dumps(facts)
    assert facts["answer"] == "bad key ***"
    assert len(facts["body"]) == MOST_TEXT + 1
    assert facts["tried"] == 3
    assert "x" * 10_000 in written.getvalue()


def test_a_number_that_json_does_not_know_is_kept_as_a_text(log: Any, recent: RecentLogs) -> None:
    log.info("measured", share=float("nan"), most=float("inf"), least=0.5)
    assert recent.newest()[0]["facts"] == {"share": "nan", "most": "inf", "least": 0.5}


def test_of_a_traceback_the_type_alone_is_kept(log: Any, recent: RecentLogs, written: io.StringIO) -> None:
    try:
        int("what a caller sent")
    except ValueError:
        log.exception("request_failed", trace_id="t")
    assert recent.newest()[0]["facts"] == {"exception": "ValueError"}
    assert "what a caller sent" in written.getvalue()


def test_without_room_nothing_is_kept(written: io.StringIO) -> None:
    recent = RecentLogs()
    structlog.wrap_logger(
        structlog.PrintLogger(written), processors=[recent.keep, structlog.processors.JSONRenderer()]
    ).info("x")
    assert recent.newest() == []
    assert "x" in written.getvalue()

"""When schedules are due, also where clocks change."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uhlp.cron_schedule import CronSchedule, time_zone
from uhlp.errors import ValidationFailed


def due(expression: str, after: str, count: int, zone: str = "Europe/Paris") -> list[str]:
    """The next times that are due, as clocks there show them, with their distance from UTC."""
    schedule, at = CronSchedule(expression, zone), datetime.fromisoformat(after).timestamp()
    found = []
    for _ in range(count):
        following = schedule.next_after(at)
        assert following is not None
        at = following
        found.append(datetime.fromtimestamp(at, ZoneInfo(zone)).strftime("%d %H:%M %z"))
    return found


def test_a_time_that_clocks_leave_out_is_due_once_when_it_is_over() -> None:
    assert due("30 2 * * *", "2026-03-28T12:00:00+01:00", 2) == ["29 03:00 +0200", "30 02:30 +0200"]
    assert due("0 */2 * * *", "2026-03-29T00:30:00+01:00", 2) == ["29 03:00 +0200", "29 04:00 +0200"]


def test_a_time_that_clocks_show_twice_is_due_once() -> None:
    assert due("30 2 * * *", "2026-10-24T12:00:00+02:00", 2) == ["25 02:30 +0200", "26 02:30 +0100"]
    assert due("*/30 2 * * *", "2026-10-25T02:10:00+01:00", 1) == ["26 02:00 +0100"]


def test_what_is_due_every_hour_goes_on_through_both_hours() -> None:
    assert due("*/30 * * * *", "2026-10-25T02:15:00+02:00", 3) == ["25 02:30 +0200", "25 02:00 +0100", "25 02:30 +0100"]


@pytest.mark.parametrize(
    "expression", ["", "* * * *", "* * * * * *", "60 * * * *", "0 0 31 2 *", "x * * * *", "@daily"]
)
def test_what_is_no_schedule_is_refused(expression: str) -> None:
    with pytest.raises(ValidationFailed):
        CronSchedule(expression)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Mars/Base",
        "../etc/passwd",
        "/etc/localtime",
        "Europe",
        "a\0b",
        "localtime",
        "posixrules",
        "right/UTC",
        "posix/Europe/Paris",
        "Factory",
    ],
)
def test_what_is_no_time_zone_is_refused(name: str) -> None:
    with pytest.raises(ValidationFailed, match="no time zone"):
        time_zone(name)


FIELDS = st.tuples(
    st.sampled_from(["*", "*/7", "0", "15,45", "30"]),
    st.sampled_from(["*", "*/2", "2", "1-3", "23"]),
    st.sampled_from(["*", "1", "29", "L"]),
    st.sampled_from(["*", "3", "10"]),
    st.sampled_from(["*", "SUN", "1-5"]),
)
ZONES = st.sampled_from(["UTC", "Europe/Paris", "America/New_York", "Australia/Lord_Howe", "America/St_Johns"])


@settings(max_examples=150, deadline=None)
@given(FIELDS, ZONES, st.integers(1_700_000_000, 1_900_000_000))
def test_due_times_rise_and_none_lies_between_two_neighbours(fields: tuple[str, ...], zone: str, at: int) -> None:
    schedule = CronSchedule(" ".join(fields), zone)
    first = schedule.next_after(at)
    assert first is not None
    assert first > at
    assert schedule.next_after(first - 1) == first
    assert schedule.next_after((at + first) / 2) == first

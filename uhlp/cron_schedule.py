"""CronSchedule: when something is due, by the five fields of cron and a time zone."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from uhlp.errors import ValidationFailed

_NO_ZONES = frozenset({"localtime", "posixrules", "posix", "right", "Factory"})
"""What stands among the zones of a machine and means something else on the next one; `right/…` counts leap seconds."""

_SOME_TIME = 1_767_225_600.0
_MINUTE = timedelta(minutes=1)


class CronSchedule:
    """`minute hour day month weekday`, with lists, ranges, steps and names as Debian's cron has them.

    Where clocks change: a schedule that names its hours follows the wall clock, so what would fall into the hour that
    is left out is due when it is over, and what falls into the hour that comes twice is due in the first alone. One
    that has `*` for the hour follows time itself. Raises ValidationFailed for what is no such schedule.
    """

    def __init__(self, expression: str, timezone: str = "UTC") -> None:
        fields = expression.split()
        if len(fields) != 5:
            raise ValidationFailed(f"{expression!r} has {len(fields)} fields; cron has minute hour day month weekday")
        self._expression = expression
        self._zone = time_zone(timezone)
        self._follows_wall_clock = fields[1] not in ("*", "*/1")
        try:
            CronSim(expression, datetime.fromtimestamp(_SOME_TIME, UTC))
        except CronSimError as error:
            raise ValidationFailed(f"{expression!r} is no cron schedule: {error}") from None
        if self.next_after(_SOME_TIME) is None:
            raise ValidationFailed(f"{expression!r} is never due")

    def next_after(self, at: float) -> float | None:
        """The first time that is due after `at`, both in seconds since the epoch; None when there is none any more."""
        local = datetime.fromtimestamp(at, self._zone)
        for found in CronSim(self._expression, local.replace(tzinfo=None) if self._follows_wall_clock else local):
            due = self._instant(found) if self._follows_wall_clock else found.timestamp()
            if due > at:
                return due
        return None

    def _instant(self, wall: datetime) -> float:
        """The first moment at which the clocks show this time, or one later where they never do."""
        aware = wall.replace(tzinfo=self._zone, fold=0)
        while aware.astimezone(UTC).astimezone(self._zone).replace(tzinfo=None) != aware.replace(tzinfo=None):
            aware += _MINUTE
        return aware.timestamp()


def time_zone(name: str) -> ZoneInfo:
    """A time zone by its IANA name. Raises ValidationFailed."""
    try:
        if name.partition("/")[0] not in _NO_ZONES:
            return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        pass
    raise ValidationFailed(f"{name!r} is no time zone; write an IANA name such as Europe/Paris")

"""RecentLogs: the newest lines of the log in memory, for GET /admin/v1/logs.

What was written to standard error is whole; here are short facts, without what looks like a key.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable, MutableMapping
from dataclasses import dataclass
from itertools import islice
from math import isfinite
from threading import Lock
from typing import Any, Literal, NamedTuple
from uuid import uuid4

Level = Literal["debug", "info", "warning", "error"]

MOST_TEXT = 500
_SEVERITY = {"debug": 0, "info": 1, "warning": 2, "warn": 2, "error": 3, "exception": 3, "critical": 4}
_OWN = frozenset({"event", "level", "timestamp", "app_id", "trace_id", "exception"})


@dataclass(frozen=True, slots=True)
class Page:
    """Lines, newest first, and the `cursor` behind which the next ones are. `missed` lines came after the cursor that
    was asked with, and have been pushed out since, whatever they were about.
    """

    lines: list[dict[str, Any]]
    cursor: str
    missed: int = 0


class _Kept(NamedTuple):
    """A line as JSON, which is a third of what it takes as objects, and what is asked for beside it."""

    severity: int
    app_id: str | None
    trace_id: str | None
    line: str


class RecentLogs:
    """Holds the newest `lines`; `mask` takes from a text what looks like a key. Any thread may log."""

    def __init__(self, *, lines: int = 0, mask: Callable[[str], str] = str) -> None:
        self._mask = mask
        self._lines: deque[_Kept] = deque(maxlen=lines)
        self._count = 0
        self._lock = Lock()  # a line that is counted is there
        self._name = uuid4().hex[:8]
        """Of this start: another one's cursors say nothing here."""

    def keep(self, _logger: Any, _method: str, facts: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """A processor of structlog: keeps the line and passes it on as it is.

        Of a traceback the type of the error is kept: the rest may quote what a caller sent.
        """
        said = {name: self._value(facts[name]) for name in facts if name not in _OWN and name[:1] != "_"}
        if traceback := facts.get("exception"):
            said["exception"] = str(traceback).rstrip().rpartition("\n")[2].partition(":")[0][:MOST_TEXT]
        level = str(facts.get("level", "info"))
        app_id, trace_id = _text_or_none(facts.get("app_id")), _text_or_none(facts.get("trace_id"))
        line = {
            "time": str(facts.get("timestamp", "")),
            "level": level,
            "event": self._short(facts.get("event", "")),
            "appId": app_id,
            "traceId": trace_id,
            "facts": said,
        }
        kept = _Kept(_SEVERITY.get(level, 1), app_id, trace_id, json.dumps(line))
        with self._lock:
            self._lines.append(kept)
            self._count += 1
        return facts

    def newest(
        self, *, app_id: str | None = None, trace_id: str | None = None, level: Level = "debug", limit: int = 100
    ) -> list[dict[str, Any]]:
        """At most `limit` lines, newest first, of this application, this trace, and as severe as `level` or more."""
        return self.page(app_id=app_id, trace_id=trace_id, level=level, limit=limit).lines

    def page(
        self,
        *,
        after: str | None = None,
        app_id: str | None = None,
        trace_id: str | None = None,
        level: Level = "debug",
        limit: int = 100,
    ) -> Page:
        """The newest such lines; with the cursor `after` the first ones behind it. Who asks on with each page's cursor
        gets every line once that was there when it asked; behind the cursor of another start all are.
        """
        with self._lock:
            lines, count = self._lines.copy(), self._count
        oldest = count - len(lines)

        def wanted(one: _Kept) -> bool:
            return (
                (app_id is None or one.app_id == app_id)
                and (trace_id is None or one.trace_id == trace_id)
                and one.severity >= _SEVERITY[level]
            )

        if after is None:
            return Page(_lines(islice(filter(wanted, reversed(lines)), limit)), self._cursor(count))
        seen = self._seen(after, count)
        behind = [(at, one) for at, one in enumerate(lines, start=oldest + 1) if at > seen and wanted(one)]
        found = behind[:limit]
        reached = count if len(behind) <= limit else found[-1][0]
        return Page(_lines(one for _, one in reversed(found)), self._cursor(reached), max(0, oldest - seen))

    def _cursor(self, count: int) -> str:
        return f"{self._name}-{count}"

    def _seen(self, cursor: str, count: int) -> int:
        """How many lines of this start are before the cursor."""
        name, _, number = cursor.partition("-")
        is_ours = name == self._name and number.isascii() and number.isdigit() and len(number) < 19
        return min(int(number), count) if is_ours else 0

    def _value(self, value: Any) -> Any:
        if value is None or isinstance(value, bool | int) or (isinstance(value, float) and isfinite(value)):
            return value
        return self._short(value)

    def _short(self, value: Any) -> str:
        text = self._mask(str(value))
        return text if len(text) <= MOST_TEXT else text[:MOST_TEXT] + "…"


def _lines(kept: Iterable[_Kept]) -> list[dict[str, Any]]:
    return [json.loads(one.line) for one in kept]


def _text_or_none(value: Any) -> str | None:
    return None if value is None else str(value)[:MOST_TEXT]

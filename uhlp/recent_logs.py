"""RecentLogs: the newest lines of the log in memory, for GET /admin/v1/logs.

What was written to standard error is whole; here are short facts, without what looks like a key.
"""

from collections import deque
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Literal

Level = Literal["debug", "info", "warning", "error"]

MOST_TEXT = 500
_SEVERITY = {"debug": 0, "info": 1, "warning": 2, "warn": 2, "error": 3, "exception": 3, "critical": 4}
_OWN = frozenset({"event", "level", "timestamp", "app_id", "trace_id", "exception"})


class RecentLogs:
    """Holds the newest `lines`; `mask` takes from a text what looks like a key."""

    def __init__(self, *, lines: int = 0, mask: Callable[[str], str] = str) -> None:
        self._mask = mask
        self._lines: deque[dict[str, Any]] = deque(maxlen=lines)

    def keep(self, _logger: Any, _method: str, facts: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """A processor of structlog: keeps the line and passes it on as it is.

        Of a traceback the type of the error is kept: the rest may quote what a caller sent.
        """
        said = {name: self._value(facts[name]) for name in facts if name not in _OWN and name[:1] != "_"}
        if traceback := facts.get("exception"):
            said["exception"] = str(traceback).rstrip().rpartition("\n")[2].partition(":")[0][:MOST_TEXT]
        line = {
            "time": str(facts.get("timestamp", "")),
            "level": str(facts.get("level", "info")),
            "event": self._short(facts.get("event", "")),
            "appId": _text_or_none(facts.get("app_id")),
            "traceId": _text_or_none(facts.get("trace_id")),
            "facts": said,
        }
        self._lines.append(line)
        return facts

    def newest(
        self, *, app_id: str | None = None, trace_id: str | None = None, level: Level = "debug", limit: int = 100
    ) -> list[dict[str, Any]]:
        """At most `limit` lines, newest first, of this application, this trace, and as severe as `level` or more."""
        found: list[dict[str, Any]] = []
        for line in reversed(self._lines.copy()):  # other threads log meanwhile
            if len(found) == limit:
                break
            if (
                (app_id is None or line["appId"] == app_id)
                and (trace_id is None or line["traceId"] == trace_id)
                and _severity(line) >= _SEVERITY[level]
            ):
                found.append(line)
        return found

    def _value(self, value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float):
            return value
        return self._short(value)

    def _short(self, value: Any) -> str:
        text = self._mask(str(value))
        return text if len(text) <= MOST_TEXT else text[:MOST_TEXT] + "…"


def _text_or_none(value: Any) -> str | None:
    return None if value is None else str(value)[:MOST_TEXT]


def _severity(line: Mapping[str, Any]) -> int:
    return _SEVERITY.get(line["level"], 1)

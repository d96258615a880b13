"""Retention: the newest samples, a uniform sample of all there ever were, and failures.

Every sample carries a random number, its draw. The `reservoir` smallest draws are a uniform sample without replacement
of everything seen: a sample that has fallen out of them can never come back, so it may be deleted.
"""

import sqlite3
from collections import Counter

_DELETE = """
DELETE FROM samples WHERE app_id = :app AND component_id = :component
    AND seq < (SELECT seq FROM samples WHERE app_id = :app AND component_id = :component
               ORDER BY seq DESC LIMIT 1 OFFSET :newest - 1)
    AND draw > (SELECT draw FROM samples WHERE app_id = :app AND component_id = :component
                ORDER BY draw LIMIT 1 OFFSET :reservoir - 1)
    AND (ok OR seq < (SELECT seq FROM samples WHERE app_id = :app AND component_id = :component AND NOT ok
                      ORDER BY seq DESC LIMIT 1 OFFSET :failures - 1))
"""


class Retention:
    """Deletes what is beyond the limits, each time a tenth of `newest` has been added to a component."""

    def __init__(self, *, newest: int, reservoir: int, failures: int) -> None:
        self._limits = {"newest": newest, "reservoir": reservoir, "failures": failures}
        self._every = max(1, newest // 10)
        self._added: Counter[tuple[str, str]] = Counter()

    def after_insert(self, connection: sqlite3.Connection, app_id: str, component_id: str) -> None:
        """Count one more sample of a component, and delete when it is time."""
        self._added[app_id, component_id] += 1
        if self._added[app_id, component_id] >= self._every:
            del self._added[app_id, component_id]
            connection.execute(_DELETE, {"app": app_id, "component": component_id, **self._limits})

    def forget(self, app_id: str) -> None:
        """An application's samples have gone."""
        for place in [place for place in self._added if place[0] == app_id]:
            del self._added[place]

"""The file of a database that nobody else on the machine may read."""

import sqlite3
from pathlib import Path
from typing import Literal

CACHE_KIB = 256
"""Of pages in memory, for each database. What is not among them the kernel still has: a miss costs a copy. SQLite's own
2,000 KiB, in seven databases, would fill for hours, which looks like a leak."""


def open_sqlite(
    path: Path | str, *, synchronous: Literal["NORMAL", "FULL"] = "NORMAL", any_thread: bool = True
) -> sqlite3.Connection:
    """Open it in WAL mode, without implicit transactions; it waits five seconds for another writer. It is made, and the
    folder it lies in, where it is not there yet; a database in memory (`:memory:`) has no file.

    `any_thread`: whoever shares it between threads sees to it that one at a time uses it.
    Raises sqlite3.Error, OSError.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if str(path) != ":memory:" and not path.exists():
        path.touch(mode=0o600)
    connection = sqlite3.connect(path, isolation_level=None, timeout=5.0, check_same_thread=not any_thread)
    for pragma in ("journal_mode = WAL", f"synchronous = {synchronous}", f"cache_size = -{CACHE_KIB}"):
        connection.execute(f"PRAGMA {pragma}")
    return connection

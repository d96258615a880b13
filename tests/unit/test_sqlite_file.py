import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from uhlp.sqlite_file import CACHE_KIB, open_sqlite


def _pragma(connection: sqlite3.Connection, name: str) -> object:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def test_its_file_is_made_with_its_folder_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "data" / "one.db"
    connection = open_sqlite(path)
    connection.execute("CREATE TABLE said (what TEXT)")
    assert {file.stat().st_mode & 0o077 for file in path.parent.glob("one.db*")} == {0}
    connection.close()


def test_it_keeps_few_pages_and_writes_ahead(tmp_path: Path) -> None:
    connection = open_sqlite(tmp_path / "one.db", synchronous="FULL")
    assert [_pragma(connection, name) for name in ("cache_size", "journal_mode", "synchronous")] == [
        -CACHE_KIB,
        "wal",
        2,
    ]
    connection.close()


def test_one_in_memory_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    open_sqlite(":memory:").close()
    assert list(tmp_path.iterdir()) == []


def test_one_for_a_single_thread_refuses_others(tmp_path: Path) -> None:
    own, shared = (open_sqlite(tmp_path / "one.db", any_thread=any_thread) for any_thread in (False, True))
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(_pragma, shared, "user_version").result() == 0
        with pytest.raises(sqlite3.ProgrammingError, match="thread"):
            threads.submit(_pragma, own, "user_version").result()
    own.close()
    shared.close()

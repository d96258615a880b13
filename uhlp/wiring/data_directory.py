"""The data directory of one server, and the stores that its settings name."""

import fcntl
import os
from contextlib import AsyncExitStack
from pathlib import Path

from uhlp.clock import Clock
from uhlp.errors import StateConflict, ValidationFailed
from uhlp.mailbox.mailboxes import Mailboxes
from uhlp.settings import Settings
from uhlp.state.runtime_store import RuntimeStore
from uhlp.state.sqlite_runtime_store import SqliteRuntimeStore


def open_data_directory(path: Path, stack: AsyncExitStack) -> Path:
    """Make and lock the data directory; a second server on it is refused, naming the first one's pid."""
    path = path.absolute()
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
    lock = (path / "lock").open("a+", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        pid = lock.read().strip() or "unknown"
        lock.close()
        raise StateConflict(f"Another server (pid {pid}) uses the data directory {path}.") from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    stack.callback(lock.close)
    return path


def make_mailboxes(settings: Settings, data_dir: Path, clock: Clock) -> Mailboxes:
    """Where runtime values stand, too."""
    if settings.runtime.url == "sqlite":
        return Mailboxes.in_file(data_dir / "mailbox.db", settings=settings.mailbox, clock=clock)
    return Mailboxes.on_redis(
        settings.runtime.url, settings=settings.mailbox, timeout_s=settings.runtime.timeout_s, clock=clock
    )


def make_runtime_store(settings: Settings, data_dir: Path) -> RuntimeStore:
    if settings.runtime.url == "sqlite":
        return SqliteRuntimeStore(data_dir / "runtime.db")
    if not settings.runtime.url.startswith(("redis://", "rediss://", "unix://")):
        raise ValidationFailed("runtime.url is `sqlite` or the URL of a Redis server, redis://host:port/db.")
    # Its library takes long to load, which a server on SQLite need not wait for.
    from uhlp.state.redis_runtime_store import RedisRuntimeStore

    return RedisRuntimeStore(settings.runtime.url, timeout_s=settings.runtime.timeout_s)

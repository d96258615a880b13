"""Durable git writes: objects reach the disk before the reference that names them moves.

libgit2 can fsync by itself (`enable_fsync_gitdir`), but pygit2 holds the interpreter's lock meanwhile: every commit
would stop the event loop for its four to six fsyncs. So libgit2 writes without fsync and this module syncs with
`os.fsync`, which lets other threads run. References move by git's own lock file protocol (`<ref>.lock`, then rename).
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path


class RefLockedError(Exception):
    """Another writer holds the reference's lock file."""


def sync_path(path: Path) -> None:
    """Bring a file's or a directory's content to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_objects(repository: Path, object_ids: Iterable[str]) -> None:
    """Bring loose objects and the directories that name them to the disk; packed ones are there already."""
    objects = repository / "objects"
    directories = set()
    for object_id in set(object_ids):
        path = objects / object_id[:2] / object_id[2:]
        if path.exists():
            sync_path(path)
            directories.add(path.parent)
    for directory in directories:
        sync_path(directory)
    sync_path(objects)


def move_ref(repository: Path, ref: str, new: str, *, expected: str | None, current: Callable[[], str | None]) -> bool:
    """Point `ref` at commit `new` if `current()`, asked under the lock, is still `expected`; False when it is not.

    Raises RefLockedError when another writer is at it.
    """
    target = repository / ref
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = target.with_name(target.name + ".lock")
    try:
        descriptor = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError as error:
        raise RefLockedError(str(lock)) from error
    try:
        try:
            moved = current() == expected
            if moved:
                os.write(descriptor, f"{new}\n".encode())
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if moved:
            lock.rename(target)
    finally:
        lock.unlink(missing_ok=True)
    sync_path(target.parent)
    return moved


def clear_stale_locks(repository: Path) -> list[Path]:
    """Remove lock files that a killed process left behind; returns what was removed."""
    stale = [path for path in repository.rglob("*.lock") if path.is_file()]
    for path in stale:
        path.unlink(missing_ok=True)
    return stale

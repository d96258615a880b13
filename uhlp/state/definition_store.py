"""DefinitionStore: the git repositories of all applications, for callers on the event loop."""

import asyncio
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import pygit2
import structlog

from uhlp.clock import Clock, SystemClock
from uhlp.errors import AppNotFound, NotFound, RevisionConflict, Unavailable, ValidationFailed
from uhlp.keyed_locks import KeyedLocks
from uhlp.state.bare_repository import new_bare_repository
from uhlp.state.definition_repository import (
    MAIN,
    Commit,
    CommitNote,
    DefinitionEntry,
    DefinitionRepository,
    DefinitionTree,
)
from uhlp.state.durable import clear_stale_locks, sync_path
from uhlp.state.patches import apply_patch
from uhlp.state.remote import Remote
from uhlp.state.remote_git import RemoteGit
from uhlp.state.remote_sync import RemoteState, RemoteSync
from uhlp.state.trees import none_left_out

log = structlog.get_logger(__name__)
T = TypeVar("T")
_APP_ID = re.compile(r"[a-z][a-z0-9-]{1,62}")
_OWN_REFS = "refs/uhlp/"
_PROBE_BYTES = 64 * 1024
_Signature = tuple[tuple[int, int, int] | None, tuple[int, int, int] | None]


class DefinitionStore:
    """Bare repositories at `<root>/<appId>.git`, branch main; every git call runs in a thread.

    Writers of one application wait for each other, applications do not; a writer outside this process (git push) is
    met by compare-and-swap of the reference. Lock files left by a killed process go when an application is first used.
    """

    def __init__(self, root: Path, *, clock: Clock | None = None, remote_git: RemoteGit | None = None) -> None:
        self._root = root
        self._sync = RemoteSync(git=remote_git or RemoteGit())
        self._remotes: dict[str, RemoteState] = {}
        self._clock = clock or SystemClock()
        self._locks = KeyedLocks[str]()
        self._unlocked: set[str] = set()
        self._is_rooted = False
        self._seen: dict[str, tuple[_Signature, str]] = {}

    async def create(self, app_id: str) -> None:
        """Make an empty repository; nothing happens when there is one."""
        path = self._path(app_id)
        async with self._lock(app_id):
            await _in_thread(app_id, lambda: _create(path))

    async def delete(self, app_id: str) -> None:
        """Remove a repository with its history."""
        path = self._path(app_id)
        async with self._lock(app_id):
            await _in_thread(app_id, lambda: _delete(path))
            self._remotes.pop(app_id, None)
            self._unlocked.discard(app_id)

    async def app_ids(self) -> list[str]:
        """Every application that has a repository, in order of name."""

        def names() -> list[str]:
            if not self._is_rooted:
                self._root.mkdir(parents=True, exist_ok=True)
                self._is_rooted = True
            paths = self._root.glob("*.git") if self._root.is_dir() else ()
            return sorted(path.stem for path in paths if _APP_ID.fullmatch(path.stem))

        return await asyncio.to_thread(names)

    async def revisions(self) -> dict[str, str]:
        """The present revision of every application that has one.

        Cheap enough for every second: a repository is opened only when the files that hold main have changed.
        """
        app_ids = await self.app_ids()

        def tips() -> dict[str, str]:
            seen: dict[str, tuple[_Signature, str]] = {}
            for app_id in app_ids:
                signature, known = _signature(self._path(app_id)), self._seen.get(app_id)
                if known is not None and known[0] == signature:
                    seen[app_id] = known
                    continue
                with suppress(AppNotFound, pygit2.GitError):  # deleted meanwhile, or damaged
                    revision = self._open(app_id).revision()
                    if revision is not None:
                        seen[app_id] = signature, revision
            self._seen = seen
            return {app_id: revision for app_id, (_, revision) in seen.items()}

        return await asyncio.to_thread(tips)

    async def unready(self) -> str | None:
        """Why definitions cannot be written (the directory is gone, the disk full or read-only); None when they can."""

        def probe() -> str | None:
            try:
                with tempfile.TemporaryFile(dir=self._root, prefix=".probe-") as file:
                    file.write(b"\0" * _PROBE_BYTES)
                    file.flush()
            except OSError as error:
                return f"definitions cannot be written to {self._root}: {error.strerror or error}"
            return None

        return await asyncio.to_thread(probe)

    async def commit(
        self, app_id: str, changes: Mapping[str, bytes | None], note: CommitNote, *, expected: str | None = None
    ) -> str:
        """One commit with all `changes` on main; see DefinitionRepository.commit."""
        return await self._change_main(app_id, lambda repository: repository.commit(changes, note, expected=expected))

    async def apply_diff(self, app_id: str, path: str, diff: str, expected: str, note: CommitNote) -> str:
        """Apply a unified diff to one file and commit it.

        RevisionConflict, with the hunk that clashes or what has happened to the file since, when main is not at
        `expected` or the diff does not fit; nothing is changed then.
        """

        def commit(repository: DefinitionRepository) -> str:
            return repository.commit({path: _patched(repository, path, diff, expected)}, note, expected=expected)

        return await self._change_main(app_id, commit)

    async def patched(self, app_id: str, path: str, diff: str, expected: str) -> bytes | None:
        """What `apply_diff` would make of the file (None: remove it), with its errors; nothing is changed."""
        return await self.read(app_id, lambda repository: _patched(repository, path, diff, expected))

    async def put_ref_tree(self, app_id: str, ref: str, files: Mapping[str, bytes], note: CommitNote) -> str:
        """Make `files` the tree of a reference of the framework's own (refs/uhlp/...)."""
        own = _own_ref(ref)
        return await self.write(app_id, lambda repository: repository.put_tree(own, files, note))

    async def ref_tree(self, app_id: str, ref: str) -> DefinitionTree | None:
        """The tree of a reference; None when there is no such reference."""
        own = _own_ref(ref)

        def read(repository: DefinitionRepository) -> DefinitionTree | None:
            return repository.tree(ref=own) if repository.revision(own) else None

        return await self.read(app_id, read)

    async def delete_ref(self, app_id: str, ref: str) -> None:
        """Remove a reference of the framework's own."""
        own = _own_ref(ref)
        await self.write(app_id, lambda repository: repository.delete_ref(own))

    async def tree(
        self, app_id: str, revision: str | None = None, *, without: Callable[[str], bool] = none_left_out
    ) -> DefinitionTree:
        """Every file at a revision (main's by default), but for those in folders `without`."""
        return await self.read(app_id, lambda repository: repository.tree(revision, without=without))

    async def file(self, app_id: str, path: str, revision: str | None) -> tuple[bytes, str]:
        """A file's bytes and the revision they were read at."""
        return await self.read(app_id, lambda repository: repository.file(path, revision))

    async def entries(
        self, app_id: str, directory: str, *, recursive: bool, revision: str | None
    ) -> list[DefinitionEntry]:
        """What is in a directory."""
        return await self.read(
            app_id, lambda repository: repository.entries(directory, recursive=recursive, revision=revision)
        )

    async def history(self, app_id: str, path: str | None, limit: int) -> list[Commit]:
        """The newest commits first."""
        return await self.read(app_id, lambda repository: repository.history(path, limit))

    async def newest_changes(self, app_id: str, directory: str, names: Collection[str]) -> dict[str, str]:
        """The newest commit that changed each of these entries of a directory."""
        return await self.read(app_id, lambda repository: repository.newest_changes(directory, names))

    async def diff(self, app_id: str, old: str, new: str) -> str:
        """What changed between two revisions, as `git diff` prints it."""
        return await self.read(app_id, lambda repository: repository.diff(old, new))

    async def revert(self, app_id: str, revision: str, note: CommitNote, *, expected: str | None = None) -> str:
        """Undo what one commit did; see DefinitionRepository.revert."""
        return await self._change_main(app_id, lambda repository: repository.revert(revision, note, expected=expected))

    async def reverted(self, app_id: str, revision: str) -> DefinitionTree:
        """What `revert` would leave; nothing is changed."""
        return await self.read(app_id, lambda repository: repository.reverted(revision))

    def note(self, message: str, author: str | None, trailers: Mapping[str, str] | None = None) -> CommitNote:
        """A commit's note, dated now."""
        return CommitNote(message, self._clock.now(), author, tuple((trailers or {}).items()))

    async def read(self, app_id: str, work: Callable[[DefinitionRepository], T]) -> T:
        """Run `work` on the repository in a thread, beside other readers and the writer.

        A repository or a disk that fails gives Unavailable with the reason.
        """
        return await _in_thread(app_id, lambda: work(self._open(app_id)))

    async def write(self, app_id: str, work: Callable[[DefinitionRepository], T]) -> T:
        """Run `work` on the repository in a thread, one writer of an application after the other."""
        async with self._lock(app_id):
            return await self.read(app_id, work)

    def set_remote(self, app_id: str, remote: Remote | None) -> None:
        """Push an application's changes there from now on. A new remote counts as behind until `pull` was called."""
        known = self._remotes.get(app_id)
        if remote is None:
            self._remotes.pop(app_id, None)
        elif known is None or known.remote != remote:
            self._remotes[app_id] = RemoteState(remote, "main and the remote have not been compared yet")

    def remote(self, app_id: str) -> RemoteState | None:
        """The application's remote and what is wrong with it; None without a remote."""
        return self._remotes.get(app_id)

    async def pull(self, app_id: str) -> None:
        """Bring main and the remote together: theirs first, then ours on top. What stands in the way is in `remote`."""
        known = self._remotes.get(app_id)
        if known is None:
            return
        problem = await self._sync.fetch(self._path(app_id), known.remote)
        if problem is not None:  # before the lock: writers do not wait for a remote that hangs
            self._note(app_id, known.remote, problem, is_away=True)
            return
        async with self._lock(app_id):
            known = self._remotes.get(app_id)
            if known is not None:
                self._note(app_id, known.remote, await self._sync.pull(self._path(app_id), known.remote))

    async def _change_main(self, app_id: str, work: Callable[[DefinitionRepository], str]) -> str:
        """Run a change of main and push it, one writer of an application after the other."""

        def change(repository: DefinitionRepository) -> tuple[str | None, str]:
            return repository.revision(), work(repository)

        async with self._lock(app_id):
            before, revision = await self.read(app_id, change)
            known = self._remotes.get(app_id)
            if known is None or known.is_away or before == revision:
                return revision
            self._remotes[app_id] = RemoteState(known.remote, known.problem or "a change is being pushed")
            try:
                present, problem = await self._sync.publish(self._path(app_id), known.remote, before, revision)
            except RevisionConflict:
                self._remotes[app_id] = known
                raise
            self._note(app_id, known.remote, problem, is_away=problem is not None)
            return present

    def _note(self, app_id: str, remote: Remote, problem: str | None, *, is_away: bool = False) -> None:
        if problem is not None:
            log.warning("remote_differs", app_id=app_id, reason=problem)
        self._remotes[app_id] = RemoteState(remote, problem, is_away)

    def _open(self, app_id: str) -> DefinitionRepository:
        path = self._path(app_id)
        if not path.is_dir():
            raise AppNotFound(f"no application has the id {app_id}", details={"appId": app_id})
        if app_id not in self._unlocked:
            self._unlocked.add(app_id)
            for lock in clear_stale_locks(path):
                log.warning("stale_git_lock_removed", app_id=app_id, path=str(lock))
        return DefinitionRepository(path)

    def _path(self, app_id: str) -> Path:
        if not _APP_ID.fullmatch(app_id):
            raise AppNotFound(f"no application has the id {app_id!r}", details={"appId": app_id})
        return self._root / f"{app_id}.git"

    def _lock(self, app_id: str) -> asyncio.Lock:
        return self._locks[app_id]


async def _in_thread(app_id: str, work: Callable[[], T]) -> T:
    try:
        return await asyncio.to_thread(work)
    except (pygit2.GitError, OSError) as error:
        raise Unavailable(f"the definition repository of {app_id} fails: {error}") from error


def _signature(repository: Path) -> _Signature:
    """What changes when main moves: its own file, or the packed references after git has swept."""
    return _stat(repository / MAIN), _stat(repository / "packed-refs")


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _create(path: Path) -> None:
    """Build beside and rename, so that a killed process leaves a whole repository or none."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".new-{path.name}")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        new_bare_repository(beside)
        for made in (beside / "HEAD", beside / "config", beside):
            sync_path(made)
        beside.rename(path)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    sync_path(path.parent)


def _delete(path: Path) -> None:
    if not path.exists():
        raise AppNotFound
    beside = path.with_name(f".deleted-{path.name}")
    shutil.rmtree(beside, ignore_errors=True)
    path.rename(beside)
    sync_path(path.parent)
    shutil.rmtree(beside)


def _patched(repository: DefinitionRepository, path: str, diff: str, expected: str) -> bytes | None:
    tip = repository.revision()
    before = _content(repository, path, tip)
    after = apply_patch(diff, path, before)
    if tip != expected:
        since = {"expectedBaseRevision": expected, "currentRevision": tip}
        raise RevisionConflict(details=since | {"hunk": _since(repository, path, expected, before)})
    return after


def _content(repository: DefinitionRepository, path: str, revision: str | None) -> bytes | None:
    try:
        return repository.file(path, revision)[0]
    except NotFound:
        return None


def _since(repository: DefinitionRepository, path: str, expected: str, now: bytes | None) -> str | None:
    before = _content(repository, path, expected)
    if before == now:
        return None
    return pygit2.Patch.create_from(before, now, old_as_path=path, new_as_path=path).text


def _own_ref(ref: str) -> str:
    if not ref.startswith(_OWN_REFS) or not pygit2.reference_is_valid_name(ref):
        raise ValidationFailed(f"{ref!r} is not a reference below {_OWN_REFS}")
    return ref

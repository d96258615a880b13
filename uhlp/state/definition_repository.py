"""One application's bare git repository, synchronously. DefinitionStore calls this from threads.

A repository is opened for each operation (70 µs): libgit2's objects do not travel between threads.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pygit2
from pygit2.enums import SortMode

from uhlp.errors import Conflict, DefinitionFileNotFound, NotFound, RevisionConflict
from uhlp.state.durable import RefLockedError, move_ref, sync_objects, sync_path
from uhlp.state.paths import check_directory, check_path
from uhlp.state.rebase import rebase
from uhlp.state.trees import edit_tree, file_bytes, new_objects, none_left_out, printable, read_files, walk

MAIN = "refs/heads/main"
REFUSED = "refs/uhlp/refused/"
TreeMaker = Callable[[pygit2.Commit | None, list[pygit2.Oid]], pygit2.Oid]
_AT_NO_END = " .,:;\"\\'"
"""What libgit2 takes away at the ends of names and addresses; of these alone it makes none."""
_TRIES = 30
_LOCK_WAIT_S = 0.02


@dataclass(frozen=True, slots=True)
class DefinitionTree:
    """The files of a definition at one revision."""

    revision: str
    files: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class DefinitionEntry:
    """One entry of a directory of definitions."""

    path: str
    type: Literal["file", "directory"]


@dataclass(frozen=True, slots=True)
class Commit:
    """One change of a definition. `when` is seconds since the epoch."""

    revision: str
    author: str
    when: float
    message: str
    trailers: dict[str, str]


@dataclass(frozen=True, slots=True)
class CommitNote:
    """What a commit says of itself. `author` is `Name <mail>` or a bare name."""

    message: str
    when: float
    author: str | None = None
    trailers: tuple[tuple[str, str], ...] = ()

    def text(self) -> str:
        trailers = "".join(f"{key}: {' '.join(value.split())}\n" for key, value in self.trailers)
        return f"{self.message.strip()}\n" + (f"\n{trailers}" if trailers else "")

    def signature(self) -> pygit2.Signature:
        """Of one line, whatever the author is called: libgit2 writes more, and never again reads such a commit."""
        name, _, mail = (self.author or "").partition("<")
        clean, address = _one_line(name), _one_line(mail).replace(" ", "")
        return pygit2.Signature(clean or "UHLP", address or "uhlp@localhost", int(self.when), 0)


class DefinitionRepository:
    """A bare repository at `path`, opened for one operation in one thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._git = pygit2.Repository(str(path))

    def revision(self, ref: str = MAIN) -> str | None:
        """The commit `ref` points at; None before the first commit."""
        reference = self._git.references.get(ref)
        return None if reference is None else str(reference.target)

    def commit(
        self, changes: Mapping[str, bytes | None], note: CommitNote, *, expected: str | None = None, ref: str = MAIN
    ) -> str:
        """One commit with all `changes` on `ref`; without any difference the present revision is the answer.

        With `expected`, the reference must still be there (RevisionConflict); without, a lost race is run again.
        """
        for path in changes:
            check_path(path)

        def changed(base: pygit2.Commit | None, written: list[pygit2.Oid]) -> pygit2.Oid:
            return edit_tree(self._git, None if base is None else base.tree, changes, written)

        return self._commit(ref, changed, note, expected)

    def put_tree(self, ref: str, files: Mapping[str, bytes], note: CommitNote) -> str:
        """Make `files` the whole tree of `ref`; what stood there before becomes the parent."""
        for path in files:
            check_path(path)

        def whole(base: pygit2.Commit | None, written: list[pygit2.Oid]) -> pygit2.Oid:
            return edit_tree(self._git, None, files, written)

        return self._commit(ref, whole, note, None)

    def revert(self, revision: str, note: CommitNote, *, expected: str | None = None) -> str:
        """Undo what the commit `revision` did, keeping what came after it (git's revert); Conflict if that clashes."""
        undone = self._commit_at(revision)

        def inverse(base: pygit2.Commit | None, written: list[pygit2.Oid]) -> pygit2.Oid:
            tree = self._reverted(undone, base)
            written.extend(new_objects(tree, None if base is None else base.tree))
            return tree.id

        return self._commit(MAIN, inverse, note, expected)

    def reverted(self, revision: str) -> DefinitionTree:
        """What `revert` would leave, and the revision it would be made on; nothing is changed."""
        base = self._commit_at(None)
        return DefinitionTree(str(base.id), read_files(self._reverted(self._commit_at(revision), base)))

    def _reverted(self, undone: pygit2.Commit, base: pygit2.Commit | None) -> pygit2.Tree:
        if base is None or len(undone.parents) != 1:
            raise Conflict("only a commit with one parent can be reverted")
        index = self._git.revert_commit(undone, base)
        if index.conflicts is not None:
            paths = sorted({side.path for sides in index.conflicts for side in sides if side is not None})
            raise RevisionConflict(
                f"reverting {str(undone.id)[:12]} clashes with later changes in {', '.join(paths)}",
                details={"paths": paths},
            )
        return self._git[index.write_tree(self._git)].peel(pygit2.Tree)

    def rebase(self, onto_ref: str, tip: str | None) -> str | None:
        """Put what main has and `onto_ref` does not on top of that, and main there: its new tip, None with no commit.

        With `tip` main must be there. RevisionConflict when the sides clash; main stays then.
        """
        ours, onto = self.revision(), self.revision(onto_ref)
        if tip is not None and tip != ours:
            raise RevisionConflict(details={"expectedBaseRevision": tip, "currentRevision": ours})
        if onto is None or ours == onto:
            return ours
        if ours is None or self._git.descendant_of(onto, ours):
            moved, written = pygit2.Oid(hex=onto), list[pygit2.Oid]()  # fetched by git, which syncs what it writes
        elif self._git.descendant_of(ours, onto):
            return ours
        else:
            moved, written = rebase(self._git, pygit2.Oid(hex=ours), pygit2.Oid(hex=onto))
        self._move_main(str(moved), ours, written)
        return str(moved)

    def take_back(self, revision: str, before: str | None) -> str:
        """Put main from `revision` back to `before`, and keep the commit at the reference that is answered."""
        kept = f"{REFUSED}{revision}"
        sync_objects(self._path, [revision])
        move_ref(self._path, kept, revision, expected=None, current=lambda: self.revision(kept))
        if before is None:
            self.delete_ref(MAIN)
        else:
            self._move_main(before, revision, [])
        return kept

    def _move_main(self, new: str, expected: str | None, written: list[pygit2.Oid]) -> None:
        sync_objects(self._path, [str(object_id) for object_id in written])
        for _ in range(_TRIES):
            try:
                if move_ref(self._path, MAIN, new, expected=expected, current=self.revision):
                    return
                raise RevisionConflict(details={"expectedBaseRevision": expected, "currentRevision": self.revision()})
            except RefLockedError:
                time.sleep(_LOCK_WAIT_S)
        raise Conflict(f"{MAIN} stays locked by another writer; repeat the change later")

    def delete_ref(self, ref: str) -> None:
        """Remove a reference; its objects stay until git collects them. Nothing happens when there is none."""
        reference = self._git.references.get(ref)
        if reference is not None:
            reference.delete()
            sync_path((self._path / ref).parent if (self._path / ref).parent.exists() else self._path)

    def file(self, path: str, revision: str | None) -> tuple[bytes, str]:
        """A file's bytes and the revision they were read at."""
        commit = self._commit_at(revision)
        entry = self._entry(commit.tree, check_path(path))
        if entry is None or isinstance(entry, pygit2.Tree):
            raise DefinitionFileNotFound(f"there is no file {path} at {str(commit.id)[:12]}", details={"path": path})
        return file_bytes(entry, path), str(commit.id)

    def tree(
        self, revision: str | None = None, ref: str = MAIN, *, without: Callable[[str], bool] = none_left_out
    ) -> DefinitionTree:
        """Every file at a revision, or at the tip of `ref`, but for those in folders `without`."""
        commit = self._commit_at(revision or self.revision(ref))
        return DefinitionTree(str(commit.id), read_files(commit.tree, without))

    def entries(self, directory: str, *, recursive: bool, revision: str | None) -> list[DefinitionEntry]:
        """What is in a directory; DefinitionFileNotFound when there is no such directory."""
        root = self._commit_at(revision).tree
        base = check_directory(directory)
        tree = self._entry(root, base) if base else root
        if not isinstance(tree, pygit2.Tree):
            raise DefinitionFileNotFound(f"there is no directory {directory}", details={"path": directory})
        prefix = f"{base}/" if base else ""
        below: Iterable[tuple[str, pygit2.Object]] = (
            walk(tree, prefix) if recursive else ((f"{prefix}{entry.name}", entry) for entry in tree)
        )
        return [
            DefinitionEntry(printable(path), "directory" if isinstance(entry, pygit2.Tree) else "file")
            for path, entry in below
        ]

    def history(self, path: str | None, limit: int) -> list[Commit]:
        """The newest commits first; with `path` only those that changed this file or directory."""
        tip = self.revision()
        if tip is None:
            return []
        wanted = check_path(path) if path else None
        found: list[Commit] = []
        for commit in self._git.walk(tip, SortMode.NONE):  # any other order reads all commits first
            if len(found) >= limit:
                break
            if wanted is None or self._changes(commit, wanted):
                found.append(_described(commit))
        return found

    def newest_changes(self, directory: str, names: Collection[str]) -> dict[str, str]:
        """The newest commit that changed each of these entries of a directory, in one walk; never one not there."""
        tip, folder = self.revision(), check_directory(directory)
        missing, found = set(names), dict[str, str]()
        for commit in self._git.walk(tip, SortMode.NONE) if tip else ():
            if not missing:
                break
            if self._changes(commit, folder):
                here, *before = (_children(self._entry(one.tree, folder)) for one in (commit, *commit.parents))
                changed = {
                    name for name in missing if all(here.get(name) != there.get(name) for there in before or [{}])
                }
                found |= dict.fromkeys(changed, str(commit.id))
                missing -= changed
        return found

    def diff(self, old: str, new: str) -> str:
        """What changed from `old` to `new`, as `git diff --no-renames` prints it."""
        return self._git.diff(self._commit_at(old), self._commit_at(new)).patch or ""

    def _commit(self, ref: str, make_tree: TreeMaker, note: CommitNote, expected: str | None) -> str:
        for _ in range(_TRIES):
            revision = self._try_commit(ref, make_tree, note, expected)
            if revision is not None:
                return revision
        raise Conflict(f"{ref} stays locked by another writer; repeat the change later")

    def _try_commit(self, ref: str, make_tree: TreeMaker, note: CommitNote, expected: str | None) -> str | None:
        """One attempt; None when another writer was first and the attempt is worth repeating."""
        tip = self.revision(ref)
        if expected is not None and expected != tip:
            raise RevisionConflict(details={"expectedBaseRevision": expected, "currentRevision": tip})
        base = None if tip is None else self._commit_at(tip)
        written: list[pygit2.Oid] = []
        tree = make_tree(base, written)
        if base is not None and tree == base.tree_id:
            return tip
        author = note.signature()
        committer = pygit2.Signature("UHLP", "uhlp@localhost", author.time, 0)
        commit = self._git.create_commit(None, author, committer, note.text(), tree, [base.id] if base else [])
        sync_objects(self._path, [str(object_id) for object_id in (*written, commit)])
        try:
            moved = move_ref(self._path, ref, str(commit), expected=tip, current=lambda: self.revision(ref))
        except RefLockedError:
            time.sleep(_LOCK_WAIT_S)  # a git push holds the lock for milliseconds; git itself waits the same way
            return None
        return str(commit) if moved else None

    def _commit_at(self, revision: str | None) -> pygit2.Commit:
        wanted = revision or self.revision()
        if wanted is None:
            raise NotFound("the definition repository has no commit yet")
        try:
            return self._git.revparse_single(wanted).peel(pygit2.Commit)
        except (KeyError, ValueError, pygit2.GitError) as error:
            raise NotFound(f"there is no revision {wanted}", details={"revision": wanted}) from error

    @staticmethod
    def _entry(tree: pygit2.Tree, path: str) -> pygit2.Object | None:
        try:
            return tree[path]
        except KeyError:
            return None

    def _changes(self, commit: pygit2.Commit, path: str) -> bool:
        here = self._entry(commit.tree, path)
        before = [self._entry(parent.tree, path) for parent in commit.parents] or [None]
        return all((None if here is None else here.id) != (None if entry is None else entry.id) for entry in before)


def _children(directory: pygit2.Object | None) -> dict[str | None, pygit2.Oid]:
    return {one.name: one.id for one in directory} if isinstance(directory, pygit2.Tree) else {}


def _one_line(text: str) -> str:
    words = "".join(one if one.isprintable() else " " for one in text if one not in "<>").split()
    return " ".join(words).strip(_AT_NO_END)


def _described(commit: pygit2.Commit) -> Commit:
    return Commit(
        revision=str(commit.id),
        author=f"{commit.author.name} <{commit.author.email}>",
        when=float(commit.commit_time),
        message=commit.message,
        trailers=dict(commit.message_trailers),
    )

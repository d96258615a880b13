"""Unified diffs, applied by libgit2 to one file in a scratch repository."""

import re
import tempfile
from pathlib import Path

import pygit2
from pygit2.enums import ApplyLocation, DeltaStatus, FileMode

from uhlp.errors import RevisionConflict, ValidationFailed
from uhlp.state.bare_repository import new_bare_repository

_FAILED_HUNK = re.compile(r"hunk at line (\d+)")
_STATUS = {DeltaStatus.ADDED: "adds", DeltaStatus.DELETED: "deletes", DeltaStatus.MODIFIED: "changes"}


def apply_patch(diff: str, path: str, content: bytes | None) -> bytes | None:
    """What `diff` makes of the file at `path`; None stands for "no file", before and after.

    `diff` is what `git diff` prints for this one file (a bare `---`/`+++` diff is understood too). Raises
    ValidationFailed when it is no such diff, RevisionConflict with details.hunk when it does not fit the content.
    """
    parsed = _parse(diff, path)
    with tempfile.TemporaryDirectory(prefix="uhlp-patch-") as scratch:
        repository = new_bare_repository(Path(scratch))
        index = repository.index
        if content is not None:
            index.add(pygit2.IndexEntry(path, repository.create_blob(content), FileMode.BLOB))
        try:
            repository.apply(parsed, ApplyLocation.INDEX)
        except pygit2.GitError as error:
            raise _conflict(parsed, path, str(error)) from error
        return repository[index[path].id].read_raw() if path in index else None


def _parse(diff: str, path: str) -> pygit2.Diff:
    if diff.startswith("--- "):
        diff = f"diff --git a/{path} b/{path}\n{diff}"
    try:
        parsed = pygit2.Diff.parse_diff(diff.encode())
        deltas = list(parsed.deltas)
    except (pygit2.GitError, UnicodeEncodeError, ValueError) as error:
        raise ValidationFailed(f"diffContent is not a unified diff: {error}") from error
    if len(deltas) != 1:
        raise ValidationFailed(f"diffContent must change exactly one file, {path}; it changes {len(deltas)}")
    delta = deltas[0]
    named = {delta.old_file.path, delta.new_file.path}
    if delta.status not in _STATUS or named != {path} or delta.is_binary:
        raise ValidationFailed(
            f"diffContent must change the text of {path} only; it names {', '.join(sorted(named))}",
            details={"paths": sorted(named)},
        )
    if delta.status != DeltaStatus.DELETED and delta.new_file.mode not in (0, FileMode.BLOB, FileMode.BLOB_EXECUTABLE):
        raise ValidationFailed(f"diffContent must leave {path} a regular file")
    return parsed


def _conflict(parsed: pygit2.Diff, path: str, reason: str) -> RevisionConflict:
    found = _FAILED_HUNK.search(reason)
    hunk = None
    patch = next(iter(parsed))
    if found and patch is not None:
        line = int(found[1])
        hunk = next((_text(hunk) for hunk in patch.hunks if line in (hunk.new_start, hunk.old_start)), None)
    return RevisionConflict(
        f"the diff does not apply to {path}: {reason}; nothing was changed",
        details={"path": path, "reason": reason, "hunk": hunk},
    )


def _text(hunk: pygit2.DiffHunk) -> str:
    return hunk.header + "".join(f"{line.origin}{line.content}" for line in hunk.lines)

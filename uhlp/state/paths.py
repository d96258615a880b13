"""Which paths a definition repository accepts."""

import re
import unicodedata

from uhlp.errors import ValidationFailed

MAX_PATH_BYTES = 512
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def check_path(path: str) -> str:
    """The path of a file inside a definition repository, unchanged; raises ValidationFailed with the reason.

    Relative, `/` between segments, Unicode NFC, at most 512 bytes, no `..`, no `.git` in any case, no control
    characters and no backslash: what git, every file system and every runner read as one and the same file.
    """
    reason = _refusal(path)
    if reason:
        raise ValidationFailed(f"path {path!r} is refused: {reason}", details={"path": path})
    return path


def check_directory(path: str) -> str:
    """The path of a directory, without slashes at its ends; empty means the root."""
    trimmed = path.strip("/")
    return check_path(trimmed) if trimmed else ""


def _refusal(path: str) -> str | None:
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    if not path or size > MAX_PATH_BYTES:
        return f"it must have 1 to {MAX_PATH_BYTES} bytes"
    if path.startswith("/") or "\\" in path or _CONTROL.search(path):
        return "it must be relative, without backslashes and control characters"
    if unicodedata.normalize("NFC", path) != path:
        return "it is not in Unicode normal form NFC"
    for segment in path.split("/"):
        if segment in {"", ".", ".."}:
            return "empty, `.` and `..` segments are not allowed"
        if segment.lower().rstrip(". ") == ".git" or segment.lower() == "git~1":
            return "`.git` belongs to git"
    return None

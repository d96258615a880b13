"""Which paths a definition repository accepts."""

import re
import unicodedata

from uhlp.errors import ValidationFailed

MAX_PATH_BYTES = 512
MAX_SEGMENT_BYTES = 255
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_UNSEEN = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")
"""What HFS+ leaves out of a name, so that `.g\u200cit` would be `.git` there."""
_GITS_OWN = re.compile(r"\.git(modules)?|git~[0-9]+|gitmod~[0-9]+|gi7eba(~[0-9]+)?", re.IGNORECASE)
"""Names that git refuses on every file system; the short forms are NTFS's."""


def check_path(path: str) -> str:
    """The path of a file inside a definition repository, unchanged; raises ValidationFailed with the reason.

    Relative, `/` between segments, Unicode NFC, at most 512 bytes, no `..`, no `.git` in any case, no control
    characters and no backslash: what git, every file system and every runner read as one and the same file.
    `git fsck --strict` has nothing against a name that passes here.
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
        if len(segment.encode()) > MAX_SEGMENT_BYTES:
            return f"a segment has at most {MAX_SEGMENT_BYTES} bytes"
        if _GITS_OWN.fullmatch(_UNSEEN.sub("", segment).partition(":")[0].rstrip(". ")):
            return "`.git` and `.gitmodules` belong to git"
    return None

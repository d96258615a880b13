"""What a handler prints: kept apart from the frame stream, bounded, sent to the host as `log` after the call."""

import io
import sys

from .answers import sendable

LIMIT_CHARACTERS = 64 * 1024


class CapturedText(io.TextIOBase):
    """A text file for `sys.stdout` or `sys.stderr` that keeps the first 64 Ki characters of a call."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._left = LIMIT_CHARACTERS

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        length = str.__len__(text)  # past what a subclass of str says of itself
        if length and self._left > 0:
            self._parts.append(str.__getitem__(text, slice(self._left)))
        self._left -= length
        return length

    def take(self) -> str:
        """What was written since the last take; says so when there was more than fits."""
        if not self._parts:
            return ""
        text = sendable("".join(self._parts))
        if self._left < 0:
            text += f"\n[{-self._left} characters more were not kept]"
        self._parts.clear()
        self._left = LIMIT_CHARACTERS
        return text


class CapturedOutput:
    """Stands in for stdout and stderr of this process."""

    def __init__(self) -> None:
        self._files = (("info", CapturedText()), ("warning", CapturedText()))

    def install(self) -> None:
        """Redirect Python's stdout and stderr here (descriptors 1 and 2 lead to /dev/null)."""
        (_, sys.stdout), (_, sys.stderr) = self._files

    def take(self) -> list[tuple[str, str]]:
        """(level, text) of what was printed since the last take: stdout as info, stderr as warning."""
        return [(level, text) for level, file in self._files if (text := file.take())]

"""How far long work has come, for whoever looks at a terminal."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Bar:
    """A line on standard error while work goes on; nothing where nobody would see it."""

    def __init__(self, shown: "Progress | None" = None, task: "TaskID | None" = None) -> None:
        self._shown = shown
        self._task = task

    def advance(self, by: float = 1) -> None:
        if self._shown is not None and self._task is not None:
            self._shown.advance(self._task, by)

    def reach(self, done: float) -> None:
        if self._shown is not None and self._task is not None:
            self._shown.update(self._task, completed=done)

    def say(self, text: str) -> None:
        """What is being done now."""
        if self._shown is not None and self._task is not None:
            self._shown.update(self._task, description=text)


@contextmanager
def progress(text: str, *, total: float | None = None, is_bytes: bool = False, is_shown: bool = True) -> Iterator[Bar]:
    """A bar up to `total` with the time that is left; without a total the time that has passed.

    It is gone when the work is over. Only a terminal gets it, and no command that was asked for JSON (`is_shown`).
    """
    if not (is_shown and sys.stderr.isatty()):
        yield Bar()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    said = TextColumn("{task.description}", markup=False)
    counted = DownloadColumn() if is_bytes else MofNCompleteColumn()
    if total is not None:
        columns = (said, BarColumn(), counted, TimeRemainingColumn())
    else:
        columns = (SpinnerColumn(), said, *((counted,) if is_bytes else ()), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        yield Bar(shown, shown.add_task(text, total=total))


def counted(pieces: Iterable[bytes], bar: Bar) -> Iterator[bytes]:
    """The same pieces; the bar advances by their sizes."""
    for piece in pieces:
        bar.advance(len(piece))
        yield piece

"""What a process and everything below it hold in memory. Everything here blocks for some microseconds a process."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGESIZE")


def holds_more(pid: int, most_bytes: int) -> bool:
    """Whether they hold more than this together: pages that they share count once, which is asked only where it matters
    because it takes longer."""
    found = list(_processes(pid))
    return sum(map(_resident_bytes, found)) > most_bytes and sum(map(_proportional_bytes, found)) > most_bytes


def _processes(pid: int) -> Iterator[int]:
    """The process and those below it; where the kernel tells no children (CONFIG_PROC_CHILDREN), it alone."""
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in task.read_text().split():
                yield from _processes(int(child))


def _resident_bytes(pid: int) -> int:
    with contextlib.suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    return 0


def _proportional_bytes(pid: int) -> int:
    """Shared pages by the share; all of them where that cannot be read."""
    with contextlib.suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/smaps_rollup").read_text().partition("\nPss:")[2].split()[0]) * 1024
    return _resident_bytes(pid)

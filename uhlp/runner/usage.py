"""What processes take, as the kernel counts it."""

import os
import signal
from collections.abc import Callable

_OOM_COUNTERS = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")


def resident_bytes(pid: int) -> int:
    """Resident memory of a process; 0 when it has gone."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:  # noqa: PTH123
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    except (OSError, IndexError):
        return 0


def cpu_s(pid: int) -> float:
    """Processor time of a process since its start; 0 when it has gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            user, system = file.read().rsplit(b")", 1)[1].split()[11:13]
    except (OSError, ValueError):
        return 0.0
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


class OomKills:
    """Which ends the kernel's want of memory explains: as many as its counter has risen by, in the order they are seen.

    The counter rises before the process can be waited for, so a rise may belong to an end that is still to come.
    """

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count
        self._counted = count()
        self._unexplained = 0

    def look(self, most: int) -> None:
        """Read the counter. `most` processes live or have just ended that can be explained; the rest were others."""
        counted, self._counted = self._counted, self._count()
        self._unexplained = min(self._unexplained + max(0, self._counted - counted), most)

    def explain(self, status: int) -> bool:
        """Whether a process that ended with this wait status was one of them; each is counted once."""
        was_killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        if not was_killed or self._unexplained == 0:
            return False
        self._unexplained -= 1
        return True


def oom_kills() -> int:
    """How many processes of this control group the kernel has killed for want of memory; 0 where none is seen."""
    for path in _OOM_COUNTERS:
        try:
            with open(path, encoding="ascii") as file:  # noqa: PTH123
                return int(dict(line.split() for line in file)["oom_kill"])
        except (OSError, ValueError, KeyError):
            continue
    return 0

"""What processes take, as the kernel counts it."""

import os

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


def oom_kills() -> int:
    """How many processes of this control group the kernel has killed for want of memory; 0 where none is seen."""
    for path in _OOM_COUNTERS:
        try:
            with open(path, encoding="ascii") as file:  # noqa: PTH123
                return int(dict(line.split() for line in file)["oom_kill"])
        except (OSError, ValueError, KeyError):
            continue
    return 0

"""A worker and what it started, as one process group: led, killed and reaped together, and why it ended."""

import os
import signal


def lead(pid: int) -> None:
    """Put a worker into a process group of its own; nothing it starts can leave it (setsid and setpgid are refused)."""
    try:
        os.setpgid(pid, pid)
    except (PermissionError, ProcessLookupError):
        return  # the other of parent and child was first, or it has ended


def kill(leader: int) -> None:
    """Kill all of a worker's group; nothing happens when it has gone."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def end(leader: int) -> None:
    """Kill a worker's group and reap it until nothing is left."""
    kill(leader)
    while True:
        try:
            os.waitpid(-leader, 0)
        except ChildProcessError:
            return


def why_ended(status: int, *, by_us: bool) -> str:
    """killed by us, killed by the kernel for want of memory, ended by a limit, or ended on its own."""
    if by_us:
        return "killed"
    if os.WIFSIGNALED(status):
        if os.WTERMSIG(status) == signal.SIGKILL:  # nobody inside can send it
            return "oom"
        if os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGXFSZ):
            return "limit"
    return "exited"

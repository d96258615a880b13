"""Signal everybody but oneself; answers with the ways that went through."""

import fcntl
import os
import signal


def handle(inputs, context):
    read, write = os.pipe()
    ways = {
        "all": lambda: os.kill(-1, 9),
        "group": lambda: os.kill(0, 0) or os.kill(0, 9),
        "first": lambda: os.kill(1, 9),
        "parent": lambda: os.kill(os.getppid(), 9),
        "stop the parent": lambda: os.kill(os.getppid(), signal.SIGSTOP),
        "before": lambda: os.kill(os.getpid() - 1, 9),
        "after": lambda: os.kill(os.getpid() + 1, 9),
        "group of the first": lambda: os.killpg(1, 9),
        "descriptor": lambda: signal.pidfd_send_signal(os.pidfd_open(os.getppid()), 9),
        "owner of a pipe": lambda: fcntl.fcntl(read, fcntl.F_SETOWN, os.getppid()),
        "signal of a pipe": lambda: fcntl.fcntl(write, fcntl.F_SETSIG, 9),
        "own group": lambda: os.setpgid(0, 0),
        "group of another": lambda: os.setpgid(0, os.getppid()),
    }
    done = []
    for name, way in ways.items():
        try:
            way()
            done.append(name)
        except OSError:
            continue
    return done

"""Signals everybody: its neighbours, the first process, its own."""

import os
import signal

for pid in (1, -1, 0):
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        continue

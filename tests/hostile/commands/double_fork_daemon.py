"""Leaves daemons behind, in sessions of their own, with no stream of its parent's, and ends."""

import os
import time

for _ in range(5):
    if os.fork() == 0:
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        for descriptor in range(10):
            try:
                os.close(descriptor)
            except OSError:
                pass
        while True:
            time.sleep(1000)
print("gone")

"""Writes errors as fast as it can, with a thread that writes output."""

import os
import threading


def flood(descriptor):
    while True:
        os.write(descriptor, b"x" * 65536)


threading.Thread(target=flood, args=(1,), daemon=True).start()
flood(2)

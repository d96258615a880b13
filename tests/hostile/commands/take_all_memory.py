"""Allocates four gigabytes and touches them, in several ways."""

import mmap

got = 0
for flags in (mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS):
    try:
        with mmap.mmap(-1, 4 << 30, flags=flags) as area:
            for offset in range(0, 4 << 30, 4096):
                area[offset] = 1
        got += 1
    except (OSError, ValueError, MemoryError):
        continue
held = []
try:
    while True:
        held.append(bytearray(1 << 24))
        got += len(held) > 64
except MemoryError:
    print("got", got)

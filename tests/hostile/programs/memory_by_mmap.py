"""Take memory past Python's allocator; answers with the megabytes that it got."""

import mmap


def handle(inputs, context):
    kept = []
    try:
        while True:
            kept.append(mmap.mmap(-1, 1 << 20))
            kept[-1].write(b"x" * (1 << 20))
    except (OSError, MemoryError):
        return len(kept) < 1024

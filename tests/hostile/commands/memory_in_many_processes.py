"""Takes 40 MiB in each of thirty processes, all within their own bounds; says whether more than 256 MiB were held."""

import contextlib
import os
import signal
import time

reading, writing = os.pipe()
children = set()
for _ in range(30):
    try:
        pid = os.fork()
    except OSError:
        break
    if pid == 0:
        held = []
        for _ in range(40):
            block = bytearray(1 << 20)
            for offset in range(0, len(block), 4096):
                block[offset] = 1
            held.append(block)
        os.write(writing, b"x")
        time.sleep(1000)
    children.add(pid)
os.set_blocking(reading, False)
full = 0
while children and full < len(children):
    try:
        full += len(os.read(reading, 100))
    except BlockingIOError:
        time.sleep(0.01)
    pid, _ = os.waitpid(-1, os.WNOHANG)
    children.discard(pid)
for _ in range(50):  # who was full and is being ended holds nothing any more: it only has not been waited for
    time.sleep(0.01)
    with contextlib.suppress(ChildProcessError):
        while pid := os.waitpid(-1, os.WNOHANG)[0]:
            children.discard(pid)
print("bounded" if len(children) * 40 <= 256 else f"{len(children)} processes held 40 MiB each")
for pid in children:
    os.kill(pid, signal.SIGKILL)

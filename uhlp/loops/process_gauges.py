"""ProcessGauges: memory, descriptors, threads, tasks and processor time of this process."""

import asyncio
import os
import threading
import time
from pathlib import Path

from uhlp.catalogue import server
from uhlp.metering import Meter
from uhlp.version import own_version

_STATM = Path("/proc/self/statm")
_DESCRIPTORS = Path("/proc/self/fd")


class ProcessGauges:
    """Reads /proc, some 50 microseconds; where there is none, memory and descriptors are not shown.

    `show` is called on the event loop, whose tasks it counts.
    """

    def __init__(self, *, meter: Meter) -> None:
        self._memory = server.RESIDENT_MEMORY.on(meter).labels()
        self._files = server.OPEN_FILES.on(meter).labels()
        self._threads = server.THREADS.on(meter).labels()
        self._tasks = server.TASKS.on(meter).labels()
        self._cpu = server.CPU_SECONDS.on(meter).labels()
        self._cpu_s = 0.0
        server.BUILD.on(meter).labels(own_version()).set(1)

    def show(self) -> None:
        if _STATM.exists():
            self._memory.set(int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
            self._files.set(sum(1 for _ in _DESCRIPTORS.iterdir()))
        self._threads.set(threading.active_count())
        self._tasks.set(len(asyncio.all_tasks()))
        before, self._cpu_s = self._cpu_s, time.process_time()
        self._cpu.inc(self._cpu_s - before)

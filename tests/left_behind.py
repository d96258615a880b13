"""What work leaves behind in this process; of C libraries too, of which Python's own tools see nothing."""

import ctypes
import gc
import sys
from collections.abc import Callable

import pytest


class _MallInfo(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    ]  # fmt: skip


def left_behind_bytes(work: Callable[[int], object], *, times: int) -> float:
    """What one call of `work(number)` leaves allocated, in this thread, when it has been called `times` times before.

    Skips the test where the C library cannot say (it is glibc's to say).
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallinfo2"):
        pytest.skip("this C library has no mallinfo2")
    libc.mallinfo2.restype = _MallInfo

    def held() -> int:
        gc.collect()
        return int(libc.mallinfo2().uordblks)

    for number in range(times):
        work(number)
    before = held()
    for number in range(times, 2 * times):
        work(number)
    return (held() - before) / times


def objects_left_behind(work: Callable[[int], object], *, times: int) -> float:
    """How many blocks of Python's memory one call of `work(number)` leaves, when it was called before."""
    work(0)
    gc.collect()
    before = sys.getallocatedblocks()
    for number in range(1, times + 1):
        work(number)
    gc.collect()
    return (sys.getallocatedblocks() - before) / times

"""Leave the session and fork twice, by Python and by raw system calls; answers with what went through."""

import ctypes
import os

NUMBERS = {"x86_64": {"fork": 57, "vfork": 58, "clone": 56, "clone3": 435, "setsid": 112}, "aarch64": {"clone": 220}}


def handle(inputs, context):
    libc = ctypes.CDLL(None, use_errno=True)
    done = [name for name, number in NUMBERS[os.uname().machine].items() if libc.syscall(number, 0, 0, 0, 0, 0) >= 0]
    for step in (os.setsid, os.fork, lambda: os.posix_spawn("/proc/self/exe", ["python"], {})):
        try:
            done.append(step())
        except OSError:
            continue
    return done

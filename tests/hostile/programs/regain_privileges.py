"""Become root, gain capabilities, make a file that others run as root; answers with what went through."""

import ctypes
import os


def handle(inputs, context):
    ways = {
        "uid": lambda: os.setuid(0),
        "gid": lambda: os.setgid(0),
        "both": lambda: os.setresuid(0, 0, 0),
        "groups": lambda: os.setgroups([0]),
        "root": lambda: os.chroot("/tmp"),
        "device": lambda: os.mknod("/tmp/memory", 0o20666, os.makedev(1, 1)),
        "owner": lambda: os.chown(open("/tmp/gift", "w").fileno(), 0, 0),
    }
    done = []
    for name, way in ways.items():
        try:
            way()
            done.append(name)
        except OSError:
            continue
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(24, 21, 0, 0, 0) == 0:
        done.append("bounding set")
    if libc.prctl(47, 2, 21, 0, 0) == 0:
        done.append("ambient capability")
    status = dict(
        line.split(":\t", 1) for line in open("/proc/thread-self/status").read().splitlines() if ":\t" in line
    )
    if (
        int(status["CapEff"], 16)
        or int(status["CapPrm"], 16)
        or status["NoNewPrivs"] != "1"
        or status["Seccomp"] != "2"
    ):
        done.append("status")
    return done

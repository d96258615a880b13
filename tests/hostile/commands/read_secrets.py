"""Looks for a secret in the server's memory, environment and data, and in other commands' files; says where it is."""

import contextlib
import glob
import os
import sys

marker, places = sys.argv[1].encode(), sys.argv[2:]
places += ["/etc/shadow", "/etc/passwd", "/root/.ssh/id_rsa", "/tmp/secret", "/dev/shm/secret"]
for pattern in ("/proc/[0-9]*/environ", "/proc/[0-9]*/maps", "/proc/[0-9]*/root/tmp/secret", "/proc/[0-9]*/fd/*",
                "/tmp/*", "/home/*", "/srv/*", "/var/lib/*", "/proc/[0-9]*/cwd/*"):  # fmt: skip
    places += glob.glob(pattern)
mine = f"/proc/{os.getpid()}/"
found = []
for place in places:
    if place.startswith((mine, "/proc/self/")):
        continue
    with contextlib.suppress(OSError):
        if os.path.isdir(place):
            found.append(place) if os.listdir(place) and not place.startswith("/proc") else None
        elif os.path.isfile(place):
            with open(place, "rb") as file:
                content = file.read(1 << 20)
            if marker in content or place in ("/etc/shadow", "/etc/passwd"):
                found.append(place)
print([place for place in found if place != "/etc/passwd" or not os.path.exists("/.dockerenv")])

"""Writes wherever it may, until it may no more; says how much went where."""

import errno

BLOCK = b"x" * (1 << 20)
FOLDERS = ("/tmp", "/", "/usr", "/usr/bin", "/etc", "/dev", "/dev/shm", "/run", "/var/tmp", "/proc", "/runner", "/root")
written = {}
for folder in FOLDERS:
    total = 0
    try:
        for number in range(1000):
            with open(f"{folder}/f{number}", "wb") as file:
                for _ in range(16):
                    total += file.write(BLOCK)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.ENOENT, errno.EPERM, errno.ENOSPC, errno.EINVAL):
            raise
    if total:
        written[folder] = total >> 20
print(sorted(written), written.get("/tmp", 0) <= 64)

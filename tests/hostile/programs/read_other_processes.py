"""Read environment, memory and descriptors of every other process; answers with what could be read."""

import os


def handle(inputs, context):
    found = []
    for pid in ["1", "2", str(os.getppid()), *filter(str.isdigit, os.listdir("/proc"))]:
        if pid == str(os.getpid()):
            continue
        for name in (
            "environ",
            "mem",
            "maps",
            "auxv",
            "fd",
            "fd/0",
            "fd/3",
            "fd/4",
            "cwd",
            "root/tmp",
            "task/1/environ",
        ):
            path = f"/proc/{pid}/{name}"
            try:
                if os.path.isdir(path):
                    os.listdir(path)
                else:
                    with open(path, "rb") as file:
                        file.read(1)
                found.append(path)
            except OSError:
                continue
    return found

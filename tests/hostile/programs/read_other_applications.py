"""Search all that can be written or shared for the marks of others; answers with the files that hold one."""

import os


def handle(inputs, context):
    found = []
    for top in ("/tmp", "/var", "/dev", "/run", "/home", os.path.expanduser("~")):
        for folder, _, names in os.walk(top):
            for name in names:
                path = f"{folder}/{name}"
                try:
                    if os.path.isfile(path) and os.path.getsize(path) < 1 << 20:
                        with open(path, errors="replace") as file:
                            if inputs["marker"] in file.read():
                                found.append(path)
                except OSError:
                    continue
    return found

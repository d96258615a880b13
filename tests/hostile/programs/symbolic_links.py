"""Lead whoever cleans up elsewhere: links out of /tmp, loops, a folder that becomes a link."""

import os


def handle(inputs, context):
    folder = os.getcwd()
    for number, target in enumerate(["/", "/etc", "/usr", "/proc/1/root", "/runner", "..", "/tmp", "loop"]):
        attempt(os.symlink, target, f"own-{number}")
        attempt(os.symlink, target, f"/tmp/link-{number}")
    attempt(os.symlink, "loop", "loop")
    attempt(os.rename, folder, "/tmp/moved")
    attempt(os.symlink, "/", folder)
    return "done"


def attempt(step, *arguments):
    try:
        step(*arguments)
    except OSError:
        return

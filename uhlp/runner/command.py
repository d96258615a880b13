"""The first program of a command's sandbox: builds the walls, then becomes the command.

Its settings come over a descriptor, because command lines can be read by everybody. Over another one it says, as JSON,
what stands in the way, or `ready` just before it is gone:

    {"missing": ["own user: …"]}     a wall is missing: nothing runs
    ready                            and, where the program cannot be started: {"error": "…"}
"""

import contextlib
import json
import os
import platform
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any

from . import seccomp, walls

Json = dict[str, Any]

READY = b"ready"
_PROC_DESCRIPTORS = "/proc/self/fd"


def main() -> None:
    """`argv[3]` is the settings' descriptor."""
    with open(int(sys.argv[3]), encoding="utf-8") as file:  # noqa: PTH123 - a descriptor
        settings = json.load(file)
    status = settings["status_fd"]
    _close_on_exec()
    missing = build(settings)
    if missing:
        os.write(status, json.dumps({"missing": missing}).encode())
        os._exit(1)
    os.write(status, READY)
    try:
        os.execve(settings["argv"][0], settings["argv"], settings["environment"])  # noqa: S606 - that is what it is for
    except OSError as fault:
        os.write(status, json.dumps({"error": fault.strerror}).encode())
    os._exit(127)


def build(settings: Json) -> list[str]:
    """Give up everything that a command must not have; the walls that could not be built, with the reason."""
    missing: list[str] = []

    def attempt(wall: str, step: Callable[..., None], *arguments: Any) -> None:
        try:
            step(*arguments)
        except (walls.WallMissing, OSError, ValueError) as fault:
            missing.append(f"{wall}: {fault}")

    walls.OomScore().offer_forks()
    attempt("bounds of /tmp", walls.bound_tmp, settings["tmp"])
    for path in settings["hidden"]:
        attempt(f"hidden {path}", walls.take_away, path)
    if settings["uid"] is not None:
        attempt("own user", walls.take_identity, settings["uid"])
    attempt("no capabilities", walls.drop_capabilities)
    attempt("end with the server", walls.end_with_parent)
    attempt("limits", _limit, settings["limits"])
    if seccomp.is_supported():
        attempt("filter of system calls", walls.filter_sandbox_calls, settings["has_network"])
    else:
        missing.append(f"filter of system calls: none for {platform.machine()}")
    if os.getuid() == 0:
        missing.append("own user: it is root")
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # Python ignores them, and the command would inherit that
    return missing


def _limit(limits: Json) -> None:
    """`{<name of a resource without RLIMIT_>: number}`; no process of the command can raise them."""
    for name, number in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        _, hard = resource.getrlimit(kind)
        bound = number if hard == resource.RLIM_INFINITY else min(number, hard)
        resource.setrlimit(kind, (bound, bound))


def _close_on_exec() -> None:
    """The command gets its three standard streams and no other descriptor."""
    for name in os.listdir(_PROC_DESCRIPTORS):  # noqa: PTH208
        if int(name) > 2:
            with contextlib.suppress(OSError):  # the one that listed them
                os.set_inheritable(int(name), False)

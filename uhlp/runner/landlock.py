"""Files of a worker's own (Landlock, Linux 5.13): after `keep_to`, it reaches no folder beside its own in /tmp.

The workers of a sandbox share a user and /tmp, so that file modes keep nobody apart. What lies elsewhere stays as it is
mounted: read-only but for volumes. `/` and the folders on the way to the worker's own cannot be listed any more.
"""

import ctypes
import os
import platform
import struct

from . import RunnerError

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1
_PATH_BENEATH = 1
_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1}
"""All rights over files that versions of Landlock know: 2 adds moving to another folder, 3 truncating."""
_OF_FILES = 1 << 14 | 0b111
"""Those of a rule for a file: executing, writing, reading, truncating."""
_libc = ctypes.CDLL(None, use_errno=True)


class NotKept(RunnerError):
    """The kernel has no Landlock, or refused."""


def version() -> int:
    """Which Landlock this kernel has; 0 for none."""
    if platform.machine() not in ("x86_64", "aarch64"):
        return 0
    return max(0, int(_libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)))


def keep_to(folder: str, tmp: str) -> None:
    """Leave of `tmp` only `folder`, which lies in it, to this process and its threads to come; for good.

    A folder that is `tmp` itself is nobody's own: nothing of `tmp` is left then. Raises NotKept.
    """
    known = version()
    if known == 0:
        raise NotKept("the kernel has no Landlock")
    rights = _RIGHTS[min(known, 3)]
    ruleset = _call(_CREATE_RULESET, struct.pack("=Q", rights), ctypes.c_size_t(8), 0)
    try:
        for path in _beside(os.path.realpath(tmp)):
            _allow(ruleset, path, rights)
        if os.path.realpath(folder) != os.path.realpath(tmp):
            _allow(ruleset, folder, rights)
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _beside(tmp: str) -> list[str]:
    """Everything but `tmp`: each entry of each folder on the way to it."""
    found, at = [], "/"
    for step in tmp.strip("/").split("/"):
        found += [f"{at}{name}" for name in os.listdir(at) if name != step]  # noqa: PTH208 - no pathlib in a worker
        at += f"{step}/"
    return found


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # it has gone, or leads nowhere
    try:
        _call(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, descriptor), 0)
    except NotKept:
        _call(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights & _OF_FILES, descriptor), 0)
    finally:
        os.close(descriptor)


def _call(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        raise NotKept(f"Landlock: {os.strerror(ctypes.get_errno())}")
    return result

"""The walls that bubblewrap builds: namespaces, a file system of a few read-only folders, an empty environment.

The system call filters, the user id and the limits are set from inside, by `runner/walls.py`.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from uhlp.sandbox.drivers.interpreter import Interpreter
from uhlp.sandbox.drivers.volumes import Volume

HOME = Path("/runner")
TMP = "/tmp"  # noqa: S108 - the sandbox's own
_TMP_BYTES = 64 * 1024 * 1024
_LIBRARIES = ("/usr/lib", "/usr/lib32", "/usr/lib64", "/lib", "/lib32", "/lib64")
_FOR_HANDLERS = (*_LIBRARIES, "/usr/share/zoneinfo")
_FOR_COMMANDS = (*_LIBRARIES, "/usr/share", "/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime")
_FOR_NETWORK = ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/ssl", "/etc/ca-certificates")
_DEVICES = ("null", "zero", "full", "random", "urandom")
# for the supervisor's first steps (bounds of /tmp, change of user), dropped before anything else is loaded
_FIRST_CAPABILITIES = {True: ("CAP_SYS_ADMIN", "CAP_SETUID", "CAP_SETGID"), False: ("CAP_SYS_ADMIN",)}


def command(
    bwrap: str, *, interpreter: Interpreter, home: Path, volumes: Sequence[Volume], info_fd: int, is_root: bool
) -> list[str]:
    """The command line up to the program to run inside.

    The descriptors of the volumes must be inherited.

    As root there is no user namespace: the supervisor takes a user id of its own, which the kernel then counts alone.
    """
    line = [*_namespaces(bwrap, info_fd=info_fd, is_root=is_root), "--unshare-net", "--as-pid-1"]
    for volume in volumes:  # first, so that nothing of the sandbox's own is ever covered
        line += _bind(volume)
    return [*line, *_system(_FOR_HANDLERS), *_python(interpreter, home), *_private(), *_last()]


def command_of_the_machine(
    bwrap: str,
    *,
    interpreter: Interpreter,
    home: Path,
    programs: Sequence[Volume],
    folders: Sequence[Volume],
    has_network: bool,
    info_fd: int,
    is_root: bool,
) -> list[str]:
    """The same for a command: it sees what programs of the machine need, its own and what the operator names.

    Process 1 is bubblewrap's own: its end is the end of everything inside.
    """
    line = _namespaces(bwrap, info_fd=info_fd, is_root=is_root)
    line += [] if has_network else ["--unshare-net"]
    line += _system((*_FOR_COMMANDS, *(_FOR_NETWORK if has_network else ())))
    line += [*_python(interpreter, home), *_private()]
    for volume in (*folders, *programs):
        line += _bind(volume)
    return [*line, *_last()]


def told_child(info_fd: int) -> int | None:
    """The child's process id from bubblewrap's words; they come in pieces, it is whole in the first. None: it ended."""
    found = re.search(rb'"child-pid": (\d+)', os.read(info_fd, 4096))
    return int(found[1]) if found else None


def _namespaces(bwrap: str, *, info_fd: int, is_root: bool) -> list[str]:
    line = [bwrap, "--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try"]
    line += [] if is_root else ["--unshare-user"]
    line += ["--die-with-parent", "--new-session", "--hostname", "sandbox", "--info-fd", str(info_fd)]
    line += ["--clearenv", "--setenv", "HOME", "/nonexistent", "--cap-drop", "ALL"]
    for capability in _FIRST_CAPABILITIES[is_root]:
        line += ["--cap-add", capability]
    return line


def _system(paths: Sequence[str]) -> list[str]:
    line = []
    for path in map(Path, paths):
        if path.is_symlink() and path.is_dir():
            line += ["--symlink", str(path.readlink()), str(path)]
        elif path.exists():
            line += [*_parents(path), "--ro-bind", str(path), str(path)]
    return line


def _python(interpreter: Interpreter, home: Path) -> list[str]:
    line = []
    for path in (interpreter.library, interpreter.executable):
        if not path.is_relative_to("/usr/lib"):
            line += [*_parents(path), "--ro-bind", str(path), str(path)]
    for path in interpreter.packages:
        if path.is_relative_to("/usr/lib") or path.is_relative_to(interpreter.library):
            line += ["--tmpfs", str(path), "--remount-ro", str(path)]
    return [*line, "--ro-bind", str(home), str(HOME)]


def _private() -> list[str]:
    line = ["--proc", "/proc", "--tmpfs", "/dev"]
    for device in _DEVICES:
        line += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    return [*line, "--remount-ro", "/dev", "--perms", "1777", "--size", str(_TMP_BYTES), "--tmpfs", TMP]


def _last() -> list[str]:
    return ["--remount-ro", "/", "--chdir", TMP, "--"]


def _bind(volume: Volume) -> list[str]:
    option = "--bind-fd" if volume.writable else "--ro-bind-fd"
    return [*_parents(volume.target), option, str(volume.descriptor), str(volume.target)]


def _parents(path: Path) -> list[str]:
    """Make the folders above a bound path, so that any user can pass (bubblewrap itself would make them 0700)."""
    return [
        argument for parent in reversed(path.parents[:-1]) for argument in ("--perms", "0755", "--dir", str(parent))
    ]

"""The walls that bubblewrap builds: namespaces, a file system of a few read-only folders, an empty environment.

The system call filters, the user id and the limits are set from inside, by `runner/walls.py`.
"""

from collections.abc import Sequence
from pathlib import Path

from uhlp.sandbox.drivers.interpreter import Interpreter
from uhlp.sandbox.drivers.volumes import Volume

HOME = Path("/runner")
TMP = "/tmp"  # noqa: S108 - the sandbox's own
_TMP_BYTES = 64 * 1024 * 1024
_SYSTEM_FOLDERS = ("/usr/lib", "/usr/lib32", "/usr/lib64", "/lib", "/lib32", "/lib64", "/usr/share/zoneinfo")
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
    line = [bwrap, "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    line += [] if is_root else ["--unshare-user"]
    line += ["--as-pid-1", "--die-with-parent", "--new-session", "--hostname", "sandbox", "--info-fd", str(info_fd)]
    line += ["--clearenv", "--setenv", "HOME", "/nonexistent", "--cap-drop", "ALL"]
    for capability in _FIRST_CAPABILITIES[is_root]:
        line += ["--cap-add", capability]
    for volume in volumes:  # first, so that nothing of the sandbox's own is ever covered
        line += [*_parents(volume.target), "--bind-fd" if volume.writable else "--ro-bind-fd"]
        line += [str(volume.descriptor), str(volume.target)]
    for folder in map(Path, _SYSTEM_FOLDERS):
        if folder.is_symlink():
            line += ["--symlink", str(folder.readlink()), str(folder)]
        elif folder.is_dir():
            line += [*_parents(folder), "--ro-bind", str(folder), str(folder)]
    for path in (interpreter.library, interpreter.executable):
        if not path.is_relative_to("/usr/lib"):
            line += [*_parents(path), "--ro-bind", str(path), str(path)]
    for path in interpreter.packages:
        if path.is_relative_to("/usr/lib") or path.is_relative_to(interpreter.library):
            line += ["--tmpfs", str(path), "--remount-ro", str(path)]
    line += ["--ro-bind", str(home), str(HOME), "--proc", "/proc", "--tmpfs", "/dev"]
    for device in _DEVICES:
        line += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    line += ["--remount-ro", "/dev", "--perms", "1777", "--size", str(_TMP_BYTES), "--tmpfs", TMP]
    return [*line, "--remount-ro", "/", "--chdir", TMP, "--"]


def _parents(path: Path) -> list[str]:
    """Make the folders above a bound path, so that any user can pass (bubblewrap itself would make them 0700)."""
    return [
        argument for parent in reversed(path.parents[:-1]) for argument in ("--perms", "0755", "--dir", str(parent))
    ]

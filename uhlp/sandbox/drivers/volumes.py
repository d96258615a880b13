"""Volumes: an application's own data, seen from inside a sandbox. The same rules hold for every driver."""

import contextlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from uhlp.errors import IsolationRefused
from uhlp.models.volume_mounts import MOUNT_SHAPE, read_mounts

_NEVER_SHOWN = tuple(
    map(Path, ("/run/docker.sock", "/run/podman", "/run/containerd", "/proc", "/sys", "/dev"))
)  # engines' sockets in their usual places, and what the kernel shows of the host
_SHAPE = re.compile(MOUNT_SHAPE)
_FOLDER = os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
_ANY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Volume:
    """A host path seen inside. `descriptor` holds what lay at `source` when it was checked, whatever lies there now."""

    source: Path
    target: Path
    writable: bool
    descriptor: int


@contextlib.contextmanager
def open_volumes(
    mounts: Sequence[str], allowed: Sequence[str], *, hidden: Sequence[Path] = (), occupied: Sequence[Path] = ()
) -> Iterator[list[Volume]]:
    """`<host path>:<path inside>[:ro|:rw]` each, held open; raises IsolationRefused outside the allow list.

    No link is followed below an allowed folder: whoever writes there could turn it while it is being mounted. What is
    `hidden` (the data directory, our engine's socket), engines' sockets in their usual places, /proc, /sys and /dev are
    never seen inside, whatever the allow list says. `occupied` are paths inside that this machine's sandboxes need.
    """
    never = [path.resolve() for path in (*hidden, *_NEVER_SHOWN)]
    with contextlib.ExitStack() as stack:
        volumes = []
        for mount in mounts:
            if not _SHAPE.fullmatch(mount):
                raise IsolationRefused(f"The volume {mount[:200]!r} is not <host path>:<path inside>[:ro|:rw].")
        try:
            parts = read_mounts(mounts)
        except ValueError as error:
            raise IsolationRefused(str(error)) from error
        for source, target, is_writable in parts:
            inside = Path(target)
            for path in occupied:
                if path.is_relative_to(inside) or inside.is_relative_to(path):
                    raise IsolationRefused(f"The volume target {target} would cover a part of the sandbox: {path}.")
            descriptor = _open(source, allowed)
            stack.callback(os.close, descriptor)
            real = Path(f"/proc/self/fd/{descriptor}").readlink()  # where it lies now, as the kernel knows it
            if not any(real.is_relative_to(Path(folder).resolve()) for folder in allowed):
                raise IsolationRefused(f"The volume source {source} is outside the folders of sandbox.volume_allow.")
            for path in never:
                if real.is_relative_to(path) or path.is_relative_to(real):
                    raise IsolationRefused(f"The volume source {source} would show {path}, which no sandbox may see.")
            volumes.append(Volume(real, inside, is_writable, descriptor))
        yield volumes


class SharedSources:
    """For a driver whose engine opens sources by name, some time after they were checked.

    Whoever writes in a folder can put a link in place of what lies in it meanwhile. So nothing below a folder that a
    sandbox of this server may write, or has been able to, is a source of its own, and the other way round.
    """

    def __init__(self) -> None:
        self._seen: dict[Path, bool] = {}

    def check(self, volumes: Sequence[Volume]) -> None:
        """Raises IsolationRefused; volumes that pass are remembered for the life of the server."""
        for volume in volumes:
            for other, is_writable in (*self._seen.items(), *((each.source, each.writable) for each in volumes)):
                above, below = sorted((volume.source, other), key=lambda path: len(path.parts))
                may_write = volume.writable if above == volume.source else is_writable
                if above != below and below.is_relative_to(above) and may_write:
                    raise IsolationRefused(
                        f"The volume source {below} lies in {above}, which a pool may write: it could be exchanged "
                        "while the engine mounts it. Mount folders beside each other."
                    )
        for volume in volumes:
            self._seen[volume.source] = volume.writable or self._seen.get(volume.source, False)


def _open(source: str, allowed: Sequence[str]) -> int:
    """What lies at `source`, found step by step from an allowed folder. Raises IsolationRefused."""
    path = Path(source)
    if ".." in path.parts or path.anchor != "/":
        raise IsolationRefused(f"The volume source {source} is not a plain absolute path.")
    for folder in map(Path, allowed):
        for start in {folder, folder.resolve()}:  # the operator's own links are followed, once
            if path.is_relative_to(start):
                names = (*folder.resolve().parts[1:], *path.relative_to(start).parts)
                return _walk(source, names)
    raise IsolationRefused(f"The volume source {source} is outside the folders that sandbox.volume_allow names.")


def _walk(source: str, names: Sequence[str]) -> int:
    descriptor = os.open("/", _FOLDER)
    try:
        for number, name in enumerate(names, start=1):
            below = os.open(name, _FOLDER if number < len(names) else _ANY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
            raise IsolationRefused(f"The volume source {source} is a link or a special file; give the path itself.")
    except OSError as error:
        os.close(descriptor)
        raise IsolationRefused(
            f"The volume source {source} cannot be opened without following links: {error.strerror}."
        ) from error
    except IsolationRefused:
        os.close(descriptor)
        raise
    return descriptor

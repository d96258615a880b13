"""Volumes: an application's own data, seen from inside a sandbox. The same rules hold for every driver."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from uhlp.errors import IsolationRefused

_ENGINE_SOCKETS = (Path("/run/docker.sock"), Path("/run/podman"), Path("/run/containerd"))


@dataclass(frozen=True, slots=True)
class Volume:
    """A host path seen inside, read-only unless it says otherwise."""

    source: Path
    target: Path
    writable: bool


def parse_volume(mount: str, allowed: Sequence[str], *, hidden: Sequence[Path] = ()) -> Volume:
    """`<host path>:<path inside>[:ro|:rw]`; raises IsolationRefused outside the allow list (links followed).

    What is `hidden` (the data directory, our engine's socket) and engines' sockets in their usual places are never seen
    inside, whatever the allow list says.
    """
    parts = mount.split(":")
    if len(parts) not in (2, 3) or (len(parts) == 3 and parts[2] not in ("ro", "rw")):
        raise IsolationRefused(f"The volume {mount!r} is not <host path>:<path inside>[:ro|:rw].")
    source, target = Path(parts[0]).resolve(), Path(parts[1])
    if not any(source.is_relative_to(Path(folder).resolve()) for folder in allowed):
        raise IsolationRefused(f"The volume {mount!r} is outside the folders that sandbox.volume_allow names.")
    for path in (each.resolve() for each in (*hidden, *_ENGINE_SOCKETS)):
        if source.is_relative_to(path) or path.is_relative_to(source):
            raise IsolationRefused(f"The volume {mount!r} would show {path} inside, which no sandbox may see.")
    if not target.is_absolute() or ".." in target.parts or target.parts[:2] in _own_targets():
        raise IsolationRefused(f"The volume {mount!r} would cover a part of the sandbox.")
    return Volume(source, target, writable=parts[2:] == ["rw"])


def _own_targets() -> set[tuple[str, ...]]:
    names = ("bin", "dev", "etc", "lib", "lib64", "proc", "run", "runner", "sbin", "sys", "tmp", "usr")
    return {("/",)} | {("/", name) for name in names}

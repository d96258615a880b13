"""What a pool may write under `volumeMounts`: the rules that need no machine to check.

A volume stands inside a sandbox beside what the sandbox is made of, never over or under it.
"""

from collections.abc import Sequence
from typing import Annotated, NamedTuple

from pydantic import Field

MAX_TARGET_CHARACTERS = 256
MAX_TARGET_DEPTH = 8

RESERVED_FOLDERS = frozenset(
    ("bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "newroot", "oldroot", "proc", "root", "run",
     "runner", "sbin", "sys", "tmp", "usr", "var")
)  # fmt: skip
"""Top folders that sandboxes of any driver are made of; bubblewrap builds its roots in the last two of its own."""

_SOURCE = r"/[^:\x00-\x1f\x7f]*"
_NAME = r"[A-Za-z0-9_][A-Za-z0-9._+@-]*"

MOUNT_SHAPE = rf"^{_SOURCE}:(/{_NAME})+/?(:ro|:rw)?$"
VolumeMount = Annotated[str, Field(pattern=MOUNT_SHAPE, max_length=2048)]
"""`<host path>:<path inside>[:ro|:rw]`."""


class MountParts(NamedTuple):
    """`target` without a slash at its end."""

    source: str
    target: str
    is_writable: bool


def read_mounts(mounts: Sequence[str]) -> list[MountParts]:
    """The parts of mounts that have the shape; raises ValueError for targets that a sandbox cannot have."""
    read: list[MountParts] = []
    for mount in mounts:
        source, target, *mode = mount.split(":")
        target = target.rstrip("/")
        names = target.split("/")[1:]
        if len(target) > MAX_TARGET_CHARACTERS or len(names) > MAX_TARGET_DEPTH:
            raise ValueError(
                f"The volume target {target[:60]!r} is too long: {MAX_TARGET_CHARACTERS} characters and "
                f"{MAX_TARGET_DEPTH} folders are the limit."
            )
        if names[0].lower() in RESERVED_FOLDERS:
            raise ValueError(f"The volume {mount!r} would cover a part of the sandbox: /{names[0]} is its own.")
        for other in read:
            if f"{target}/".startswith(f"{other.target}/") or f"{other.target}/".startswith(f"{target}/"):
                raise ValueError(f"The volume targets {other.target} and {target} lie in each other.")
        read.append(MountParts(source, target, mode == ["rw"]))
    return read

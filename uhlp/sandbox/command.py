"""Commands: a program of the machine's, or of an image's, in a throw-away sandbox of its own.

A driver starts them (`Driver.open_command`) behind the walls of every other sandbox. Where there are none, or one is
missing, nothing runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from uhlp.models.definition import RUNNER_IMAGE

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class CommandLimits:
    """What one command may take. `cpu_s` is processor time, None for a program that runs as long as the server.

    `memory_bytes` bounds what its processes hold together. A container's engine sees to that; of processes of this
    machine the kernel bounds what each may map, and all together are looked at ten times a second. With
    `counts_reservations=False` each may map more than it may write to, for programs such as Node that reserve far more
    than they use. `processes` counts threads too.
    """

    memory_bytes: int = 256 * _MIB
    counts_reservations: bool = True
    cpu_s: float | None = None
    processes: int = 32
    open_files: int = 256
    file_bytes: int = 16 * _MIB


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """What to run, and what it may reach.

    `owner` says whose it is, for logs and labels: an application's id or a server's name. `argv[0]` is an absolute
    path; no shell reads the rest. `environment` comes on top of PATH, HOME, TMPDIR and LANG, and appears on no command
    line. Of this machine it sees the system's libraries, its own program, `programs` (other absolute paths that it may
    start) and `folders`, read-only and at their own paths; where a driver starts containers, it sees what is in `image`
    and `folders`. `has_network` lets it out: to everything that this machine, or the engine's bridge, reaches.
    """

    owner: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    programs: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()
    has_network: bool = False
    image: str = RUNNER_IMAGE
    limits: CommandLimits = CommandLimits()


class CommandProcess(Protocol):
    """A command that runs. It ends with `kill`, with the server, or by itself; everything it started ends with it.

    Its output waits for whoever reads it, in bounded buffers: read both streams, or it stands still. Whoever opened it
    calls `kill` in the end, also after `wait`.
    """

    command_id: str

    async def write(self, data: bytes) -> None:
        """Give it input; returns when it has taken most of it. Raises ConnectionError when it takes no more."""
        ...

    async def close_stdin(self) -> None:
        """Its input ends here. Safe to repeat."""
        ...

    async def read_stdout(self) -> bytes:
        """The next piece of its output, 64 KiB at most; b"" at its end."""
        ...

    async def read_stderr(self) -> bytes:
        """The same of its errors."""
        ...

    async def wait(self) -> int:
        """Its exit status, when it has ended: 128 and the signal's number where a signal ended it."""
        ...

    async def kill(self) -> None:
        """End it and everything it started; returns when nothing is left. Safe to repeat."""
        ...

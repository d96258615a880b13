"""What a command sees of this machine: its programs and the folders that the operator names, held open."""

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from uhlp.errors import CommandRefused, IsolationRefused
from uhlp.models.program_path import is_plain_path
from uhlp.sandbox.command import CommandSpec
from uhlp.sandbox.drivers.volumes import Volume

_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class CommandView:
    """`programs` are single files, each where the command looks for it."""

    programs: tuple[Volume, ...]
    folders: tuple[Volume, ...]


@contextlib.contextmanager
def open_view(spec: CommandSpec, *, hidden: Sequence[Path]) -> Iterator[CommandView]:
    """Raises CommandRefused for a program that cannot be one, IsolationRefused for a folder no sandbox may see.

    Links are followed here, once: what is held open is what the command will find, whatever lies there meanwhile.
    """
    with contextlib.ExitStack() as opened:
        folders = tuple(opened.enter_context(open_folders(spec.folders, hidden=hidden)))
        programs = [_program(spec.argv[0], hidden, opened)]
        for path in spec.programs:
            with contextlib.suppress(CommandRefused):  # what this machine lacks keeps nobody from running the rest
                programs.append(_program(path, hidden, opened))
        yield CommandView(tuple(_beside(programs, folders)), folders)


@contextlib.contextmanager
def open_folders(folders: Sequence[Path], *, hidden: Sequence[Path]) -> Iterator[list[Volume]]:
    """The folders alone. Raises IsolationRefused."""
    with contextlib.ExitStack() as opened:
        yield [_folder(folder, hidden, opened) for folder in folders]


def check_program_path(path: str) -> None:
    """Raises CommandRefused unless it is a plain absolute path: nothing that is read in two ways."""
    if not is_plain_path(path):
        raise CommandRefused(f"The command {path[:200]!r} is no plain absolute path, such as /usr/bin/sort.")


def _beside(programs: Sequence[Volume], folders: Sequence[Volume]) -> Iterator[Volume]:
    """The programs that the folders do not show already, each where the command finds it."""
    for program in programs:
        if not any(program.target.is_relative_to(folder.target) for folder in folders):
            yield program
        elif not any(program.source.is_relative_to(folder.source) for folder in folders):
            yield Volume(program.source, program.source, False, program.descriptor)  # a link leads out of its folder


def _program(path: str, hidden: Sequence[Path], opened: contextlib.ExitStack) -> Volume:
    check_program_path(path)
    try:
        real = Path(path).resolve(strict=True)
        descriptor = _open(real, opened)
    except (OSError, RuntimeError) as error:
        raise CommandRefused(f"There is no program {path} on this machine.") from error
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode) or not mode & 0o111:
        raise CommandRefused(f"{path} is no program: it is not an executable file.")
    if mode & stat.S_IWOTH or any(_is_anybodys(folder) for folder in real.parents):
        raise CommandRefused(f"{path} can be exchanged by anybody on this machine (it, or a folder above it).")
    if any(real.is_relative_to(folder.resolve()) for folder in hidden):
        raise CommandRefused(f"{path} lies where no sandbox may look.")
    return Volume(real, Path(path), False, descriptor)


def _folder(folder: Path, hidden: Sequence[Path], opened: contextlib.ExitStack) -> Volume:
    try:
        real = folder.resolve(strict=True)
        descriptor = _open(real, opened)
    except (OSError, RuntimeError) as error:
        raise IsolationRefused(f"The folder {folder} of a command is not there.") from error
    if not folder.is_absolute() or not stat.S_ISDIR(os.fstat(descriptor).st_mode) or folder == Path("/"):
        raise IsolationRefused(f"{folder} is not the absolute path of a folder below /.")
    for path in hidden:
        if real.is_relative_to(path.resolve()) or path.resolve().is_relative_to(real):
            raise IsolationRefused(f"The folder {folder} would show {path}, which no sandbox may see.")
    return Volume(real, folder, False, descriptor)


def _open(real: Path, opened: contextlib.ExitStack) -> int:
    """Raises OSError, also when something else lies there by now."""
    descriptor = os.open(real, _PATH)
    opened.callback(os.close, descriptor)
    if Path(f"/proc/self/fd/{descriptor}").readlink() != real:
        raise OSError(f"{real} has moved")
    return descriptor


def _is_anybodys(folder: Path) -> bool:
    mode = folder.stat().st_mode
    return bool(mode & stat.S_IWOTH) and not mode & stat.S_ISVTX

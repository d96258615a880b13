"""The Python that sandboxes run: the server's own interpreter, without the server's packages."""

import stat
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

_SYSTEM_PACKAGES = (
    "/usr/lib/python3/dist-packages",
    "/usr/local/lib/python3*/*-packages",
    "/usr/lib/python3*/*-packages",
)


@dataclass(frozen=True, slots=True)
class Interpreter:
    """`executable` and `library` must be seen inside a sandbox; `packages` lie within what is seen and must not be."""

    executable: Path
    library: Path
    packages: tuple[Path, ...]

    @classmethod
    def own(cls) -> "Interpreter":
        """The interpreter below the server's virtual environment."""
        executable = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
        base = {"base": sys.base_prefix, "platbase": sys.base_exec_prefix}
        packages = {Path(sysconfig.get_path(name, vars=base)).resolve() for name in ("purelib", "platlib")}
        for pattern in _SYSTEM_PACKAGES:
            packages.update(Path("/").glob(pattern.lstrip("/")))
        library = Path(sys.base_prefix).resolve() / "lib"
        return cls(executable, library, tuple(sorted(path for path in packages if path.is_dir())))


def is_readable_by_others(path: Path) -> bool:
    """Whether a user of no rights can reach and read it."""
    mode = path.stat().st_mode
    wanted = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(mode) else 0)
    return mode & wanted == wanted and all(parent.stat().st_mode & stat.S_IXOTH for parent in path.parents)

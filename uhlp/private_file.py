"""The file of a database that nobody else on the machine may read."""

from pathlib import Path


def make_private(path: Path) -> None:
    """Make it, and the folder it lies in, where it is not there yet; a database in memory has none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if str(path) != ":memory:" and not path.exists():
        path.touch(mode=0o600)

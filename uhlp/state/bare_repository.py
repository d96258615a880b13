"""A new bare repository: the few files and folders that git asks of one (gitrepository-layout)."""

from pathlib import Path

import pygit2

_CONFIG = """\
[core]
	bare = true
	repositoryformatversion = 0
	filemode = true
"""
_FOLDERS = ("objects/info", "objects/pack", "refs/heads", "refs/tags")


def new_bare_repository(path: Path) -> pygit2.Repository:
    """Make one at `path`, which may be an empty folder, on branch main.

    Not by `pygit2.init_repository`: it never frees the repository that libgit2 opens for it, 13 KiB a call, and
    applications come and go.
    """
    for folder in _FOLDERS:
        (path / folder).mkdir(parents=True)
    (path / "config").write_text(_CONFIG)
    (path / "HEAD").write_text("ref: refs/heads/main\n")
    return pygit2.Repository(str(path))

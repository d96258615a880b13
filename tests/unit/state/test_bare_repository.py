"""New bare repositories."""

import shutil
import subprocess
from pathlib import Path

import pygit2

from tests.left_behind import left_behind_bytes
from uhlp.state.bare_repository import new_bare_repository
from uhlp.state.patches import apply_patch

_KIB = 1024


def test_git_takes_a_new_repository_for_a_bare_one_on_main(tmp_path: Path):
    new_bare_repository(tmp_path / "new.git")

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(tmp_path / "new.git"), *arguments]
        return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()

    assert git("rev-parse", "--is-bare-repository") == "true"
    assert git("symbolic-ref", "HEAD") == "refs/heads/main"
    git("fsck", "--strict")


def test_a_repository_that_is_made_and_removed_leaves_no_memory_behind(tmp_path: Path):
    def make(number: int) -> None:
        new_bare_repository(tmp_path / f"{number}.git")
        shutil.rmtree(tmp_path / f"{number}.git")

    assert left_behind_bytes(make, times=40) < _KIB


def test_a_diff_that_is_applied_leaves_no_memory_behind():
    diff = pygit2.Patch.create_from(b"one\n", b"two\n", "a.txt", "a.txt").text
    assert left_behind_bytes(lambda number: apply_patch(diff, "a.txt", b"one\n"), times=40) < _KIB

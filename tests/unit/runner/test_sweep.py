"""Sweeping, as a user of no rights and in a folder of its own: it must never run as somebody who may do harm."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

RUNNER = Path(__file__).parents[3] / "uhlp" / "runner"
STRANGER = 61_999 if os.geteuid() == 0 else os.geteuid()
# the interpreter may be readable for root alone, so the change of user comes last
_SWEEP = """
import os, sys
code, uid, folder, *keep = sys.argv[1:]
sys.path.insert(0, code)
from runner.sweep import sweep
if os.getuid() != int(uid):
    os.setgroups([])
    os.setresgid(int(uid), int(uid), int(uid))
    os.setresuid(int(uid), int(uid), int(uid))
sweep(folder, keep)
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that other users reach; the runner's modules lie in `code`, and `tmp` is the stranger's."""
    folder = Path(tempfile.mkdtemp(prefix="uhlp-sweep-"))
    folder.chmod(0o755)
    (folder / "code" / "runner").mkdir(parents=True)
    for module in RUNNER.glob("*.py"):
        shutil.copy(module, folder / "code" / "runner")
    (folder / "tmp").mkdir()
    yield folder
    shutil.rmtree(folder)


def fill(folder: Path) -> None:
    (folder / "w1").mkdir()
    (folder / "w1" / "kept").touch()
    (folder / "w2" / "a" / "b").mkdir(parents=True)
    (folder / "w2" / "a" / "file").touch()
    (folder / "stray").touch()
    (folder / "link").symlink_to("/etc")


def give_to_stranger(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, STRANGER, STRANGER if os.geteuid() == 0 else -1, follow_symlinks=False)


def sweep(place: Path, folder: Path, *keep: str, uid: int = STRANGER) -> None:
    command = [sys.executable, "-I", "-S", "-B", "-c", _SWEEP, str(place / "code"), str(uid), str(folder), *keep]
    subprocess.run(command, check=True, cwd="/", env={})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_a_worker_left_is_removed_and_its_neighbours_folder_kept(place: Path) -> None:
    fill(place / "tmp")
    give_to_stranger(place / "tmp")
    sweep(place, place / "tmp", "w1")
    assert names(place / "tmp") == ["w1"]
    assert (place / "tmp" / "w1" / "kept").exists()


def test_a_bottomless_and_locked_folder_does_not_stop_it(place: Path) -> None:
    deepest = os.open(place / "tmp", os.O_PATH)
    for _ in range(400):
        os.mkdir("deeper", dir_fd=deepest)
        os.chown("deeper", STRANGER, -1, dir_fd=deepest)
        above, deepest = deepest, os.open("deeper", os.O_PATH, dir_fd=deepest)
        os.close(above)
    os.close(deepest)
    (place / "tmp" / "deeper").chmod(0)
    give_to_stranger(place / "tmp")
    sweep(place, place / "tmp")
    assert names(place / "tmp") == []


def test_a_folder_that_others_share_is_left_as_it_is(place: Path) -> None:
    fill(place / "tmp")
    if os.geteuid() != 0:
        pytest.skip("only root can make a folder of somebody else's")
    give_to_stranger(place / "tmp")
    os.chown(place / "tmp", 0, 0)
    (place / "tmp").chmod(0o1777)
    sweep(place, place / "tmp")
    assert names(place / "tmp") == ["link", "stray", "w1", "w2"]


def test_what_belongs_to_others_stays(place: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make files of somebody else's")
    fill(place / "tmp")
    give_to_stranger(place / "tmp")
    os.chown(place / "tmp" / "stray", 0, 0)
    os.chown(place / "tmp" / "w1", 0, 0)
    (place / "tmp" / "w1").chmod(0o777)
    sweep(place, place / "tmp")
    assert names(place / "tmp") == ["stray", "w1"]
    assert (place / "tmp" / "w1" / "kept").exists()


def test_root_sweeps_nothing_not_even_its_own(place: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("not root")
    fill(place / "tmp")
    sweep(place, place / "tmp", uid=0)
    assert names(place / "tmp") == ["link", "stray", "w1", "w2"]

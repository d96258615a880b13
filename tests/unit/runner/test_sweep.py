import os
from pathlib import Path

from uhlp.runner.sweep import sweep


def test_what_a_worker_left_is_removed_and_its_neighbours_folder_kept(tmp_path: Path) -> None:
    (tmp_path / "w1").mkdir()
    (tmp_path / "w1" / "kept").touch()
    (tmp_path / "w2" / "a" / "b").mkdir(parents=True)
    (tmp_path / "w2" / "a" / "file").touch()
    (tmp_path / "stray").touch()
    (tmp_path / "link").symlink_to("/etc")
    sweep(str(tmp_path), keep={"w1"})
    assert [path.name for path in tmp_path.iterdir()] == ["w1"]
    assert (tmp_path / "w1" / "kept").exists()


def test_a_bottomless_and_locked_folder_does_not_stop_it(tmp_path: Path) -> None:
    deepest = os.open(tmp_path, os.O_PATH)
    for _ in range(400):
        os.mkdir("deeper", dir_fd=deepest)
        above, deepest = deepest, os.open("deeper", os.O_PATH, dir_fd=deepest)
        os.close(above)
    os.close(deepest)
    (tmp_path / "deeper").chmod(0)
    sweep(str(tmp_path), keep=())
    assert list(tmp_path.iterdir()) == []

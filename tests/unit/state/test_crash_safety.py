"""A process killed in a storm of commits, and a machine whose power fails, lose nothing that was acknowledged."""

import asyncio
import multiprocessing
import os
import random
import subprocess
import tempfile
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic

import pytest

from tests.synced_paths import synced, system_calls
from uhlp.state.definition_store import DefinitionStore

CANDIDATE = "refs/uhlp/candidates/c-1"
fork = multiprocessing.get_context("forkserver")
fork.set_forkserver_preload(["uhlp.state.definition_store"])


def storm(root: Path, number: int, acknowledgements: Connection) -> None:
    """Commit to main and to a candidate's reference until killed; every revision is told once it was answered."""

    async def main(store: DefinitionStore) -> None:
        for n in range(10_000):
            files = {f"d{n % 7}/{name}": f"{number}.{n}".encode() for name in "abc"}
            acknowledgements.send(("main", await store.commit("desk", files, store.note(f"commit {n}", None))))

    async def candidates(store: DefinitionStore) -> None:
        for n in range(10_000):
            made = await store.put_ref_tree("desk", CANDIDATE, {"handler.py": f"{number}.{n}".encode()},
                                            store.note(f"candidate {n}", None))  # fmt: skip
            acknowledgements.send(("candidate", made))
            if n % 5 == 4:
                await store.delete_ref("desk", CANDIDATE)
                acknowledgements.send(("candidate", None))

    async def both() -> None:
        store = DefinitionStore(root)
        await asyncio.gather(main(store), candidates(store))

    asyncio.run(both())


def killed_storm(root: Path, number: int, rng: random.Random) -> str | None:
    """Let a storm run for a while and kill it; the last revision of main it acknowledged."""
    reading, writing = fork.Pipe(duplex=False)
    process = fork.Process(target=storm, args=(root, number, writing), daemon=True)
    process.start()
    writing.close()
    last: dict[str, str | None] = {}
    acknowledged, wanted, until = 0, rng.randint(0, 3), None
    while until is None or (left := until - monotonic()) > 0:
        if until is None and acknowledged >= wanted:
            until = monotonic() + rng.random() * 0.015
        elif reading.poll(30 if until is None else left):
            kind, revision = reading.recv()
            last[kind], acknowledged = revision, acknowledged + 1
        elif until is None:
            raise AssertionError("the storm has stopped by itself")
    process.kill()
    process.join(30)
    while reading.poll():
        try:
            kind, revision = reading.recv()
        except EOFError:
            break
        last[kind] = revision
    return last.get("main")


def locks_below(folder: Path) -> list[Path]:
    return list(folder.rglob("*.lock"))


async def after_kills(root: Path, times: int) -> None:
    rng = random.Random(times)
    git = ["git", "-C", str(root / "desk.git")]
    await DefinitionStore(root).create("desk")
    for number in range(times):
        last = await asyncio.to_thread(killed_storm, root, number, rng)
        checked = await asyncio.to_thread(subprocess.run, [*git, "fsck", "--strict"], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr
        store = DefinitionStore(root)
        next_one = await store.commit("desk", {"after": f"{number}".encode()}, store.note("after", None))
        if last is not None:
            kept = [*git, "merge-base", "--is-ancestor", last, next_one]
            assert (await asyncio.to_thread(subprocess.run, kept)).returncode == 0, f"{last} of storm {number} is lost"
        assert locks_below(root) == []
        await store.put_ref_tree("desk", CANDIDATE, {"handler.py": b"after"}, store.note("after", None))


@pytest.fixture
def quick_folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is such a file system: a killed process loses nothing that the kernel has."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as folder:
        yield Path(folder)


async def test_nothing_acknowledged_is_lost_by_50_kills_in_a_storm_of_commits(quick_folder: Path):
    await after_kills(quick_folder, 50)


@pytest.mark.long
async def test_nothing_acknowledged_is_lost_by_200_kills_in_a_storm_of_commits(quick_folder: Path):
    await after_kills(quick_folder, 200)


COMMIT = """
import asyncio, os, sys
from pathlib import Path
from uhlp.state.definition_store import DefinitionStore

async def commit():
    store = DefinitionStore(Path(sys.argv[1]))
    os.write(1, b"begin")
    await store.create("desk")
    await store.commit("desk", {"a": b"1", "d/e/f": b"2"}, store.note("first", None))
    os.write(1, b"acknowledged")

asyncio.run(commit())
"""


def test_every_object_is_on_the_disk_before_the_reference_and_that_before_the_answer(tmp_path: Path):
    lines = system_calls(COMMIT, tmp_path / "apps", tmp_path / "trace")
    repository = tmp_path / "apps/desk.git"
    moved = next(at for at, line in enumerate(lines) if "main.lock" in line and "rename" in line)
    answered = next(at for at, line in enumerate(lines) if '"acknowledged"' in line)

    objects = {str(path) for path in (repository / "objects").rglob("*") if path.is_file()}
    assert len(objects) == 6  # two files, three trees, one commit
    folders = {str(Path(path).parent) for path in objects} | {str(repository / "objects")}
    before = synced(lines[:moved])
    assert objects <= before
    assert folders <= before
    assert str(repository / "refs/heads/main.lock") in before
    assert str(repository / "refs/heads") in synced(lines[moved:answered])
    assert {str(tmp_path / "apps"), str(tmp_path / "apps/.new-desk.git")} <= before


async def test_with_stale_locks_of_every_kind_the_next_commit_works(tmp_path: Path):
    store = DefinitionStore(tmp_path)
    await store.create("desk")
    await store.commit("desk", {"a": b"1"}, store.note("first", None))
    locks = ("index.lock", "HEAD.lock", "config.lock", "packed-refs.lock", "refs/heads/main.lock", f"{CANDIDATE}.lock")
    for name in locks:
        path = tmp_path / "desk.git" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    restarted = DefinitionStore(tmp_path)
    await restarted.commit("desk", {"a": b"2"}, restarted.note("second", None))
    await restarted.put_ref_tree("desk", CANDIDATE, {"handler.py": b"x"}, restarted.note("candidate", None))
    assert locks_below(tmp_path) == []

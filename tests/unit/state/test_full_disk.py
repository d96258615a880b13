"""What cannot be written is refused by name, and nothing half-made stays behind."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from uhlp.clock import FakeClock
from uhlp.errors import Unavailable
from uhlp.state.definition_store import DefinitionStore
from uhlp.state.sqlite_runtime_store import SqliteRuntimeStore
from uhlp.state.state_manager import StateManager


@contextmanager
def no_file_may_grow() -> Iterator[None]:
    """Writes of this process fail as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
async def state(tmp_path: Path):
    runtime = SqliteRuntimeStore(":memory:")
    yield StateManager(definitions=DefinitionStore(tmp_path / "apps", clock=FakeClock()), runtime=runtime)
    await runtime.aclose()


async def test_a_repository_that_cannot_be_made_leaves_nothing_behind(state: StateManager, tmp_path: Path) -> None:
    assert await state.list_repositories() == []
    with no_file_may_grow(), pytest.raises(Unavailable, match="the definition repository of desk fails: "):
        await state.create_repository("desk")
    assert list((tmp_path / "apps").iterdir()) == []
    await state.create_repository("desk")
    assert await state.list_repositories() == ["desk"]


async def test_a_commit_that_cannot_be_written_changes_nothing(state: StateManager) -> None:
    await state.create_repository("desk")
    before = await state.commit("desk", {"a": b"1"}, message="first")
    with no_file_may_grow(), pytest.raises(Unavailable):
        await state.commit("desk", {"a": b"2"}, message="second")
    assert await state.revisions() == {"desk": before}
    assert await state.commit("desk", {"a": b"2"}, message="second") != before


async def test_a_place_that_is_no_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "apps").write_text("")
    with pytest.raises(Unavailable, match="desk"):
        await DefinitionStore(tmp_path / "apps").create("desk")


async def test_readiness_says_why_definitions_cannot_be_written(state: StateManager, tmp_path: Path) -> None:
    await state.list_repositories()  # as the registry does at start: the directory is made
    assert await state.definitions_unready() is None
    assert list((tmp_path / "apps").iterdir()) == []
    with no_file_may_grow():
        assert "File too large" in (await state.definitions_unready() or "")
    (tmp_path / "apps").rmdir()
    assert await state.list_repositories() == []
    assert "No such file or directory" in (await state.definitions_unready() or "")

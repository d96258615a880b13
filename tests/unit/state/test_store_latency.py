"""The time of a store's operations is observed, whether they succeed or not."""

from pathlib import Path

import pytest

from tests.shown_metrics import ShownMeter
from uhlp.catalogue import server
from uhlp.errors import AppNotFound
from uhlp.state.definition_store import DefinitionStore
from uhlp.state.sqlite_runtime_store import SqliteRuntimeStore
from uhlp.state.state_manager import StateManager


async def test_commits_reads_and_runtime_values_are_timed_apart(tmp_path: Path) -> None:
    meter, runtime = ShownMeter(), SqliteRuntimeStore(":memory:")
    state = StateManager(definitions=DefinitionStore(tmp_path), runtime=runtime, meter=meter)
    await state.create_repository("desk")
    await state.commit("desk", {"a.txt": b"a"}, message="Add")
    await state.read_tree("desk")
    with pytest.raises(AppNotFound):
        await state.read_tree("nobody")
    await state.set_runtime_value("desk", "unit", "kg")
    await state.get_runtime_value("desk", "unit")
    await runtime.aclose()
    assert meter.series(server.STORE_SECONDS, "_count") == {
        ("definitions", "commit"): 1,
        ("definitions", "read"): 2,
        ("runtime", "set"): 1,
        ("runtime", "get"): 1,
    }

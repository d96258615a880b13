"""The chain once more where generated code is not trusted: real processes, real pytest, real walls."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.unit.evolution.world import APP, PARSE, World, coder_answer, lines
from uhlp.clock import FakeClock
from uhlp.sandbox.drivers.process import ProcessDriver


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short, because a socket's path may not be long; open, because sandboxes run under other users."""
    made = Path(tempfile.mkdtemp(prefix="uhlp-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
async def world(folder: Path) -> AsyncIterator[World]:
    made = World(folder, FakeClock())
    made.make_driver = lambda: ProcessDriver(data_dir=folder, allow_unisolated=True, production=False)
    await made.open()
    await made.register()
    yield made
    await made.check()
    await made.close()


async def test_a_handler_is_tested_replayed_and_promoted_in_real_processes(world: World) -> None:
    await world.record(lines(30, split="train") + lines(60, split="held_out"))
    failing = "from handler import handle\n\n\ndef test_wrong():\n    assert handle({'text': '2 figs'}, {}) == 3\n"
    world.model.coder.extend([coder_answer(tests=failing), coder_answer()])
    candidate_id = await world.optimize()
    assert world.state_of(candidate_id) == "canary", world.book.candidate(candidate_id).reason
    assert [draft.stage for draft in world.book.candidate(candidate_id).drafts] == ["tests", None]
    assert "test_wrong" in world.model.specifications[1]
    await world.oversight.act(candidate_id, "promote-full", actor="ann", reason="seen enough")
    answer = await world.send("3 pears")
    assert (answer.implementation, answer.result.data) == ("jit@v1", {"quantity": 3, "product": "pears"})
    assert (await world.send("some pears")).deoptimized == "guard"
    assert world.registry.snapshot(APP).components[PARSE].definition.handler_type == "JIT"

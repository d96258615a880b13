"""What somebody else writes while a decision about a prompt is being carried out."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.unit.evolution.prompt_world import SHORT_TASK, STABLE, PromptWorld
from tests.unit.evolution.world import APP, PARSE
from uhlp.clock import FakeClock
from uhlp.evolution.promotion import Promotion


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[PromptWorld]:
    made = PromptWorld(tmp_path, FakeClock())
    await made.open()
    await made.register()
    yield made
    await made.check()
    await made.close()


class StateOfBusyPeople:
    """The state; right after the read that is called `method` somebody writes, once."""

    def __init__(self, state: Any, method: str, write: Callable[[], Awaitable[object]]) -> None:
        self._state = state
        self._method = method
        self._write: Callable[[], Awaitable[object]] | None = write

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._state, name)
        if name != self._method:
            return found

        async def read(*arguments: Any, **named: Any) -> Any:
            result = await found(*arguments, **named)
            if self._write is not None:
                write, self._write = self._write, None
                await write()
            return result

        return read


def by_hand(world: PromptWorld) -> bytes:
    prompt = world.component().prompt
    assert prompt is not None
    section = next(one for one in prompt.sections if one.key == "task")
    return orjson.dumps({"createdAt": 0, "sections": {"task": {"expectedHash": section.sha256, "body": SHORT_TASK}}})


async def reconciled_while(world: PromptWorld, method: str, content: bytes) -> None:
    """Let the promotion carry out what is decided, while `content` is written as the stable set."""

    async def write() -> None:
        await world.registry.apply_files(APP, {STABLE: content}, message="by hand")

    state: Any = StateOfBusyPeople(world.state, method, write)
    promotion = Promotion(book=world.book, app_registry=world.registry, state_manager=state)
    await promotion.reconcile(APP, PARSE)


async def test_a_set_that_is_written_while_a_prompt_is_taken_back_stays(world: PromptWorld) -> None:
    theirs = by_hand(world)
    candidate_id = await world.shorten()
    await world.promote(candidate_id)
    await world.book.decide(candidate_id, "rolled_back", actor="test", reason="not yet committed")  # type: ignore[arg-type]
    await reconciled_while(world, "read_tree", theirs)
    assert await world.stable_set() == theirs


async def test_a_set_that_is_written_while_a_prompt_is_promoted_stays(world: PromptWorld) -> None:
    theirs = by_hand(world)
    candidate_id = await world.shorten()
    await world.promote(candidate_id)
    await world.registry.apply_files(APP, {STABLE: None}, message="as if it had not been written")
    await reconciled_while(world, "read_ref_tree", theirs)
    assert await world.stable_set() == theirs


async def test_what_nobody_disturbs_is_carried_out(world: PromptWorld) -> None:
    candidate_id = await world.shorten()
    await world.promote(candidate_id)
    await world.book.decide(candidate_id, "rolled_back", actor="test", reason="not yet committed")  # type: ignore[arg-type]
    await world.promotion.reconcile(APP, PARSE)
    assert await world.stable_set() is None

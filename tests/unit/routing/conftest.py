"""Worlds for tests; each is checked at its end."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.evolution.world import World
from uhlp.clock import FakeClock


@pytest.fixture
async def empty_world(tmp_path: Path) -> AsyncIterator[World]:
    """No application yet."""
    made = World(tmp_path, FakeClock())
    await made.open()
    yield made
    await made.check()
    await made.close()


@pytest.fixture
async def world(empty_world: World) -> World:
    """The shop with its order lines."""
    await empty_world.register()
    return empty_world

"""Worlds for tests; each is checked at its end."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.evolution.world import CONFIG, World
from uhlp.clock import FakeClock
from uhlp.evolution.config import EvolutionConfig


@pytest.fixture
def evolution_config() -> EvolutionConfig:
    """The numbers of a world. A module may ask for others."""
    return CONFIG


@pytest.fixture
async def empty_world(tmp_path: Path, evolution_config: EvolutionConfig) -> AsyncIterator[World]:
    """No application yet."""
    made = World(tmp_path, FakeClock(), evolution_config)
    await made.open()
    yield made
    await made.check()
    await made.close()


@pytest.fixture
async def world(empty_world: World) -> World:
    """The shop with its order lines."""
    await empty_world.register()
    return empty_world

"""Routing is tested in evolution's worlds."""

from tests.unit.evolution.conftest import empty_world, evolution_config, world

__all__ = ["empty_world", "evolution_config", "world"]

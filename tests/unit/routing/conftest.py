"""Routing is tested in evolution's worlds."""

from tests.unit.evolution.conftest import empty_world, world

__all__ = ["empty_world", "world"]

"""Fixtures that every folder of tests may ask for, and how examples are made."""

import gc
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

from tests.docker_engine import base_image, docker_engine, runner_image, runner_wheels, second_engine

__all__ = ["base_image", "docker_engine", "runner_image", "runner_wheels", "second_engine"]

# How long an example takes says more of the machine than of the product.
_ANY_MACHINE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", _ANY_MACHINE, derandomize=True, database=None)
settings.register_profile("new", _ANY_MACHINE)
settings.load_profile("same")  # a change is judged by the examples that the last one was judged by


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported and collected stays to the end: to look for garbage among it takes a third of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()

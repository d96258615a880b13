"""Fixtures that every folder of tests may ask for."""

from tests.docker_engine import base_image, docker_engine, runner_image, runner_wheels, second_engine

__all__ = ["base_image", "docker_engine", "runner_image", "runner_wheels", "second_engine"]

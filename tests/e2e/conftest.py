from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.model import Model, started_model
from tests.e2e.server import Server


@pytest.fixture
def model() -> Iterator[Model]:
    with started_model() as model:
        yield model


@pytest.fixture
def server(tmp_path: Path, model: Model) -> Iterator[Server]:
    """A server of the test's own that asks `model`."""
    with Server(tmp_path / "data", environment=model.environment) as server:
        yield server

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.sandboxes import DockerSandboxes, ProcessSandboxes, Sandboxes
from tests.chaos.serving import serving
from tests.chaos.storm import BY_MODEL
from tests.e2e.model import Model, started_model
from tests.e2e.server import Server

ANSWERS_OF_THE_MODEL = 100_000


@pytest.fixture(scope="session")
def model() -> Iterator[Model]:
    """Says the same to everybody, at once."""
    with started_model() as model:
        model.says(BY_MODEL, times=ANSWERS_OF_THE_MODEL)
        yield model


@pytest.fixture(scope="module", params=["process", "docker"])
def sandboxes(request: pytest.FixtureRequest) -> Sandboxes:
    """Those of one driver."""
    if request.param == "process":
        return ProcessSandboxes()
    request.getfixturevalue("runner_image")
    return DockerSandboxes(request.getfixturevalue("docker_engine"))


@pytest.fixture
def server(tmp_path: Path, model: Model, sandboxes: Sandboxes) -> Iterator[Server]:
    """A server of the test's own, with sandboxes of that driver."""
    with serving(tmp_path, model, sandboxes) as server:
        yield server

"""Programs that attack, each in `programs/` and in the table of expectations: what the request gets, and that nobody
else notices. Whatever creates the sandboxes, the walls are the same."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.hostile.expectations import EXPECTED, Answers, Reports
from tests.hostile.town import ECHO, Town, town
from tests.unit.sandbox.raw_runner import isolated_driver
from uhlp.clock import SystemClock
from uhlp.sandbox.config import DockerSettings, SandboxSettings
from uhlp.sandbox.driver import Driver
from uhlp.sandbox.drivers.docker.driver import DockerDriver

PROGRAMS = Path(__file__).parent / "programs"


@pytest.fixture(scope="module", params=["process", "docker"])
def place(request: pytest.FixtureRequest) -> str:
    """Where the town stands; with the engine's address for docker."""
    if request.param == "process":
        return "process"
    request.getfixturevalue("runner_image")
    return str(request.getfixturevalue("docker_engine"))


@pytest.fixture(scope="module")
def data_dir(place: str) -> Iterator[Path]:
    """Short, because a socket's path may not be long; open, because sandboxes run under other users."""
    folder = Path(tempfile.mkdtemp(prefix="uhlp-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def attacked(place: str, data_dir: Path) -> AsyncIterator[Town]:
    driver: Driver
    if place == "process":
        driver, engine = await isolated_driver(data_dir), "/var/run/docker.sock"
    else:
        engine = place
        config = SandboxSettings(docker=DockerSettings(url=engine, spare_sandboxes=0))
        driver = DockerDriver(data_dir=data_dir, config=config, clock=SystemClock(), read_secret=lambda name: None)
    async with town(driver, data_dir, engine) as opened:
        yield opened


def test_every_program_has_an_expectation_and_every_expectation_a_program() -> None:
    assert {path.stem for path in PROGRAMS.glob("*.py")} == set(EXPECTED)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", EXPECTED)
async def test_a_hostile_program_gets_what_it_should_and_nobody_else_notices(attacked: Town, name: str) -> None:
    expected = EXPECTED[name]
    text = (PROGRAMS / f"{name}.py").read_text()
    handler, tests = (ECHO, text) if expected.is_tests else (text, "")
    for outcome, inputs in zip(expected.outcomes, expected.inputs, strict=True):
        got = await attacked.attack(name, handler, inputs, tests=tests, timeout_s=expected.timeout_s)
        if isinstance(outcome, Answers):
            assert (got.code, got.data) == ("", outcome.data), got
        elif isinstance(outcome, Reports):
            assert {name: got.data[name] for name in outcome.counts} == outcome.counts, got
            assert len(got.said) < 100_000
        else:
            assert got.code in outcome.codes, got
        assert attacked.secrets.marker not in got.said
        assert await attacked.neighbours_answer()
    await attacked.comes_to_rest(without=got.instance_id if expected.is_replaced else "")
    if not expected.is_replaced:
        assert got.instance_id in await attacked.workers()
    assert await attacked.sandbox_ids() == [attacked.sandbox_id]

"""Which images a pool may name, what an engine is asked for, and what an image's own volumes become."""

from pathlib import Path

import pytest
from docker_parts import docker_driver, opened, runner_that
from pydantic import ValidationError
from raw_runner import new_data_dir, raw_runner, spec
from test_images import scripted_engine, store_of

from uhlp.errors import ImageUnavailable
from uhlp.models.definition import PoolDefinition, ResourceLimits
from uhlp.models.image_name import ImageReference
from uhlp.sandbox.config import DockerSettings
from uhlp.sandbox.drivers.docker import container
from uhlp.sandbox.drivers.docker.engine import Engine

NO_NAMES = (
    "", "a b", "../containers/x", "../info?", "x/../../info?", "uhlp-runner?x", "x:latest\r\nX-Evil: 1", "%2e%2e/info",
    "sha256:", "__proto__", "x" * 5000, "X", "a//b", "/a", "a/", "a:", "a@sha256:12", "-a/b", "a..b", "http://a/b",
    "a\0", "a#b", "a/b:c:d", "ex.test:port/a",
)  # fmt: skip


@pytest.mark.parametrize("name", NO_NAMES, ids=lambda name: repr(name[:40]))
async def test_what_is_no_name_of_an_image_is_refused_when_it_is_written_and_never_asked_for(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(ValidationError):
        PoolDefinition(pool_name="default", docker_image=name)
    async with scripted_engine(tmp_path) as script, store_of(script.engine) as store:
        script.is_present = True
        with pytest.raises(ImageUnavailable, match="no name"):
            await store.ensure(name)


@pytest.mark.parametrize(
    ("name", "shown", "full"),
    [
        ("uhlp-runner", "uhlp-runner:latest", "docker.io/library/uhlp-runner:latest"),
        ("docker.io/library/node:20", "node:20", "docker.io/library/node:20"),
        ("team/node", "team/node:latest", "docker.io/team/node:latest"),
        ("localhost/x:1", "localhost/x:1", "localhost/x:1"),
        ("ex.test:5000/a/b__c:v1.0-x", "ex.test:5000/a/b__c:v1.0-x", "ex.test:5000/a/b__c:v1.0-x"),
        (f"x:1@sha256:{'a' * 64}", f"x@sha256:{'a' * 64}", f"docker.io/library/x@sha256:{'a' * 64}"),
    ],
)
def test_a_name_is_read_as_engines_read_it(name: str, shown: str, full: str) -> None:
    PoolDefinition(pool_name="default", docker_image=name)
    assert ImageReference.parse(name).names() == (shown, full)


async def test_the_beginning_of_an_images_id_names_nothing(tmp_path: Path) -> None:
    async with scripted_engine(tmp_path) as script, store_of(script.engine) as store:
        script.is_present, script.tags = True, ["own/runner:1"]
        script.progress.put_nowait(None)
        with pytest.raises(ImageUnavailable, match="without the image"):
            await store.ensure("6de58fa6d5be")
        assert script.pulls == 1  # of a repository of that name
        assert (await store.ensure("own/runner:1")).image_id == "sha256:1"


async def test_no_host_is_spoken_to_that_the_settings_do_not_name(tmp_path: Path) -> None:
    async with scripted_engine(tmp_path) as script, store_of(script.engine, host="ex.test", password="x") as store:
        for image in ("127.0.0.1:8080/internal/admin", "localhost/x", "metadata.internal/x", "ex.test:81/x"):
            with pytest.raises(ImageUnavailable, match="no registry to pull from"):
                await store.ensure(image)
        assert script.pulls == 0
        for image in ("ex.test/x", "team/x", "docker.io/team/y"):
            script.progress.put_nowait(None)
            with pytest.raises(ImageUnavailable, match="without the image"):
                await store.ensure(image)
        assert script.pulls == 3


async def test_named_images_alone_are_taken_where_the_settings_name_some(tmp_path: Path) -> None:
    allow = ("ex.test:5000/team/*", "node:*")
    async with scripted_engine(tmp_path) as script, store_of(script.engine, image_allow=allow) as store:
        script.is_present = True
        for image in ("ex.test:5000/team/a/b:1", "node:20", "docker.io/library/node", "uhlp-runner"):
            assert await store.ensure(image)
        for image in ("ex.test:5000/other/a", "ex.test/team/a", "evil.test/node:20", "mallory/uhlp-runner", "nodes"):
            with pytest.raises(ImageUnavailable, match="image_allow"):
                await store.ensure(image)


@pytest.mark.parametrize("volumes", [{"/a/../b": {}}, {"rel": {}}, {"/": {}}, {f"/v{n}": {} for n in range(17)}])
async def test_an_image_with_strange_or_many_volumes_is_refused(volumes: dict[str, dict], tmp_path: Path) -> None:
    async with scripted_engine(tmp_path) as script, store_of(script.engine) as store:
        script.is_present, script.volumes = True, volumes
        with pytest.raises(ImageUnavailable, match="VOLUME"):
            await store.ensure("own/app")


@pytest.mark.parametrize("limits", [
    {"cpuLimit": "1025"}, {"cpuLimit": "9" * 400}, {"cpuLimit": "1024.5"}, {"cpuLimit": "1e3"},
    {"memoryLimit": "1025G"}, {"memoryLimit": "9999999999999K"}, {"memoryLimit": "999999999999G"},
])  # fmt: skip
def test_limits_have_an_upper_bound(limits: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        ResourceLimits.model_validate(limits)


def test_limits_up_to_their_bound_stand() -> None:
    for cpu_limit in ("0.05", "1", "999", "1000", "1023.999999", "1024", "1024.0"):
        assert float(ResourceLimits(cpu_limit=cpu_limit).cpu_limit) <= 1024
    assert ResourceLimits(memory_limit="1024G").memory_bytes == ResourceLimits(memory_limit="1073741824Ki").memory_bytes


WRITE = """
import errno, sys
try:
    with open('/scratch/x', 'wb') as file:
        for number in range(100): file.write(b'x' * 1048576)
except OSError as error:
    sys.exit(number if error.errno == errno.ENOSPC else 200)
sys.exit(201)
"""


async def test_the_volumes_that_an_image_declares_are_bounded_memory_and_no_disk(
    docker_engine: str, runner_image: str
) -> None:
    image = runner_that(docker_engine, "uhlp-test-with-volumes", WRITE, "VOLUME /scratch /tmp\n")
    name = "uhlp-test-with-volumes"
    async with Engine(url=docker_engine) as engine, store_of(engine) as store:
        facts = await store.ensure(image)
        assert facts.volumes == ("/scratch", "/tmp")
        config = container.walled(
            image_id=facts.image_id, scratch=facts.volumes, pool=PoolDefinition(pool_name="default"),
            settings=DockerSettings(), network="none", volumes=[], labels={},
        )  # fmt: skip
        await engine.create(name, config)
        try:
            await engine.start(name)
            assert 10 < await engine.wait(name) <= 16
            made = await engine.inspect(name)
            assert made is not None
            assert {mount["Type"] for mount in made["Mounts"]} <= {"tmpfs"}
            assert made["Config"]["StopSignal"] == "SIGKILL"
        finally:
            await engine.remove(name)


async def test_nothing_stays_between_calls_in_a_volume_of_a_runners_image(
    docker_engine: str, runner_image: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    serve = "import sys; sys.path.append('/runner'); from uhlp_runner.zygote import main; main()"
    image = runner_that(docker_engine, "uhlp-test-runner-with-volume", serve, "VOLUME /scratch\n")
    async with opened(docker_driver(docker_engine, new_data_dir(tmp_path_factory))) as driver:
        sandbox = await driver.start(spec(docker_image=image))
        runner = await raw_runner(sandbox)
        write = "def handle(i, c):\n    open('/scratch/x', 'w')\n"
        assert "Read-only" in (await runner.run(write))["data"]["message"]

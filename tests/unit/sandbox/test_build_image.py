"""The runner image: built by a real engine, without network, from what is installed here."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.machine_image import http_client, image_of
from uhlp.errors import EngineUnavailable, ImageUnavailable
from uhlp.sandbox.drivers.docker import build
from uhlp.sandbox.drivers.docker.engine import Engine


@pytest.fixture
async def engine(docker_engine: str) -> AsyncIterator[Engine]:
    engine = Engine(url=docker_engine)
    await engine.connect()
    yield engine
    await engine.close()


def test_the_image_says_whose_runner_it_holds_and_starts_it_as_a_user_of_no_rights(
    docker_engine: str, runner_image: str
) -> None:
    with http_client(docker_engine) as http:
        image = http.get(f"/images/{runner_image}/json").json()
    config = image["Config"]
    assert config["Labels"] == {
        build.VERSION_LABEL: build.runner_version(),
        build.CONTENT_LABEL: build.runner_content(),
    }
    assert config["User"] == "65534:65534"
    assert config["Entrypoint"][:5] == ["python3", "-I", "-S", "-B", "-Xutf8"]
    assert f"uhlp-runner:{build.runner_version()}-{build.runner_content()}" in image["RepoTags"]


def test_inside_the_runner_and_its_dependencies_are_compiled_and_nothing_of_uhlp_is_there(
    docker_engine: str, runner_image: str
) -> None:
    code = (
        "import sys, json, importlib.util; sys.path.append('/runner');"
        "import uhlp_runner.worker as worker, orjson, jinja2;"
        "print(json.dumps([worker.__cached__, importlib.util.find_spec('uhlp') is None]))"
    )
    with http_client(docker_engine) as http:
        body = {"Image": runner_image, "Entrypoint": ["python3", "-I", "-S", "-c", code], "NetworkDisabled": True}
        made = http.post("/containers/create", json=body).json()["Id"]
        http.post(f"/containers/{made}/start")
        status = http.post(f"/containers/{made}/wait").json()["StatusCode"]
        printed = http.get(f"/containers/{made}/logs", params={"stdout": "1", "stderr": "1"}).content[8:]
        http.delete(f"/containers/{made}", params={"force": "1"})
    assert status == 0, printed
    compiled, is_alone = json.loads(printed)
    assert compiled.startswith("/runner/uhlp_runner/__pycache__/")
    assert is_alone


async def test_the_same_content_is_not_built_twice_and_gets_every_tag_that_is_asked_for(
    engine: Engine, base_image: str, runner_image: str, runner_wheels: Path
) -> None:
    tag = "uhlp-test/other:blue"
    built = await build.build_runner_image(engine, base=base_image, tag=tag, wheels=runner_wheels)
    again = await build.build_runner_image(engine, base=base_image, tag=tag, wheels=runner_wheels)
    assert built == again
    assert built.tags == (tag, f"uhlp-test/other:{build.runner_version()}-{build.runner_content()}")
    assert built.size_bytes > 1_000_000
    for name in built.tags:
        await engine.docker.images.delete(name)


async def test_a_base_image_that_is_not_there_is_named_with_the_way_out(engine: Engine) -> None:
    with pytest.raises(ImageUnavailable, match=r"base image localhost:1/no/such:1 cannot be used.*--base IMAGE"):
        await build.build_runner_image(engine, base="localhost:1/no/such:1", tag="uhlp-test/none")


async def test_a_base_image_without_pip_is_refused_with_the_builds_last_words(
    engine: Engine, docker_engine: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").write_text("")
    bare = image_of(docker_engine, "uhlp-test-bare:1", tree=[(tmp_path / "empty", Path("/empty"))])
    with pytest.raises(ImageUnavailable, match=r"(?s)build failed.*python3.*not found.*RUN "):
        await build.build_runner_image(engine, base=bare, tag="uhlp-test/none")


async def test_a_folder_that_lacks_a_wheel_gets_the_command_that_completes_it(
    engine: Engine, base_image: str, tmp_path: Path
) -> None:
    with pytest.raises(
        ImageUnavailable, match=rf"(?s)pip download .*--dest {tmp_path} .*orjson==.*No matching distrib"
    ):
        await build.build_runner_image(engine, base=base_image, tag="uhlp-test/none", wheels=tmp_path)


async def test_an_engine_that_does_not_answer_is_named(tmp_path: Path) -> None:
    engine = Engine(url=f"unix://{tmp_path}/none.sock")
    with pytest.raises(EngineUnavailable, match=r"none\.sock does not answer"):
        await engine.connect()
    await engine.close()

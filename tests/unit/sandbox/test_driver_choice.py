"""Which driver a server gets, and that looking for an engine costs a moment at most."""

import asyncio
from pathlib import Path

import pytest

from uhlp.clock import SystemClock
from uhlp.errors import ValidationFailed
from uhlp.sandbox.config import DockerSettings, SandboxSettings
from uhlp.sandbox.drivers.choice import choose_driver, make_driver
from uhlp.sandbox.drivers.docker.driver import DockerDriver
from uhlp.sandbox.drivers.process import ProcessDriver


async def made(data_dir: Path, driver: str, url: str | None = None) -> object:
    config = SandboxSettings(driver=driver, docker=DockerSettings(url=url))  # type: ignore[arg-type]
    return await make_driver(
        config, data_dir=data_dir, production=False, clock=SystemClock(), read_secret=lambda name: None
    )


async def test_auto_is_docker_where_an_engine_has_the_runners_image(
    docker_engine: str, runner_image: str, tmp_path: Path
) -> None:
    name, why = await choose_driver(None, {"DOCKER_HOST": docker_engine})
    assert (name, docker_engine in why) == ("docker", True)
    assert isinstance(await made(tmp_path, "auto", docker_engine), DockerDriver)


async def test_auto_is_processes_where_no_engine_answers_and_says_why(tmp_path: Path) -> None:
    for url in (f"unix://{tmp_path}/none.sock", "tcp://127.0.0.1:1", "ssh://somewhere", "nonsense"):
        name, why = await choose_driver(url)
        assert (name, url in why) == ("process", True)
    assert isinstance(await made(tmp_path, "auto", f"unix://{tmp_path}/none.sock"), ProcessDriver)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.0 404 Not Found\r\n\r\n", b"garbage", b"HTTP/1.0 what\r\n\r\n"])
async def test_an_engine_that_is_silent_or_has_no_image_means_processes(answer: bytes, tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if answer:
            writer.write(answer)
            writer.close()
        else:
            await reader.read()  # until the other side gives up
            writer.close()

    path = tmp_path / "e"
    async with await asyncio.start_unix_server(serve, path):
        name, why = await choose_driver(f"unix://{path}", {})
    assert name == "process"
    assert ("build-image" in why) == (b"404" in answer)


async def test_docker_named_in_the_settings_is_not_looked_for(tmp_path: Path) -> None:
    assert isinstance(await made(tmp_path, "docker", "unix:///nowhere"), DockerDriver)


async def test_a_driver_that_there_is_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationFailed, match="not offered yet"):
        await made(tmp_path, "swarm")

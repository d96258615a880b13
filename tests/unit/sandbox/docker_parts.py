"""What tests of the Docker driver share: drivers on the tests' engine, odd images, containers made past the driver."""

import io
import json
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.machine_image import http_client
from uhlp.clock import Clock, SystemClock
from uhlp.sandbox.config import DockerSettings, SandboxSettings
from uhlp.sandbox.drivers.docker.driver import DockerDriver

Json = dict[str, Any]


def docker_driver(
    engine: str,
    data_dir: Path,
    *,
    clock: Clock | None = None,
    start_timeout_s: float = 10,
    allow: Any = (),
    **docker: Any,
) -> DockerDriver:
    """A driver that is not open; without spares unless they are asked for."""
    settings = DockerSettings(url=engine, **{"spare_sandboxes": 0, **docker})
    config = SandboxSettings(docker=settings, volume_allow=allow, start_timeout_s=start_timeout_s)
    return DockerDriver(data_dir=data_dir, config=config, clock=clock or SystemClock(), read_secret=lambda name: None)


@asynccontextmanager
async def opened(driver: DockerDriver) -> AsyncIterator[DockerDriver]:
    await driver.open()
    try:
        yield driver
    finally:
        await driver.close()


def runner_that(engine: str, name: str, code: str, lines: str = "") -> str:
    """An image that is our runner's by its labels and runs something else; `lines` are more of its Dockerfile."""
    entrypoint = json.dumps(["python3", "-I", "-S", "-c", code])
    dockerfile = f"FROM uhlp-runner\n{lines}ENTRYPOINT {entrypoint}\n".encode()
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(dockerfile)
        tar.addfile(entry, io.BytesIO(dockerfile))
    with http_client(engine) as http:
        headers = {"Content-Type": "application/x-tar"}
        answer = http.post("/build", params={"t": name}, content=context.getvalue(), headers=headers)
        assert "Successfully built" in answer.text, answer.text
    return name


def containers(engine: str, label: str = "uhlp.instance") -> list[str]:
    """Names of containers with a label, whatever their state."""
    with http_client(engine) as http:
        filters = json.dumps({"label": [label]})
        found = http.get("/containers/json", params={"all": "1", "filters": filters}).json()
    return [each["Names"][0].lstrip("/") for each in found]


def make_container(engine: str, name: str, labels: Json) -> None:
    """One that no driver made; it is not started."""
    with http_client(engine) as http:
        answer = http.post("/containers/create", params={"name": name}, json={"Image": "uhlp-runner", "Labels": labels})
        assert answer.status_code == 201, answer.text


def remove_container(engine: str, name: str) -> None:
    with http_client(engine) as http:
        http.delete(f"/containers/{name}", params={"force": "1"})


def said_inside(engine: str, code: str, **host_config: Any) -> str:
    """What Python code prints in a container of the runner's image with just these walls."""
    config = {
        "Image": "uhlp-runner",
        "Entrypoint": ["python3", "-I", "-S", "-c", code],
        "User": "0:0",
        "HostConfig": {"NetworkMode": "none", **host_config},
    }
    with http_client(engine) as http:
        name = http.post("/containers/create", json=config).json()["Id"]
        try:
            assert http.post(f"/containers/{name}/start").status_code == 204
            http.post(f"/containers/{name}/wait")
            raw = http.get(f"/containers/{name}/logs", params={"stdout": "1", "stderr": "1"}).content
        finally:
            http.delete(f"/containers/{name}", params={"force": "1"})
    text, position = b"", 0
    while position < len(raw):  # each piece follows its stream's number and its length
        length = int.from_bytes(raw[position + 4 : position + 8], "big")
        text += raw[position + 8 : position + 8 + length]
        position += 8 + length
    return text.decode()

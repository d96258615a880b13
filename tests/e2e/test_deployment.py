"""The Dockerfile and the compose file, built and started: a server and a Redis, as a stranger would run them.

No registry is asked: the base image is this machine's Python with what a build would bring from elsewhere.
"""

import importlib.metadata
import io
import json
import shutil
import ssl
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from packaging.requirements import Requirement

from tests.compose_file import ComposedServices, read_compose_file
from tests.e2e.applications import PARCEL, SHIPPING, desk
from tests.e2e.server import CHECKOUT, need
from tests.machine_image import http_client, installed_wheels, python_image

DEPLOY = CHECKOUT / "uhlp" / "deploy"
TOKEN = "a-token-of-the-tests-own"
_USER = 10001


def test_the_compose_file_needs_an_admin_token_and_nothing_else() -> None:
    document = read_compose_file(DEPLOY / "compose.yaml", {"UHLP_ADMIN_TOKEN": TOKEN})
    server, redis = document["services"]["server"], document["services"]["redis"]
    assert server["environment"]["UHLP_ADMIN_TOKEN"] == TOKEN
    assert {"--appendonly", "yes"} <= set(redis["command"])
    assert all(port.startswith("127.0.0.1:") for port in server["ports"])
    with pytest.raises(AssertionError, match="UHLP_ADMIN_TOKEN: set a token"):
        read_compose_file(DEPLOY / "compose.yaml", {})
    context = DEPLOY / server["build"]["context"]
    assert (context / server["build"]["dockerfile"]).samefile(DEPLOY / "Dockerfile")


@pytest.fixture(scope="module")
def base(docker_engine: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Python with pip, the programs of both images, and the wheels of the server's dependencies in /wheels."""
    for program in ("bwrap", "git", "redis-server", "redis-cli"):
        need(program)
    programs = [Path(str(shutil.which(one))) for one in ("bwrap", "git", "redis-server", "redis-cli")]
    folder = installed_wheels(tmp_path_factory.mktemp("wheels"), _dependencies)
    files = [(wheel, Path("/wheels") / wheel.name) for wheel in sorted(folder.iterdir())]
    authorities = ssl.get_default_verify_paths()
    files.append((Path(authorities.cafile or "/etc/ssl/certs/ca-certificates.crt"), Path(authorities.openssl_cafile)))
    named = [Path(str(one.locate_file(file))) for one in _dependencies() for file in one.files or ()]
    extensions = [file for file in named if file.suffix == ".so" or ".so." in file.name]
    return python_image(docker_engine, programs=programs, files=files, extensions=extensions)


def _dependencies() -> Iterator[importlib.metadata.Distribution]:
    """Of the server with its panel, and of what builds its wheel; each once."""
    waiting, asked, given = {("uhlp", ""), ("uhlp", "panel"), ("hatchling", "")}, set(), {"uhlp"}
    while waiting:
        name, extra = waiting.pop()
        asked.add((name, extra))
        distribution = importlib.metadata.distribution(name)
        if name not in given:
            given.add(name)
            yield distribution
        for one in map(Requirement, distribution.requires or ()):
            if one.marker is None or one.marker.evaluate({"extra": extra}):
                waiting |= {(one.name.lower(), wanted) for wanted in ("", *one.extras)} - asked


@pytest.fixture(scope="module")
def images(docker_engine: str, base: str) -> dict[str, str]:
    """The server's image from its Dockerfile, and one of Redis that keeps its data as the official one does."""
    files = ["pyproject.toml", "requirements.txt", "README.md", "LICENSE", "schemas", "uhlp"]
    listed = ["git", "-C", str(CHECKOUT), "ls-files", "--cached", "--others", "--exclude-standard", *files]
    context = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.splitlines()
    arguments = {"BASE_IMAGE": base, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels", "EXTRAS": "panel"}
    packed = {name: (CHECKOUT / name).read_bytes() for name in context if (CHECKOUT / name).is_file()}
    server = _build(docker_engine, "uhlp-test-server", packed, "uhlp/deploy/Dockerfile", arguments)
    owned = f'FROM {base}\nRUN ["python3", "-c", "import os; os.makedirs(\'/data\'); os.chown(\'/data\', 999, 999)"]\n'
    redis = _build(docker_engine, "uhlp-test-redis", {"Dockerfile": owned.encode()}, "Dockerfile", {})
    return {"UHLP_IMAGE": server, "REDIS_IMAGE": redis}


def _build(engine_url: str, tag: str, files: dict[str, bytes], dockerfile: str, arguments: dict[str, str]) -> str:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    query = {"t": tag, "dockerfile": dockerfile, "buildargs": json.dumps(arguments), "rm": "1", "forcerm": "1"}
    query["networkmode"] = "none"
    with http_client(engine_url) as engine:
        answer = engine.post(
            "/build", params=query, content=packed.getvalue(), headers={"Content-Type": "application/x-tar"}
        )
    assert answer.status_code == 200, answer.text
    assert '"errorDetail"' not in answer.text, answer.text[-3_000:]
    return tag


@pytest.fixture(scope="module")
def services(docker_engine: str, images: dict[str, str]) -> Iterator[ComposedServices]:
    document = read_compose_file(DEPLOY / "compose.yaml", {"UHLP_ADMIN_TOKEN": TOKEN, **images})
    with http_client(docker_engine) as engine:
        services = ComposedServices(engine, document, project="uhlp-test")
        try:
            services.up(within_s=60)
            services.wait_until_healthy("server", within_s=60)
            yield services
        finally:
            services.remove()


def _client(services: ComposedServices) -> httpx.Client:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return httpx.Client(base_url=f"http://{services.address('server')}:8080", headers=headers, timeout=30)


@pytest.mark.long
def test_the_two_containers_serve_behind_every_wall(services: ComposedServices) -> None:
    with _client(services) as http:
        ready = http.get("/readyz").json()
        assert ready["status"] == "ready"
        assert ready["sandboxes"] == {"driver": "process", "isolation": "namespaces", "missing": []}
        assert ready["evolution"]["isShared"], "the lease is in Redis"
        assert "UHLP" in http.get("/docs/uhlp").text
        assert http.get("/openapi.json").json()["info"]["version"] == importlib.metadata.version("uhlp")


@pytest.mark.long
def test_the_server_is_no_root_and_writes_to_its_volume_alone(services: ComposedServices) -> None:
    container = services.inspect("server")
    assert container["Config"]["User"] == f"{_USER}:{_USER}"
    assert container["HostConfig"]["ReadonlyRootfs"]
    assert container["HostConfig"]["CapDrop"] == ["ALL"]
    process = Path("/proc", str(container["State"]["Pid"]))
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
    assert status["Uid"].split() == [str(_USER)] * 4
    assert {int(status[one], 16) for one in ("CapEff", "CapPrm", "CapBnd")} == {0}
    assert status["NoNewPrivs"] == "1"


@pytest.mark.long
def test_what_was_kept_outlives_both_containers(services: ComposedServices) -> None:
    """A handler answers, a runtime value is kept, and both are there when other processes have taken over."""
    with _client(services) as http:
        made = http.post("/admin/v1/apps", json=desk())
        assert made.status_code == 201, made.text
        answer = http.post("/apps/desk/sort", json=PARCEL)
        assert answer.json() == SHIPPING, answer.text
        assert answer.headers["x-uhlp-handler"] == "jit"
        kept = http.put("/admin/v1/apps/desk/runtime/colour", json={"value": "blue"})
        assert kept.status_code == 200, kept.text
    for name in ("server", "redis"):
        services.stop(name)
    for name in ("redis", "server"):
        services.start(name)
        services.wait_until_healthy(name, within_s=60)
    with _client(services) as http:
        assert http.get("/admin/v1/apps/desk/runtime/colour").json()["value"] == "blue"
        assert http.post("/apps/desk/sort", json=PARCEL).json() == SHIPPING

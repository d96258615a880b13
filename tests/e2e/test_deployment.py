"""The Dockerfile and the compose file, built and started as a stranger would: by the compose program.

No registry is asked: the base image is this machine's Python with what a build would bring from elsewhere.
"""

import importlib.metadata
import json
import os
import shutil
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from packaging.requirements import Requirement

from tests.composed_project import ComposedProject
from tests.e2e.applications import PARCEL, SHIPPING, desk
from tests.e2e.server import CHECKOUT, free_port, need, wait_until
from tests.machine_image import installed_wheels, python_image
from uhlp.cli.serve import DRAIN_S

DEPLOY = CHECKOUT / "uhlp" / "deploy"
COMPOSE_FILE = DEPLOY / "compose.yaml"
PROJECT = "uhlp-test"
TOKEN = "a-token-of-the-tests-own"
_USER = 10001


def test_the_compose_file_needs_an_admin_token_and_nothing_else(tmp_path: Path) -> None:
    told = {"UHLP_ADMIN_TOKEN": TOKEN}
    services = ComposedProject(COMPOSE_FILE, name=PROJECT, folder=tmp_path, variables=told).services()
    server, redis = services["server"], services["redis"]
    assert server["environment"]["UHLP_ADMIN_TOKEN"] == TOKEN
    assert [(port["host_ip"], port["published"]) for port in server["ports"]] == [("127.0.0.1", "8080")]
    assert server["stop_grace_period"] == "40s"
    assert DRAIN_S < 40, "requests in flight may finish before the engine kills"
    assert {"--appendonly", "yes"} <= set(redis["command"])
    assert "ports" not in redis
    context = Path(server["build"]["context"])
    assert context.samefile(CHECKOUT)
    assert (context / server["build"]["dockerfile"]).samefile(DEPLOY / "Dockerfile")
    untold = ComposedProject(COMPOSE_FILE, name=PROJECT, folder=tmp_path).run("config")
    assert untold.returncode != 0
    assert "UHLP_ADMIN_TOKEN" in untold.stderr
    assert "set a token of your own" in untold.stderr


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
def variables(docker_engine: str, base: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the compose file is told, once both images are there: the server's by its Dockerfile, and one of Redis that
    keeps its data as the official one does."""
    folder = tmp_path_factory.mktemp("images")
    names = {"UHLP_ADMIN_TOKEN": TOKEN, "SERVER_PORT": str(free_port())}
    names |= {"SERVER_IMAGE": "uhlp-test-server", "REDIS_IMAGE": "uhlp-test-redis"}
    arguments = {"BASE_IMAGE": base, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels", "EXTRAS": "panel"}
    owned = ["python3", "-c", "import os; os.makedirs('/data'); os.chown('/data', 999, 999)"]
    (folder / "Dockerfile").write_text(f"FROM {base}\nRUN {json.dumps(owned)}\n")
    without_registry = folder / "without_registry.yaml"
    builds = {"server": {"build": {"args": arguments}}, "redis": {"build": {"context": str(folder)}}}
    without_registry.write_text(json.dumps({"services": builds}))
    project = ComposedProject(COMPOSE_FILE, name=PROJECT, folder=folder, engine_url=docker_engine, variables=names)
    project.must("build", "--quiet", beside=without_registry)
    return names


@pytest.fixture(scope="module")
def services(
    docker_engine: str, variables: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ComposedProject]:
    folder = tmp_path_factory.mktemp("project")
    project = ComposedProject(COMPOSE_FILE, name=PROJECT, folder=folder, engine_url=docker_engine, variables=variables)
    try:
        project.up()
        yield project
    finally:
        project.remove()


@pytest.fixture
def http(services: ComposedProject, variables: dict[str, str]) -> Iterator[httpx.Client]:
    """Speaks to the server as its owner, by the port that the compose file publishes."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{variables['SERVER_PORT']}", headers=headers, timeout=30) as client:
        yield client


@pytest.mark.long
def test_the_two_containers_serve_behind_every_wall(services: ComposedProject, http: httpx.Client) -> None:
    ready = http.get("/readyz").json()
    assert ready["status"] == "ready"
    assert ready["sandboxes"] == {"driver": "process", "isolation": "namespaces", "missing": []}
    assert ready["evolution"]["isShared"], "the lease is in Redis"
    assert "UHLP" in http.get("/docs/uhlp").text
    assert http.get("/openapi.json").json()["info"]["version"] == importlib.metadata.version("uhlp")


@pytest.mark.long
def test_the_server_is_no_root_and_writes_to_its_volume_alone(services: ComposedProject) -> None:
    container = services.inspect("server")
    assert container["Config"]["User"] == f"{_USER}:{_USER}"
    assert container["Config"]["Labels"]["org.opencontainers.image.version"] == importlib.metadata.version("uhlp")
    assert container["HostConfig"]["ReadonlyRootfs"]
    assert container["HostConfig"]["CapDrop"] == ["ALL"]
    process = Path("/proc", str(container["State"]["Pid"]))
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
    assert status["Uid"].split() == [str(_USER)] * 4
    assert {int(status[one], 16) for one in ("CapEff", "CapPrm", "CapBnd")} == {0}
    assert status["NoNewPrivs"] == "1"


@pytest.mark.long
def test_what_was_kept_outlives_both_containers(services: ComposedProject, http: httpx.Client) -> None:
    """A handler answers and a runtime value is kept; both are there in new containers, and after a death of both."""
    made = http.post("/admin/v1/apps", json=desk())
    assert made.status_code == 201, made.text
    answer = http.post("/apps/desk/sort", json=PARCEL)
    assert answer.json() == SHIPPING, answer.text
    assert answer.headers["x-uhlp-handler"] == "jit"
    kept = http.put("/admin/v1/apps/desk/runtime/colour", json={"value": "blue"})
    assert kept.status_code == 200, kept.text
    services.must("down")
    services.up()
    assert http.get("/admin/v1/apps/desk/runtime/colour").json()["value"] == "blue"
    assert http.post("/apps/desk/sort", json=PARCEL).json() == SHIPPING

    http.put("/admin/v1/apps/desk/runtime/colour", json={"value": "green"}).raise_for_status()
    for name in ("redis", "server"):
        os.kill(services.inspect(name)["State"]["Pid"], signal.SIGKILL)
    for name in ("redis", "server"):
        wait_until(lambda name=name: services.inspect(name)["RestartCount"] == 1, f"{name} starts again")  # type: ignore[misc]
    services.up()
    assert http.get("/admin/v1/apps/desk/runtime/colour").json()["value"] == "green"


@pytest.mark.long
def test_with_an_engines_own_filters_the_server_says_that_nothing_is_isolated(
    services: ComposedProject, http: httpx.Client, tmp_path: Path
) -> None:
    filtered = tmp_path / "filtered.yaml"
    filtered.write_text("services: {server: {security_opt: !override ['no-new-privileges:true']}}")
    services.up(beside=filtered)
    sandboxes = http.get("/readyz").json()["sandboxes"]
    assert sandboxes["isolation"] == "none"
    assert "bubblewrap does not work here" in sandboxes["missing"][0]

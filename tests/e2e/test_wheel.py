"""The product as it is installed: a wheel, away from the checkout."""

import os
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.applications import BILLING, TICKET, desk
from tests.e2e.model import Model, started_model
from tests.e2e.server import CHECKOUT, Server


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the source distribution, which has to hold all that a wheel is made of."""
    folder = tmp_path_factory.mktemp("wheel")
    line = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(CHECKOUT)]
    built = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where the wheel is installed; libraries come from the tests' environment."""
    site = tmp_path_factory.mktemp("installed") / "site"
    line = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(site), str(wheel)]
    subprocess.run(line, check=True, timeout=120)
    return site


def server_of(site: Path, folder: Path, *, before: str = "", **environment: str) -> Server:
    """The server of the wheel's own `uhlp`, in a folder of its own; what stands in `before` is imported first."""
    command = (sys.executable, str(site / "bin" / "uhlp"), "serve", "--port", "{port}")
    path = os.pathsep.join(filter(None, (before, str(site))))
    return Server(
        folder / "data", command=command, environment={**environment, "PYTHONSAFEPATH": "1"}, python_path=path
    )


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    with started_model() as model:
        yield model


@pytest.fixture(scope="module")
def installed(site: Path, model: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of it with one application."""
    with server_of(site, tmp_path_factory.mktemp("elsewhere"), **model.environment) as server:
        server.administer("POST", "/apps", desk())
        yield server


def test_the_wheel_holds_what_is_no_python(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = [path.relative_to(CHECKOUT) for path in (CHECKOUT / "uhlp").rglob("*") if path.is_file()]
    wanted = {path.as_posix() for path in sources if "__pycache__" not in path.parts}
    wanted |= {f"uhlp/schemas/{path.name}" for path in (CHECKOUT / "schemas").glob("*.schema.json")}
    assert wanted <= names, sorted(wanted - names)
    assert not [name for name in names if name.startswith("tests/")]


def test_the_installed_wheel_serves(installed: Server, site: Path, model: Model, tmp_path: Path) -> None:
    imported = subprocess.run(
        [sys.executable, "-c", "import uhlp; print(uhlp.__file__)"],
        cwd=installed.folder,
        env=installed.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert str(site) in imported.stdout, "the checkout must not be on the path"
    folder = tmp_path / "my-desk"
    assert installed.command("init", str(folder)).returncode == 0
    applied = installed.command("apply", str(folder))
    assert applied.returncode == 0, applied.stderr
    model.says(BILLING)
    assert installed.http.post("/apps/desk/classify", json=TICKET).json() == BILLING
    record = {"metric_name": "app.custom.tickets", "metric_type": "counter", "value": 1}
    assert installed.http.post("/record", json=record).status_code == 202
    assert "app_custom_tickets" in installed.http.get("/metrics").text
    assert "sandbox.docker.url" in installed.http.get("/docs/uhlp/settings").text


def test_every_place_tells_the_version_of_pyproject_toml(installed: Server, wheel: Path) -> None:
    version = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"]
    assert wheel.name == f"uhlp-{version}-py3-none-any.whl"
    assert installed.command("--version").stdout == f"uhlp {version}\n"
    assert installed.http.get("/healthz").json() == {"status": "ok", "version": version}
    assert installed.http.get("/openapi.json").json()["info"]["version"] == version
    assert f'uhlp_build_info{{version="{version}"}} 1' in installed.http.get("/metrics").text
    asked = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"},
    }}  # fmt: skip
    headers = {"Accept": "application/json, text/event-stream", "X-App-Id": "desk", **installed.admin}
    answer = installed.http.post("/mcp", json=asked, headers=headers).json()
    assert answer["result"]["serverInfo"]["version"] == version, answer
    dockerfile = (CHECKOUT / "uhlp" / "deploy" / "Dockerfile").read_text()
    assert f"org.opencontainers.image.version={version} " in dockerfile


def test_without_the_panel_extra_the_panel_says_how_to_install_it(site: Path, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "nicegui.py").write_text("raise ModuleNotFoundError(\"No module named 'nicegui'\", name='nicegui')\n")
    with server_of(site, tmp_path / "elsewhere", before=str(hidden)) as server:
        token = (server.data_dir / "admin_token").read_text().strip()
        assert server.http.post("/panel/login", data={"token": token}).status_code == 303
        answer = server.http.get("/panel/")
        assert answer.status_code == 503
        assert "pip install 'uhlp[panel]'" in answer.json()["error"]["message"]
        assert server.answers("/readyz")


def test_the_installed_wheel_builds_the_same_runner_image_as_the_checkout(
    installed: Server, docker_engine: str, base_image: str, runner_image: str, runner_wheels: Path
) -> None:
    line = ["sandbox", "build-image", "--base", base_image, "--wheels", str(runner_wheels), "--engine", docker_engine]
    built = installed.command(*line)
    assert built.returncode == 0, built.stdout + built.stderr
    assert f"built uhlp-runner:latest and {runner_image}" in built.stdout

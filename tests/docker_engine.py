"""A Docker engine for tests: the one that UHLP_TEST_DOCKER_HOST names, else a private one of the whole session.

A private engine has a folder and a bridge of its own and no rule in the machine's packet filter, so that it can stand
beside any other engine. A named one should be for tests only: `uhlp-runner` is built on it, and images stay there.
"""

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.machine_image import copy_image, http_client, installed_wheels, python_image
from uhlp.models.definition import RUNNER_IMAGE
from uhlp.sandbox.drivers.docker.build import build_runner_image
from uhlp.sandbox.drivers.docker.engine import Engine

START_S = 60.0
NAMED_ENGINE = "UHLP_TEST_DOCKER_HOST"
_MEMORY = "4g"  # at most; the images of the tests take a tenth of it
_FOLDERS, _FOLDER = Path("/tmp"), "uhlp-docker-"  # a socket's path must be short


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[str]:
    """The URL of an engine that answers and whose containers this machine reaches by address."""
    if named := os.environ.get(NAMED_ENGINE):
        yield named
        return
    with private_engine(has_network=True) as engine:
        yield engine.url


@pytest.fixture(scope="session")
def base_image(docker_engine: str) -> str:
    """This machine's Python with pip and nothing else, no shell."""
    return python_image(docker_engine)


@pytest.fixture(scope="session")
def runner_wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of wheels that a runner image can be built from without network."""
    return installed_wheels(tmp_path_factory.mktemp("wheels"))


@pytest.fixture(scope="session")
def runner_image(docker_engine: str, base_image: str, runner_wheels: Path) -> str:
    """`uhlp-runner`, as `uhlp sandbox build-image` makes it."""
    return build_runner(docker_engine, base_image, runner_wheels)


@pytest.fixture(scope="session")
def second_engine(docker_engine: str, runner_image: str) -> Iterator["PrivateEngine"]:
    """One with the runner's image that tests may stop, and start again as they need it: each starts it anew."""
    with private_engine() as engine:
        copy_image(f"{RUNNER_IMAGE}:latest", docker_engine, engine.url)
        yield engine


def build_runner(engine_url: str, base: str, wheels: Path) -> str:
    """The runner image on any engine; its exact tag."""

    async def build() -> str:
        engine = Engine(url=engine_url)
        await engine.connect()
        try:
            return (await build_runner_image(engine, base=base, wheels=wheels)).tags[-1]
        finally:
            await engine.close()

    with ThreadPoolExecutor(1) as thread:  # a session's fixture may be asked for where a loop is set
        return thread.submit(lambda: asyncio.run(build())).result()


class PrivateEngine:
    """A dockerd of the test's own: started, killed and started again at will, and gone without a trace after `close`.

    `has_network` gives it a bridge whose containers this machine reaches by address, and by published port; without it
    there are only containers without network. Its images lie `in_memory`, because building, copying and removing them
    takes the disk three times as long; a bench, whose containers start as users' do, keeps them on the disk.
    """

    def __init__(self, *, has_network: bool = False, in_memory: bool = True) -> None:
        self.folder = _FOLDERS / f"{_FOLDER}{os.getpid()}-{secrets.token_hex(4)}"
        self.folder.mkdir(mode=0o700)
        (self.folder / "data").mkdir()
        if in_memory:
            line = ["mount", "-t", "tmpfs", "-o", f"size={_MEMORY},mode=711", "uhlp-docker", f"{self.folder}/data"]
            subprocess.run(line, check=True, capture_output=True)
        self.url = f"unix://{self.folder}/docker.sock"
        self._name = _name_of(self.folder)
        self._bridge_options = _make_bridge(self._name) if has_network else []
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, live_restore: bool = False) -> None:
        """Returns when it answers; raises RuntimeError with the end of its log when it does not."""
        line = ["dockerd", "--host", self.url, "--log-level", "warn", "--iptables=false", "--ip6tables=false"]
        line += ["--data-root", f"{self.folder}/data", "--exec-root", f"{self.folder}/exec"]
        line += ["--pidfile", f"{self.folder}/pid", "--config-file", f"{self.folder}/daemon.json"]
        # were a containerd of the machine used, the engines must not take each other's containers for theirs
        line += ["--containerd-namespace", self._name, "--containerd-plugins-namespace", f"{self._name}-plugins"]
        line += self._bridge_options
        line += ["--live-restore"] if live_restore else []
        (self.folder / "daemon.json").write_text("{}")
        if not self._bridge_options:
            line = ["unshare", "--net", *line]  # with no bridge, dockerd would delete another engine's docker0
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(line, stdout=log, stderr=log, start_new_session=True)
        self._wait_until_it_answers()

    def stop(self) -> None:
        """End it as an operator does; containers end with it, but for `live_restore`."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as the kernel does for want of memory; containers go on until it starts again."""
        self._end(signal.SIGKILL)
        # its containerd dies with it, but not at once, and may stay a zombie that the next dockerd takes for alive
        file = self.folder / "exec/containerd/containerd.pid"
        if file.is_file():
            with suppress(OSError):
                while " (containerd) Z " not in Path(f"/proc/{file.read_text()}/stat").read_text():
                    time.sleep(0.01)
            file.unlink()

    def close(self) -> None:
        """End it and everything that it started, and remove its folder and its bridge."""
        if self._process and self._process.poll() is not None:
            _end_processes(self.folder)
            with suppress(RuntimeError):
                self.start()  # it alone knows which networks it made
        with suppress(httpx.HTTPError):
            self._remove_containers_and_networks()
        self.stop()
        _remove(self.folder)

    def log(self) -> str:
        """The end of what it had to say."""
        return (self.folder / "log").read_text(errors="replace")[-2_000:]

    def _wait_until_it_answers(self) -> None:
        ends_at = time.monotonic() + START_S
        with http_client(self.url) as http:
            while time.monotonic() < ends_at and self._process and self._process.poll() is None:
                with suppress(httpx.HTTPError):
                    if http.get("/_ping").status_code == 200:
                        return
                time.sleep(0.05)
        raise RuntimeError(f"dockerd does not answer:\n{self.log()}")

    def _end(self, number: signal.Signals) -> None:
        if self._process and self._process.poll() is None:
            self._process.send_signal(number)
            try:
                self._process.wait(START_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _remove_containers_and_networks(self) -> None:
        with http_client(self.url) as http:
            for container in http.get("/containers/json", params={"all": "1"}).json():
                http.delete(f"/containers/{container['Id']}", params={"force": "1", "v": "1"})
            http.post("/networks/prune")


@contextmanager
def private_engine(*, has_network: bool = False, in_memory: bool = True) -> Iterator[PrivateEngine]:
    """A running engine; skips the test where none can be (fails where UHLP_REQUIRE_SERVICES=1)."""
    give_up = pytest.fail if os.environ.get("UHLP_REQUIRE_SERVICES") == "1" else pytest.skip
    if os.geteuid() != 0:
        give_up(f"a Docker engine of its own needs root; {NAMED_ENGINE} may name another")
    if absent := [name for name in ("dockerd", "ip", "unshare") if shutil.which(name) is None]:
        give_up(f"not installed: {', '.join(absent)}")
    _remove_left_behind()
    try:
        engine = PrivateEngine(has_network=has_network, in_memory=in_memory)
    except subprocess.CalledProcessError as error:
        give_up(f"no bridge or no folder in memory can be made here: {error.stderr.decode()}")
    try:
        try:
            engine.start()
        except RuntimeError as error:
            give_up(str(error))
        yield engine
    finally:
        engine.close()


def _make_bridge(name: str) -> list[str]:
    """A network bridge with an address range that nothing else here uses; what dockerd must know of it."""
    listed = subprocess.run(["ip", "-4", "-o", "address"], capture_output=True, text=True, check=True).stdout
    number = secrets.choice([number for number in range(256) if f" 10.213.{number}." not in listed])
    for line in (
        f"ip link add name {name} type bridge",
        f"ip address add 10.213.{number}.1/24 dev {name}",
        f"ip link set {name} up",
    ):
        subprocess.run(line.split(), check=True, capture_output=True)
    # never with --default-address-pool: a dockerd that starts again with one deletes docker0, whosever it is
    return ["--bridge", name]


def _name_of(folder: Path) -> str:
    """Of an engine's bridge and of its containers' name space."""
    return f"uhlp{folder.name.rpartition('-')[2]}"


def _remove_left_behind() -> None:
    """Engines of test sessions that were killed."""
    for folder in _FOLDERS.glob(f"{_FOLDER}*-*"):
        owner = folder.name.removeprefix(_FOLDER).partition("-")[0]
        if not Path("/proc", owner).exists():
            _end_processes(folder)
            _remove(folder)


def _end_processes(folder: Path) -> None:
    """Kill containers, known by their pid files, and what names the engine's folder on its command line."""
    left = [int(file.read_text()) for file in (folder / "exec").glob("containerd/daemon/*/*/*/init.pid")]
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"{folder}/".encode() in (process / "cmdline").read_bytes():
                left.append(int(process.name))
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _remove(folder: Path) -> None:
    """What a dead engine leaves: mounts, its bridge, its folder."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in sorted((mount for mount in mounts if mount.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True)
    subprocess.run(["ip", "link", "delete", _name_of(folder)], check=False, capture_output=True)
    shutil.rmtree(folder, ignore_errors=True)

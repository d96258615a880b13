"""A UHLP server as its users start it: own processes, own data directory, a private port.

    with Server(tmp_path / "data") as server:
        assert server.http.get("/healthz").status_code == 200

Everything here waits for something that can be observed, and no longer than a deadline.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import pytest

from tests.free_port import free_port

T = TypeVar("T")

CHECKOUT = Path(__file__).resolve().parents[2]
READY_WITHIN_S = 60.0
END_WITHIN_S = 20.0
_LOOK_EVERY_S = 0.02
NOT_OURS = ("UHLP_", "OPENAI_", "ANTHROPIC_", "OLLAMA_", "PYTHON")
"""Beginnings of variables that a server under test must not inherit."""


def wait_until(condition: Callable[[], T], what: str, within_s: float = 30.0) -> T:
    """The first true value of `condition`; fails the test when there is none in time."""
    deadline = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        time.sleep(_LOOK_EVERY_S)
    return value


def need(program: str) -> None:
    """Skip the test where `program` is not installed; fail it where everything must be."""
    if shutil.which(program) is None:
        give_up = pytest.fail if os.environ.get("UHLP_REQUIRE_SERVICES") == "1" else pytest.skip
        give_up(f"{program} is not installed")


class Server:
    """`python -m uhlp serve` unless `command` says otherwise; {port} in it is filled in. Reusable after `stop`."""

    def __init__(
        self,
        data_dir: Path,
        *,
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] | None = None,
        folder: Path | None = None,
        python_path: str = str(CHECKOUT),
    ) -> None:
        self.data_dir = data_dir.absolute()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder = folder or self.data_dir.parent
        self.stdout = self.data_dir.parent / f"{self.data_dir.name}.stdout"
        self.stderr = self.data_dir.parent / f"{self.data_dir.name}.stderr"
        command = command or (sys.executable, "-m", "uhlp", "serve", "--port", "{port}")
        self._command = [part.format(port=self.port) for part in command]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(NOT_OURS)}
        own = {"PYTHONPATH": python_path, "UHLP_DATA_DIR": str(self.data_dir), "UHLP_URL": self.url}
        self.environment = {**inherited, **own, **(environment or {})}
        self.process: subprocess.Popen[bytes] | None = None
        self.http = httpx.Client(base_url=self.url, timeout=30.0, trust_env=False, verify=False)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        self.http.close()

    def start(self) -> None:
        """Start, and wait until /readyz says so."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> "subprocess.Popen[bytes]":
        """Start without waiting; what the server says goes to `stdout` and `stderr`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.stdout.open("wb") as out, self.stderr.open("wb") as err:
            self.process = subprocess.Popen(
                self._command,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        return self.process

    def wait_until_ready(self) -> None:
        def is_ready() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, f"the server ended: {self.stderr.read_text()}"
            return self.answers("/readyz")

        wait_until(is_ready, "the server is ready", READY_WITHIN_S)

    def answers(self, path: str) -> bool:
        """Whether `path` answers 200 on a connection of its own. `verify=False`, here and beside: loading certificates
        that nothing here needs takes 17 ms of the processor that the server wants to start with."""
        try:
            return httpx.get(self.url + path, timeout=5.0, trust_env=False, verify=False).status_code == 200
        except httpx.HTTPError:
            return False

    def signal(self, number: int = signal.SIGTERM) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self, within_s: float = END_WITHIN_S) -> int:
        """Wait until the server has ended; its exit status."""
        assert self.process is not None
        return self.process.wait(within_s)

    def stop(self) -> int:
        """SIGTERM and wait; what does not end in time is killed, and fails the test."""
        assert self.process is not None
        if self.process.poll() is None:
            self.signal()
        try:
            status = self.wait()
            wait_until(lambda: not self.processes(), "every process of the server has ended", END_WITHIN_S)
        finally:
            for pid in self.processes():
                kill(pid)
        return status

    @property
    def worker_pid(self) -> int:
        """The process that serves: the one that holds the data directory's lock; 0 while it writes itself there."""
        return int((self.data_dir / "lock").read_text() or 0)

    def sandboxes(self, app_id: str = "") -> list[int]:
        """Bubblewrap, supervisors and workers of all sandboxes or an application's, by the mark in their arguments."""
        instance = hashlib.sha256(str(self.data_dir.resolve()).encode()).hexdigest()[:12]
        return _processes_with("cmdline", f"uhlp-sandbox={instance}." + (f"{app_id}." if app_id else ""))

    def processes(self) -> list[int]:
        """Every process that this server consists of."""
        return sorted({*self.sandboxes(), *_processes_with("environ", f"UHLP_DATA_DIR={self.data_dir}\0")})

    @property
    def admin(self) -> dict[str, str]:
        """Headers of the administrator."""
        return {"Authorization": f"Bearer {(self.data_dir / 'admin_token').read_text().strip()}"}

    def administer(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """A call below /admin/v1 that must succeed."""
        answer = self.http.request(method, f"/admin/v1{path}", headers=self.admin, json=body)
        assert answer.is_success, answer.text
        return dict(answer.json())

    def command(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run `uhlp <words>` against this server."""
        return subprocess.run(
            [sys.executable, "-m", "uhlp", *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def kill(pid: int) -> None:
    """SIGKILL, unless it has gone already."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _processes_with(file: str, text: str) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if text.encode() in (folder / file).read_bytes() and not _is_zombie(folder):
                found.append(int(folder.name))
        except OSError:  # it ended while we looked
            continue
    return found


def _is_zombie(folder: Path) -> bool:
    return (folder / "stat").read_text().rpartition(")")[2].split()[0] == "Z"

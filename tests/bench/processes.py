"""The servers of a bench, each in a process of its own."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.load import SERVER_CORE, on_core

READY_WITHIN_S = 30.0
ENDS_WITHIN_S = 40.0
ADMIN_TOKEN = "bench-admin-token"


@dataclass(frozen=True, slots=True)
class Running:
    """A server of the bench."""

    url: str
    pid: int


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def server(
    command: list[str], port: int, *, core: int, environment: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """Run `command` until the block is left. Raises RuntimeError when it does not come up."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            on_core(core, command), stdout=output, stderr=output, env={**os.environ, **(environment or {})}
        )
        try:
            _wait_until_listening(process, port)
            yield Running(f"http://127.0.0.1:{port}", process.pid)
        except BaseException:
            output.seek(0)
            sys.stderr.write(output.read()[-4_000:].decode(errors="replace"))
            raise
        finally:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(ENDS_WITHIN_S)
            process.kill()
            process.wait()


@contextmanager
def asgi(app: str, *, core: int = SERVER_CORE, environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """An ASGI application under uvicorn, set up as `uhlp serve` sets it up."""
    port = free_port()
    command = [
        *(sys.executable, "-m", "uvicorn", app, "--port", str(port), "--loop", "uvloop", "--http", "httptools"),
        *("--no-access-log", "--no-server-header", "--log-level", "warning"),
    ]
    with server(command, port, core=core, environment=environment) as running:
        yield running.url


@contextmanager
def uhlp_serve(environment: Mapping[str, str] | None = None) -> Iterator[Running]:
    """`uhlp serve` as in production, with a data directory of its own."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="uhlp-bench-") as data_dir:
        own = {"UHLP_DATA_DIR": str(Path(data_dir) / "data"), "UHLP_ADMIN_TOKEN": ADMIN_TOKEN}
        command = [sys.executable, "-m", "uhlp", "serve", "--port", str(port)]
        with server(command, port, core=SERVER_CORE, environment={**own, **(environment or {})}) as running:
            yield running


def move_sandboxes(running: Running, core: int) -> None:
    """Pin the server's sandboxes, those it has and those to come, to another core than its own."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    below_the_server = [sandbox for worker in children.get(running.pid, []) for sandbox in children.get(worker, [])]
    while below_the_server:
        sandbox = below_the_server.pop()
        below_the_server += children.get(sandbox, [])
        with contextlib.suppress(OSError):
            os.sched_setaffinity(sandbox, {core})


def _wait_until_listening(process: "subprocess.Popen[bytes]", port: int) -> None:
    """Returns at the first HTTP answer, whatever its status."""
    give_up = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < give_up:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with status {process.returncode}")
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"nothing listens on port {port} after {READY_WITHIN_S:g} s")

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from web.fakes import ADMIN_TOKEN, QuietEvolution, listening
from web.stores import stored_services

from uhlp.web.edge import open_edge
from uhlp.web.services import Services


@dataclass(frozen=True)
class Done:
    status: int
    out: str
    err: str


Run = Callable[..., Awaitable[Done]]


@asynccontextmanager
async def begun(
    folder: Path,
    *arguments: str | Path,
    stdout: int = asyncio.subprocess.PIPE,
    stderr: int = asyncio.subprocess.PIPE,
    **environment: str,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """`uhlp` with some arguments as its own process in `folder`, which is ended at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "uhlp", *map(str, arguments),
        cwd=folder,
        env=_environment(environment),
        stdout=stdout,
        stderr=stderr,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _environment(more: dict[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("UHLP_")}
    paths = os.pathsep.join(path for path in (str(Path.cwd()), os.environ.get("PYTHONPATH")) if path)
    return {**kept, "PYTHONPATH": paths, "COLUMNS": "160", **more}


@pytest.fixture(scope="session")
def loaded_commands() -> Iterator[Path]:
    """Where the process listens that runs commands without loading their libraries each time."""
    with TemporaryDirectory(prefix="uhlp-commands-") as folder:
        place = Path(folder) / "socket"
        line = [sys.executable, "-P", str(Path(__file__).with_name("loaded_commands.py")), str(place)]
        pipe = subprocess.PIPE
        with subprocess.Popen(line, env=_environment({}), stdin=pipe, stdout=pipe) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield place


@pytest.fixture
def uhlp(tmp_path: Path, loaded_commands: Path) -> Run:
    """Runs `uhlp` with some arguments in an empty folder, to its end."""

    async def run(*arguments: str | Path, **environment: str) -> Done:
        with TemporaryDirectory(prefix="uhlp-said-") as said:
            out, err = Path(said) / "out", Path(said) / "err"
            asked = {
                "arguments": [str(argument) for argument in arguments], "folder": str(tmp_path),
                "environment": _environment(environment), "out": str(out), "err": str(err),
            }  # fmt: skip
            reader, writer = await asyncio.open_unix_connection(loaded_commands)
            writer.write(json.dumps(asked).encode() + b"\n")
            status = int(await reader.read())
            writer.close()
            return Done(status, out.read_bytes().decode(), err.read_bytes().decode())

    return run


class JudgedEvolution(QuietEvolution):
    """One candidate, with all that a person judges it by."""

    async def candidate(self, candidate_id: str) -> dict[str, Any]:
        figures = {"n": 48, "k": 1, "coverage": 0.9, "executions": 1_200, "costUsd": 0.02,
                   "tokensIn": 900, "tokensOut": 90}  # fmt: skip
        judged = {"approvalRequired": True, "approvedBy": None, "holds": None, "paused": False}
        case = {"input": {"text": "late"}, "expected": {"queue": "shipping"}, "got": {"queue": "other"}}
        moved = {
            "seq": 3,
            "ts": 1_750_000_000.0,
            "event": "moved",
            "from": "shadow",
            "to": "canary",
            "actor": "governor",
        }
        return {
            **await super().candidate(candidate_id),
            "appId": "shop", "componentId": "echo", "kind": "jit", "proposer": "coder", "state": "canary",
            "reason": "shadow passed", **figures, **judged,
            "drafts": [{"sha": "ab" * 32, "stage": "replay", "reason": "3 of 40 wrong", "counterexamples": 3}],
            "mismatches": [{"payload": "x", "stage": "shadow", "reference": "majority", "ts": 0, "case": case}],
            "timeline": [{**moved, "reason": "proven"}],
            "code": "def handle(inputs, context): ...", "tests": "def test_it(): ...",
        }  # fmt: skip


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[Services]:
    """Real stores behind the edge."""
    async with stored_services(tmp_path / "data", evolution=JudgedEvolution()) as opened:
        yield opened


@pytest.fixture
async def server(services: Services) -> AsyncIterator[dict[str, str]]:
    """A listening server; the environment in which `uhlp` finds it."""
    async with open_edge(services) as edge, listening(edge) as port:
        yield {"UHLP_URL": f"http://127.0.0.1:{port}", "UHLP_ADMIN_TOKEN": ADMIN_TOKEN}

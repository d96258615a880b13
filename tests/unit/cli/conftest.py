import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from web.fakes import ADMIN_TOKEN, listening
from web.stores import stored_services

from uhlp.web.edge import open_edge


@dataclass(frozen=True)
class Done:
    status: int
    out: str
    err: str


Run = Callable[..., Awaitable[Done]]


@pytest.fixture
def uhlp(tmp_path: Path) -> Run:
    """Runs `uhlp` with some arguments as its own process, in an empty folder."""

    async def run(*arguments: str | Path, **environment: str) -> Done:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("UHLP_")}
        paths = os.pathsep.join(path for path in (str(Path.cwd()), os.environ.get("PYTHONPATH")) if path)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "uhlp", *map(str, arguments),
            cwd=tmp_path,
            env={**kept, "PYTHONPATH": paths, "COLUMNS": "160", **environment},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        return Done(process.returncode or 0, out.decode(), err.decode())

    return run


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    """A listening server on real stores; the environment in which `uhlp` finds it."""
    async with stored_services(tmp_path / "data") as services, open_edge(services) as edge, listening(edge) as port:
        yield {"UHLP_URL": f"http://127.0.0.1:{port}", "UHLP_ADMIN_TOKEN": ADMIN_TOKEN}

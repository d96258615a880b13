"""`uhlp serve`: the socket outlives the worker."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[str, "asyncio.subprocess.Process"]]:
    """`uhlp serve` as its own process on a free port; its URL, once it answers."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "uhlp", "serve", "--port", "0", "--data-dir", str(folder),
        stderr=asyncio.subprocess.STDOUT,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        while b"running on http" not in (line := await asyncio.wait_for(process.stdout.readline(), 30)):
            assert line, "the server ended"
        url = next(word for word in line.decode().split() if word.startswith("http"))
        reader = asyncio.create_task(process.stdout.read())
        yield url, process
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), 30)
        await reader
    finally:
        if process.returncode is None:
            process.kill()


async def test_a_killed_worker_is_replaced_and_no_connection_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as (url, process), httpx.AsyncClient(base_url=url, timeout=30) as client:
        assert (await client.get("/healthz")).status_code == 200
        token = (tmp_path / "admin_token").read_text().strip()
        assert (tmp_path / "admin_token").stat().st_mode & 0o777 == 0o600
        os.kill(int((tmp_path / "lock").read_text()), signal.SIGKILL)
        for attempt in range(50):
            try:
                answer = await client.get("/admin/v1/apps", headers={"Authorization": f"Bearer {token}"})
                break
            except (httpx.ReadError, httpx.RemoteProtocolError):  # in flight when the worker died; never ConnectError
                assert attempt < 49
        assert (answer.status_code, answer.json()) == (200, {"applications": []})
    assert process.returncode == 0


async def test_a_second_server_on_the_same_data_is_refused_by_name(tmp_path: Path) -> None:
    async with serving(tmp_path) as (url, _), httpx.AsyncClient(base_url=url, timeout=30) as client:
        await client.get("/healthz")
        second = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "uhlp", "serve", "--port", "0", "--data-dir", str(tmp_path),
            stderr=asyncio.subprocess.STDOUT,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        told, _ = await asyncio.wait_for(second.communicate(), 30)
        assert second.returncode == 3
        assert b"UHLP cannot start: Another server (pid " in told
        assert b"Traceback" not in told

"""The ASGI application: light to import, readable when it cannot start, drained when it ends."""

import asyncio
import gc
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from uhlp.errors import ValidationFailed
from uhlp.main import COLLECT_AFTER, Server
from uhlp.routing.request import RoutedRequest
from uhlp.web.services import Services
from web.fakes import Echo, Result, listening, services


def test_importing_the_application_loads_nothing_heavy() -> None:
    heavy = "fastapi nicegui pydantic pygit2 aiohttp redis prometheus_client mcp openai jsonschema uvicorn"
    check = f"import sys, uhlp.main; print(*[name for name in {heavy.split()} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_edge_loads_without_the_panel_and_the_administration() -> None:
    check = "import sys, uhlp.web.edge; print(*[name for name in ('fastapi', 'nicegui') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_server_loads_the_libraries_of_redis_traces_and_mcp_servers_when_they_are_asked_for() -> None:
    names = ("redis", "opentelemetry.sdk", "mcp", "httpx2")
    check = f"import sys, uhlp.wiring, uhlp.web.edge; print(*[name for name in {names} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


async def start(server: Server) -> dict[str, str]:
    """The answer to lifespan.startup of a server that cannot start."""
    sent: asyncio.Queue[dict[str, str]] = asyncio.Queue()

    async def receive() -> dict[str, str]:
        return {"type": "lifespan.startup"}

    await server({"type": "lifespan"}, receive, sent.put)
    return sent.get_nowait()


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValidationFailed("UHLP_PORT is not a setting."), "UHLP_PORT is not a setting."),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (ValueError("one\n  two\n"), "one; two"),
        (RuntimeError(), "RuntimeError"),
    ],
)
async def test_a_start_that_fails_says_why_in_one_line(error: Exception, text: str) -> None:
    @asynccontextmanager
    async def failing() -> AsyncIterator[Services]:
        raise error
        yield

    answer = await start(Server(failing))
    assert answer == {"type": "lifespan.startup.failed", "message": f"UHLP cannot start: {text}"}


async def test_requests_in_flight_finish_before_the_services_close() -> None:
    began, go_on = asyncio.Event(), asyncio.Event()
    events: list[str] = []

    async def slow(request: RoutedRequest) -> Result:
        began.set()
        await go_on.wait()
        events.append("answered")
        return Result("done")

    @asynccontextmanager
    async def opened() -> AsyncIterator[Services]:
        yield services(router=Echo(slow))
        events.append("closed")

    async with httpx.AsyncClient() as client:
        async with listening(Server(opened), lifespan="on") as port:
            call = asyncio.create_task(client.post(f"http://127.0.0.1:{port}/apps/shop/echo", json={}))
            await asyncio.wait_for(began.wait(), 30)
            asyncio.get_running_loop().call_later(0.1, go_on.set)
        response = await call
    assert (response.status_code, response.json()) == (200, "done")
    assert events == ["answered", "closed"]


async def test_garbage_is_looked_for_less_often_as_long_as_the_server_runs() -> None:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Services]:
        yield services()

    before = gc.get_threshold()
    async with listening(Server(opened), lifespan="on"):
        assert gc.get_threshold() == COLLECT_AFTER
    assert gc.get_threshold() == before

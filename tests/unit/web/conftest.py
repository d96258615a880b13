from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
import structlog

from uhlp.access.administrator import Role
from uhlp.web.app_keys import AppKeys
from uhlp.web.edge import open_edge
from uhlp.web.ingress import Ingress
from uhlp.web.services import Services
from web.fakes import ADMIN_TOKEN
from web.stores import stored_services

# structlog's own choice, tracebacks with all local variables, takes half a minute for a request's worth of them.
structlog.configure(processors=[structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)])


@pytest.fixture
async def client_of() -> AsyncIterator[Callable[[Services], Awaitable[httpx.AsyncClient]]]:
    """Makes a client of the whole edge over some services, in process."""
    async with AsyncExitStack() as stack:

        async def make(services: Services) -> httpx.AsyncClient:
            edge = await stack.enter_async_context(open_edge(services))
            transport = httpx.ASGITransport(app=edge)
            return await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://uhlp.test"))

        yield make


@pytest.fixture
async def caller_of() -> AsyncIterator[Callable[[Services], Awaitable[httpx.AsyncClient]]]:
    """Makes a client of the ingress alone."""
    async with AsyncExitStack() as stack:

        async def make(services: Services) -> httpx.AsyncClient:
            transport = httpx.ASGITransport(app=Ingress(services, keys=AppKeys.of(services)))
            return await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://uhlp.test"))

        yield make


@pytest.fixture
def admin() -> dict[str, str]:
    return {"Authorization": f"Bearer {ADMIN_TOKEN}"}


@pytest.fixture
async def stored(tmp_path: Path) -> AsyncIterator[Services]:
    """Real stores behind the edge."""
    async with stored_services(tmp_path) as opened:
        yield opened


@pytest.fixture
def bearer_of(stored: Services) -> Callable[..., Awaitable[dict[str, str]]]:
    """Makes a token of `stored`; the header that carries it."""

    async def make(role: str, name: str = "") -> dict[str, str]:
        raw, _ = await stored.tokens.create(name or f"some-{role}", Role(role), actor="admin", reason="a test")
        return {"Authorization": f"Bearer {raw}"}

    return make

"""GET /admin/v1/events on a listening server: resumed from the ledger, kept alive, bounded, ended with the server."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.unit.evolution.settings_set import put_setting
from uhlp.access.access_tokens import AccessTokens
from uhlp.access.administrator import Role
from uhlp.clock import FakeClock
from uhlp.evolution.notifications import Alert, Notifications
from uhlp.evolution.store import EvolutionStore
from uhlp.main import Server
from uhlp.web.config import WebSettings
from uhlp.web.services import Services
from web.fakes import ADMIN_TOKEN, NoLedger, listening, services

ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
PATH = "/admin/v1/events"


class Watched:
    """A server with a real ledger behind its events."""

    def __init__(self, store: EvolutionStore, notifications: Notifications, tokens: AccessTokens, url: str) -> None:
        self.store = store
        self.tokens = tokens
        self.notifications = notifications
        self.url = url
        self.http = httpx.AsyncClient(base_url=url, headers=ADMIN, timeout=20, trust_env=False)

    async def decide(self, number: int, *, reason: str = "r") -> None:
        await put_setting(self.store, "n", number, actor="ann", reason=reason)


@asynccontextmanager
async def watched(folder: Path, *, heartbeat_s: float = 60.0, most_followers: int = 64) -> AsyncIterator[Watched]:
    path, clock = folder / "evolution.db", FakeClock()
    tokens = AccessTokens(path=path, first_token=ADMIN_TOKEN, ledger=NoLedger(), clock=clock)
    async with EvolutionStore(path=path, clock=clock) as store, tokens:
        notifications = Notifications(store=store, clock=FakeClock(), most_followers=most_followers)

        @asynccontextmanager
        async def opened() -> AsyncIterator[Services]:
            settings = WebSettings(events_heartbeat_s=heartbeat_s)
            yield services(notifications=notifications, settings=settings, tokens=tokens)

        async with listening(Server(opened), lifespan="on", timeout_graceful_shutdown=30) as port:
            one = Watched(store, notifications, tokens, f"http://127.0.0.1:{port}")
            yield one
        await one.http.aclose()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Watched]:
    async with watched(tmp_path) as one:
        yield one


async def read(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """Blocks of the stream by field; comments under ":"."""
    block: dict[str, Any] = {}
    async for line in response.aiter_lines():
        if not line:
            yield block
            block = {}
            continue
        name, _, value = line.partition(":")
        block[name or ":"] = json.loads(value) if name == "data" else value.strip()


async def next_of(blocks: AsyncIterator[dict[str, Any]]) -> dict[str, Any]:
    return await asyncio.wait_for(anext(blocks), 10)


async def test_decisions_arrive_as_they_are_made_with_their_number_in_the_ledger(server: Watched) -> None:
    async with server.http.stream("GET", PATH) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        blocks = read(response)
        assert (await next_of(blocks))["retry"] == "2000"
        await server.decide(1, reason="two\nlines, é")
        event = await next_of(blocks)
        assert (event["id"], event["event"]) == ("1", "setting")
        assert event["data"]["reason"] == "two\nlines, é"
        assert event["data"]["severity"] == "info"
        server.notifications.alert(Alert.FROZEN, reason="three rollbacks", app_id="shop")
        frozen = await next_of(blocks)
        assert ("id" in frozen, frozen["event"], frozen["data"]["appId"]) == (False, "frozen", "shop")


async def test_a_client_that_comes_back_misses_no_decision(server: Watched) -> None:
    await server.decide(1)
    async with server.http.stream("GET", PATH, params={"after": 0}) as response:
        blocks = read(response)
        await next_of(blocks)
        assert (await next_of(blocks))["id"] == "1"
    for number in range(2, 251):
        await server.decide(number)
    async with server.http.stream("GET", PATH, headers={"Last-Event-ID": "1"}) as response:
        blocks = read(response)
        await next_of(blocks)
        assert [int((await next_of(blocks))["id"]) for _ in range(249)] == list(range(2, 251))


async def test_one_application_can_be_followed(server: Watched) -> None:
    async with server.http.stream("GET", PATH, params={"appId": "shop"}) as response:
        blocks = read(response)
        await next_of(blocks)
        for app_id in ("desk", "shop"):
            await server.store.pause(actor="ann", reason="r", app_id=app_id)
        assert (await next_of(blocks))["data"]["appId"] == "shop"


async def test_a_comment_comes_when_there_is_no_news(tmp_path: Path) -> None:
    async with watched(tmp_path, heartbeat_s=0.02) as server, server.http.stream("GET", PATH) as response:
        blocks = read(response)
        await next_of(blocks)
        assert [await next_of(blocks) for _ in range(3)] == [{":": ""}] * 3


async def test_only_the_administrator_may_follow(server: Watched) -> None:
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as stranger:
        assert (await stranger.get(PATH)).status_code == 401


async def test_a_stream_tells_nothing_more_once_its_token_is_deleted(server: Watched) -> None:
    raw, view = await server.tokens.create("ann", Role.VIEWER, actor="admin", reason="a test")
    async with server.http.stream("GET", PATH, headers={"Authorization": f"Bearer {raw}"}) as response:
        blocks = read(response)
        await next_of(blocks)
        await server.decide(1)
        assert (await next_of(blocks))["id"] == "1"
        await server.tokens.delete(view.holder.token_id, actor="admin", reason="she left")
        await server.decide(2)
        with pytest.raises(StopAsyncIteration):
            await next_of(blocks)


@pytest.mark.parametrize("wrong", ["abc", "-1", "1.5", "٣", "9" * 30, ""])
async def test_an_id_that_is_none_is_refused(server: Watched, wrong: str) -> None:
    answer = await server.http.get(PATH, headers=[(b"last-event-id", wrong.encode())])
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "BAD_REQUEST")


async def test_one_client_too_many_is_told_so_and_who_leaves_makes_room(tmp_path: Path) -> None:
    async with watched(tmp_path, most_followers=1, heartbeat_s=0.02) as server:
        async with server.http.stream("GET", PATH) as response:
            await next_of(read(response))
            refused = await server.http.get(PATH)
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, "TOO_MANY_REQUESTS")
        async with asyncio.timeout(30):
            while True:
                async with server.http.stream("GET", PATH) as response:
                    if response.status_code == 200:
                        break


async def test_the_end_of_the_server_ends_every_stream_at_once(tmp_path: Path) -> None:
    ended: list[int] = []

    async def follow(server: Watched, follows: asyncio.Event) -> None:
        async with server.http.stream("GET", PATH) as response:
            async for _ in response.aiter_lines():
                follows.set()
        ended.append(response.status_code)

    async with asyncio.timeout(20), watched(tmp_path) as server:  # the drain's own limit is 30 s
        each = [asyncio.Event() for _ in range(3)]
        tasks = [asyncio.create_task(follow(server, one)) for one in each]
        await asyncio.wait_for(asyncio.gather(*(one.wait() for one in each)), 10)
    await asyncio.gather(*tasks)
    assert ended == [200, 200, 200], "each ended whole, not cut off"


async def test_a_client_that_reads_nothing_does_not_hold_up_the_end(tmp_path: Path) -> None:
    async with asyncio.timeout(20), watched(tmp_path) as server:  # the drain's own limit is 30 s
        for number in range(40):
            await server.decide(number, reason="long " * 40_000)
        host, port = server.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1)
        request = f"GET {PATH}?after=0 HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n\r\n"
        writer.write(request.encode())
        assert (await reader.read(1)) == b"H"
    writer.close()


async def test_the_exported_ledger_is_a_file_of_lines(server: Watched) -> None:
    answer = await server.http.get("/admin/v1/ledger/export")
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    assert [list(json.loads(line)) for line in answer.text.splitlines()] == [
        ["format", "instance"],
        ["entries", "head"],
    ]

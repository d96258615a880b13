"""A model server that answers what a test tells it, over real HTTP, on both wires."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass
class Reply:
    """One scripted answer; `hangs` keeps the caller waiting until the server ends."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    hangs: bool = False
    drops: bool = False


@dataclass
class Seen:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


def openai_answer(text: Any, *, tokens_in: int = 11, tokens_out: int = 7, **choice: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {
        "choices": [{"message": message, "finish_reason": "stop", **choice}],
        "usage": {"prompt_tokens": tokens_in, "completion_tokens": tokens_out},
    }


def anthropic_answer(text: str, *, tokens_in: int = 11, tokens_out: int = 7, **top: Any) -> dict[str, Any]:
    usage = {"input_tokens": tokens_in, "output_tokens": tokens_out}
    return {"content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "usage": usage, **top}


class ScriptedModelServer:
    """Gives `replies` in order, then says "hello" for ever."""

    def __init__(self) -> None:
        self.replies: deque[Reply] = deque()
        self.seen: list[Seen] = []
        self.url = ""
        self._ended = asyncio.Event()

    def script(self, *replies: Reply) -> None:
        self.replies.extend(replies)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(Seen(request.path, dict(request.headers), json.loads(await request.read())))
        anthropic = request.path.endswith("/messages")
        reply = self.replies.popleft() if self.replies else Reply()
        if reply.hangs:
            await self._ended.wait()
        if reply.drops and request.transport is not None:
            request.transport.abort()
        good = anthropic_answer("hello") if anthropic else openai_answer("hello")
        body = good if reply.body is None else reply.body
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return web.Response(status=reply.status, body=raw, headers=reply.headers, content_type="application/json")

    def end(self) -> None:
        self._ended.set()


@asynccontextmanager
async def scripted_model_server() -> AsyncIterator[ScriptedModelServer]:
    server = ScriptedModelServer()
    async with serving(server):
        yield server


@asynccontextmanager
async def serving(server: ScriptedModelServer) -> AsyncIterator[None]:
    app = web.Application()
    app.router.add_post("/{path:.*}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)  # who hangs up is noticed
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield
    finally:
        server.end()
        await runner.cleanup()

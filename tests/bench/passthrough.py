"""The least that a proxy before a model provider can do, with aiohttp: `python -m tests.bench.passthrough PORT URL`."""

import asyncio
import sys
from collections.abc import AsyncIterator

import aiohttp
import uvloop
from aiohttp import web


async def _application(upstream: str) -> web.Application:
    application = web.Application()

    async def session(_: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as opened:
            application[_SESSION] = opened
            yield

    async def forward(request: web.Request) -> web.Response:
        body = await request.read()
        headers = {"Content-Type": "application/json", "Authorization": "Bearer bench"}
        async with application[_SESSION].post(upstream + request.path, data=body, headers=headers) as answer:
            return web.Response(body=await answer.read(), status=answer.status, content_type="application/json")

    application.cleanup_ctx.append(session)
    application.router.add_post("/{path:.*}", forward)
    return application


_SESSION = web.AppKey("session", aiohttp.ClientSession)

if __name__ == "__main__":
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    web.run_app(_application(sys.argv[2]), host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)

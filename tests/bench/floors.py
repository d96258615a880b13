"""What the JIT path is held against: the same answer with nothing but a web framework around it."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """ASGI, no framework: the body goes back as it came."""
    if scope["type"] != "http":
        return
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _echo(request: Request) -> JSONResponse:
    return JSONResponse(await request.json())


starlette = Starlette(routes=[Route("/echo", _echo, methods=["POST"])])


class Ticket(BaseModel):
    """The input of the JIT component."""

    subject: str
    text: str


pydantic = FastAPI()


@pydantic.post("/echo")
async def _echo_ticket(ticket: Ticket) -> Ticket:
    return ticket

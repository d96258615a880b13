"""The simulated model over real HTTP: `uhlp simulate-model`.

OpenAI's wire at <url>/v1 and Anthropic's at <url>. Keys are not looked at. A model of any name is played, so that a
client keeps its default; the answer's `model` says which simulated model it was. `PUT <url>/faults` with shares by kind
(`{"500": 1}`, `{}` for none) makes it fail from then on, for rehearsals.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from aiohttp import web

from uhlp import strict_json
from uhlp.clock import Clock, SystemClock
from uhlp.demo.simulated_model.faults import Faults
from uhlp.demo.simulated_model.simulated_model import MODELS, SimulatedModel, played_by
from uhlp.demo.simulated_model.wires import ANTHROPIC, OPENAI, BadQuestion, Wire
from uhlp.errors import MalformedJson, ValidationFailed

MAX_REQUEST_BYTES = 16 * 1024 * 1024
HANG_S = 600.0
RETRY_AFTER_S = 1
HUGE_BYTES = 64 * 1024 * 1024


class SimulatedModelServer:
    """Answers both wires from one SimulatedModel."""

    def __init__(self, *, model: SimulatedModel, clock: Clock) -> None:
        self._model = model
        self._clock = clock

    @asynccontextmanager
    async def listening(self, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
        """Serve while the context is open; gives the base URL, with the port that the system chose for 0."""
        runner = web.AppRunner(self._application(), handler_cancellation=True, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        try:
            site = web.TCPSite(runner, host, port)
            await site.start()
            yield f"http://{_printable(host)}:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=MAX_REQUEST_BYTES)
        for wire in (OPENAI, ANTHROPIC):
            application.router.add_post(wire.path, self._handler(wire))
        application.router.add_get("/v1/models", self._models)
        application.router.add_put("/faults", self._set_faults)
        return application

    def _handler(self, wire: Wire) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._ask(wire, request)

        return handle

    async def _ask(self, wire: Wire, request: web.Request) -> web.StreamResponse:
        try:
            body = strict_json.loads(await request.read())
            if not isinstance(body, dict):
                raise BadQuestion("the body must be a JSON object")
            question = wire.question(body)
        except (MalformedJson, BadQuestion) as error:
            return _error(wire, 400, str(error))
        question = replace(question, model=played_by(question))
        reply = await self._model.reply(question)
        if (instead := _INSTEAD.get(reply.fault or "")) is not None:
            return instead(wire)
        if reply.fault == "drop":
            return _dropped(request)
        await asyncio.sleep(HANG_S if reply.fault == "timeout" else reply.latency_s)
        answer = strict_json.dumps(wire.answer(question, reply, int(self._clock.now())))
        if reply.fault == "half":
            return await _half(request, answer)
        return _json(200, answer[: len(answer) // 2] if reply.fault == "garbage" else answer)

    async def _set_faults(self, request: web.Request) -> web.Response:
        try:
            shares = strict_json.loads(await request.read())
            if not isinstance(shares, dict) or not all(type(share) in (int, float) for share in shares.values()):
                raise ValidationFailed("Faults are an object of shares by kind.")
            self._model.faults = Faults.of(shares)
        except (MalformedJson, ValidationFailed) as error:
            return _error(OPENAI, 400, error.message)
        return _json(200, strict_json.dumps(dict(self._model.faults.shares)))

    async def _models(self, request: web.Request) -> web.Response:
        models = [{"id": model, "object": "model", "created": 0, "owned_by": "simulated"} for model in MODELS]
        return _json(200, strict_json.dumps({"object": "list", "data": models}))


async def serve_simulated_model(
    *,
    host: str = "127.0.0.1",
    port: int = 8099,
    seed: int = 1,
    latency_ms: float = 250.0,
    noise: float = 0.0,
    errors: Mapping[str, float] | None = None,
    on_listening: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve until cancelled. latency_ms: median of an answer. noise: share of answers that come out different.

    errors: share of requests by kind (faults.KINDS). `on_listening` is called with the base URL once it accepts
    connections. Raises ValidationFailed for errors that are none.
    """
    model = SimulatedModel(seed=seed, latency_ms=latency_ms, noise=noise, faults=Faults.of(errors or {}))
    async with SimulatedModelServer(model=model, clock=SystemClock()).listening(host=host, port=port) as url:
        on_listening(url)
        await asyncio.Event().wait()


def _error(wire: Wire, status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    return _json(status, strict_json.dumps(wire.error(status, message)), headers)


def _json(status: int, body: bytes, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, body=body, headers=headers, content_type="application/json")


def _dropped(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _half(request: web.Request, answer: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(answer))})
    await response.prepare(request)
    await response.write(answer[: len(answer) // 2])
    return _dropped(request)


def _page(wire: Wire) -> web.Response:
    return web.Response(text="<html><title>Bad gateway</title></html>", content_type="text/html")


def _error_with_200(wire: Wire) -> web.Response:
    return _json(200, strict_json.dumps(wire.error(500, "simulated error")))


_INSTEAD: Mapping[str, Callable[[Wire], web.Response]] = {
    "429": lambda wire: _error(wire, 429, "simulated rate limit", {"Retry-After": str(RETRY_AFTER_S)}),
    "500": lambda wire: _error(wire, 500, "simulated server error"),
    "page": _page,
    "error": _error_with_200,
    "huge": lambda wire: _json(200, b" " * HUGE_BYTES),
}
"""What is sent where no answer is made."""


def _printable(host: str) -> str:
    return f"[{host}]" if ":" in host else host

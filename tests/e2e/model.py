"""The scripted model server in a thread of its own, for tests that block while they talk to UHLP."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aiohttp import web

from tests.unit.llm.scripted_model_server import Reply, ScriptedModelServer, anthropic_answer, openai_answer, serving


class Model(ScriptedModelServer):
    """Answers as scripted; between `hold` and `release` every answer waits."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.given_up = 0
        """Callers that closed the connection before they were answered."""
        self._loop = asyncio.get_running_loop()
        self._open = asyncio.Event()
        self._open.set()

    def hold(self) -> None:
        self._loop.call_soon_threadsafe(self._open.clear)

    def release(self) -> None:
        self._loop.call_soon_threadsafe(self._open.set)

    def forget(self) -> None:
        """Nothing scripted, nothing seen."""
        self.replies.clear()
        self.seen.clear()
        self.asked = self.given_up = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        await request.read()  # a caller that gives up later has asked all the same
        self.asked += 1
        try:
            await self._open.wait()
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        return await super().answer(request)

    def says(self, value: object, *, times: int = 1) -> None:
        """Script `value` as the text of the next answers on the OpenAI wire."""
        self.script(*[Reply(body=openai_answer(json.dumps(value))) for _ in range(times)])

    def says_as_anthropic(self, value: object) -> None:
        self.script(Reply(body=anthropic_answer(json.dumps(value))))

    @property
    def environment(self) -> dict[str, str]:
        """What a server needs to use this model."""
        return {"OPENAI_API_KEY": "sk-scripted", "OPENAI_BASE_URL": f"{self.url}/v1"}


@contextmanager
def started_model(make: Callable[[], Model] = Model) -> Iterator[Model]:
    """A model that has its own thread and ends with the block. `make` is called on its event loop."""
    started: list[Model] = []
    is_up, ending = threading.Event(), threading.Event()

    async def serve() -> None:
        model = make()
        async with serving(model):
            started.append(model)
            is_up.set()
            await asyncio.to_thread(ending.wait)
            model.release()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), name="model")
    thread.start()
    try:
        assert is_up.wait(60), "the scripted model did not start"
        yield started[0]
    finally:
        ending.set()
        thread.join(10)

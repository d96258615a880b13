"""Executions through a manager, as tasks, and a behaviour whose calls the test lets out one by one."""

import asyncio
from typing import Any

from sandbox_calls import CODE, POOL, execute_request

from uhlp.models.definition import PoolDefinition
from uhlp.sandbox.drivers.fake_worker import FakeWorker, response
from uhlp.sandbox.manager import SandboxManager


def run(
    manager: SandboxManager,
    data: dict[str, Any] | None = None,
    *,
    app_id: str = "shop",
    pool: PoolDefinition = POOL,
    handler_type: str = "JIT",
    component_id: str = "parse",
    code: bytes = CODE,
    timeout_s: float = 30.0,
    **options: Any,
) -> "asyncio.Task[dict[str, Any]]":
    """One execution, as a task."""
    request = execute_request(data, handler_type=handler_type, component_id=component_id, code=code)
    call = manager.execute(
        app_id,
        pool,
        request,
        artifacts={request["context"]["task"]["artifact"]["sha256"]: code},
        call_tool=options.pop("call_tool", None),
        timeout_s=timeout_s,
        group=options.pop("group", "serving"),
        **options,
    )
    return asyncio.ensure_future(call)


class Gate:
    """A behaviour that answers when the test says so; `entered` counts calls inside, in order."""

    def __init__(self) -> None:
        self.entered: list[Any] = []
        self._arrivals = asyncio.Condition()
        self._open: dict[Any, asyncio.Event] = {}

    async def __call__(self, worker: FakeWorker, request: dict) -> dict:
        name = request["requestData"]["input"]["name"]
        async with self._arrivals:
            self.entered.append(name)
            self._arrivals.notify_all()
        await self._event(name).wait()
        return response(request, name)

    def _event(self, name: Any) -> asyncio.Event:
        return self._open.setdefault(name, asyncio.Event())

    def open(self, *names: Any) -> None:
        for name in names:
            self._event(name).set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(30), self._arrivals:
            await self._arrivals.wait_for(lambda: len(self.entered) >= count)


async def settle() -> None:
    """Let everything that can run now run."""
    for _ in range(20):
        await asyncio.sleep(0)

"""A framework with sandboxes of two applications: one under attack, its neighbour in the same sandbox, a stranger."""

import asyncio
import gc
import hashlib
import itertools
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.machine_image import http_client
from uhlp.clock import SystemClock
from uhlp.errors import UhlpError
from uhlp.metering import NullMeter
from uhlp.models.definition import PoolDefinition, ResourceLimits
from uhlp.sandbox.client import WorkerClient
from uhlp.sandbox.config import SandboxSettings
from uhlp.sandbox.driver import Driver
from uhlp.sandbox.drivers.marked_processes import marked_processes
from uhlp.sandbox.drivers.process import ProcessDriver
from uhlp.sandbox.manager import AllocateSandboxRequest, ReleaseSandboxRequest, SandboxManager

Json = dict[str, Any]
ECHO = "def handle(inputs, context):\n    return inputs\n"
KEEPS_A_SECRET = (
    "import os\nfrom uhlp_runtime import call_tool\n"
    "def handle(inputs, context):\n"
    "    open('secret', 'w').write(inputs['secret'])\n"
    "    return call_tool('wait', inputs)\n"
)
POOL = PoolDefinition(pool_name="default", max_instances=4, resource_limits=ResourceLimits(memory_limit="96M"))
STEADY_WITHIN_S = 30.0
_ids = itertools.count(1)


@dataclass
class Outcome:
    """How a call ended: its data, or the code and words of its error; and the worker that it ran on."""

    data: Any = None
    code: str = ""
    said: str = ""
    instance_id: str = ""


@dataclass
class Secrets:
    """What must never come out of a sandbox, and where it lies."""

    marker: str
    data_dir: Path
    abstract_socket: str
    port: int
    engine: str

    @property
    def inputs(self) -> Json:
        """What a program is told, so that it can look in the right places."""
        return {
            "marker": self.marker[:-4],  # not whole, because answers are searched for it
            "paths": [str(self.data_dir), f"{self.data_dir}/admin_token", f"{self.data_dir}/apps/desk.git/app.yaml"],
            "port": self.port,
            "abstract": self.abstract_socket,
            "engine": self.engine,
            "neighbour": "neighbours-request",
        }


@dataclass
class Town:
    """Two applications, each with a sandbox that lives as long as the town."""

    driver: Driver
    manager: SandboxManager
    secrets: Secrets
    sandbox_id: str = ""
    rest: tuple[int, int, int] = (0, 0, 0)
    has_keeper: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the stranger's worker holds its secret."""
    _never: asyncio.Event = field(default_factory=asyncio.Event)

    async def attack(self, name: str, source: str, inputs: Json, *, tests: str = "", timeout_s: float) -> Outcome:
        """One call of a program, on a worker that is given back afterwards."""
        component = f"attacker-{name}"
        body = request(component, source, {**self.secrets.inputs, **inputs}, tests=tests)
        identity = (component, body["context"]["task"]["artifact"]["sha256"])
        claim = AllocateSandboxRequest(
            app_id="shop", required_pool_name="default", pool=POOL, identity=identity, fresh=bool(tests)
        )
        claimed = await self.manager.allocate_sandbox(claim)
        assert claimed.instance is not None, claimed.error
        try:
            return await self._outcome(claimed.instance, body, (source, tests), timeout_s)
        finally:
            self.manager.release_sandbox(ReleaseSandboxRequest(instance_id=claimed.instance.instance_id))

    async def _outcome(self, instance: WorkerClient, body: Json, texts: tuple[str, ...], timeout_s: float) -> Outcome:
        artifacts = {sha256(text): text.encode() for text in texts}
        try:
            answer = await instance.execute(body, artifacts=artifacts, call_tool=self._call_tool, timeout_s=timeout_s)
        except UhlpError as error:
            return Outcome(code=error.code, said=f"{error} {error.details}", instance_id=instance.instance_id)
        said = json.dumps(answer)
        if answer["resultType"] == "error":
            return Outcome(code=answer["data"]["code"], said=said, instance_id=instance.instance_id)
        return Outcome(data=answer["data"], said=said, instance_id=instance.instance_id)

    async def _call_tool(self, name: str, arguments: Json) -> Json:
        if name == "wait":
            self.has_keeper.set()
            await self._never.wait()
        return {"seen": True}

    async def call(self, app_id: str, source: str, inputs: Json, *, timeout_s: float = 10.0) -> Any:
        """An ordinary call, as the framework makes it."""
        body = request("good", source, inputs)
        answer = await self.manager.execute(
            app_id, POOL, body, artifacts={sha256(source): source.encode()}, call_tool=self._call_tool,
            timeout_s=timeout_s, group="serving",
        )  # fmt: skip
        assert answer["resultType"] == "generic", answer
        return answer["data"]

    async def neighbours_answer(self) -> bool:
        """Both applications are served, and rightly."""
        answers = [await self.call(app_id, ECHO, {"n": number}) for number, app_id in enumerate(("shop", "desk"))]
        return answers == [{"n": 0}, {"n": 1}]

    async def workers(self) -> list[str]:
        """Instance ids of those that live."""
        sandboxes = await self.manager.sandboxes()
        return [f"{each['sandboxId']}/{worker['workerId']}" for each in sandboxes for worker in each["workers"]]

    async def sandbox_ids(self) -> list[str]:
        return [each["sandboxId"] for each in await self.manager.sandboxes("shop")]

    async def burden(self) -> tuple[int, int, int]:
        """Descriptors, tasks and sandboxed processes, less those of living workers."""
        workers, processes = len(await self.workers()), await self.processes()
        return _open_descriptors() - workers, len(asyncio.all_tasks()), processes - workers

    async def bears_more(self) -> bool:
        """Whether something is there that was not before."""
        return any(now > before for now, before in zip(await self.burden(), self.rest, strict=True))

    async def comes_to_rest(self, *, without: str = "") -> None:
        """Wait until nothing is left of what ran: no more descriptors, tasks and processes than before it, and its
        worker gone. The town goes on being asked meanwhile. Fails with what is left."""
        try:
            async with asyncio.timeout(STEADY_WITHIN_S):
                while await self.bears_more() or without in await self.workers():
                    await self.call("shop", ECHO, {"n": 1})
        except TimeoutError:
            raise AssertionError(f"{await self.burden()} instead of {self.rest}; {await self.workers()}") from None

    async def processes(self) -> int:
        """All that run in sandboxes of ours, as the machine knows them."""
        if isinstance(self.driver, ProcessDriver):
            return len(list(marked_processes(self.driver.instance)))
        return await asyncio.to_thread(self._processes_in_containers, await self.driver.list_owned())

    def _processes_in_containers(self, names: list[str]) -> int:
        with http_client(self.secrets.engine) as http:
            return sum(len(http.get(f"/containers/{name}/top").json()["Processes"]) for name in names)


@asynccontextmanager
async def town(driver: Driver, data_dir: Path, engine: str) -> AsyncIterator[Town]:
    """Open a town: secrets in every place that matters, services that listen on the host, neighbours that live."""
    marker = f"marker-{os.urandom(8).hex()}"
    secret_name = "UHLP_HOSTILE_MARKER"
    (data_dir / "admin_token").write_text(marker)
    (data_dir / "apps" / "desk.git").mkdir(parents=True)
    (data_dir / "apps" / "desk.git" / "app.yaml").write_text(marker)
    abstract = f"uhlp-{marker[:12]}"
    os.environ[secret_name] = marker
    async with AsyncExitStack() as stack:
        stack.callback(os.environ.pop, secret_name)
        service = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(f"\0{abstract}")
        listener.listen()
        manager = SandboxManager(
            driver=driver, config=SandboxSettings(drain_s=0), clock=SystemClock(), meter=NullMeter()
        )
        await manager.open()
        stack.push_async_callback(manager.close)
        secrets = Secrets(marker, data_dir, abstract, service.getsockname()[1], engine)
        opened = Town(driver, manager, secrets)
        keeper = asyncio.ensure_future(opened.call("desk", KEEPS_A_SECRET, {"secret": marker}, timeout_s=3600))
        stack.push_async_callback(_cancel, keeper)
        await asyncio.wait_for(opened.has_keeper.wait(), STEADY_WITHIN_S)
        assert await opened.neighbours_answer()
        async with asyncio.timeout(STEADY_WITHIN_S):
            while any(pool["starting"] or not pool["spares"] for pool in manager.status()):
                assert await opened.neighbours_answer()
        (opened.sandbox_id,) = await opened.sandbox_ids()
        gc.collect()  # what other tests of this process left open is no part of it
        opened.rest = await opened.burden()
        yield opened


async def _cancel(task: "asyncio.Future[Any]") -> None:
    task.cancel()
    await asyncio.wait([task])


def _open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def request(component_id: str, source: str, inputs: Json, *, tests: str = "") -> Json:
    """An execute body."""
    task: Json = {"artifact": {"sha256": sha256(source), "path": "handler.py"}}
    if tests:
        task["tests"] = {"sha256": sha256(tests), "path": "test_handler.py"}
    return {
        "requestId": f"r{next(_ids)}",
        "requestData": {"source": "http", "input": inputs},
        "context": {
            "appId": "shop",
            "componentId": component_id,
            "handlerType": "TESTS" if tests else "JIT",
            "revision": "0" * 40,
            "task": task,
            "configuration": {},
            "applicationInfo": {"deploymentMode": "production"},
            "deadlineMs": 5000,
        },
    }

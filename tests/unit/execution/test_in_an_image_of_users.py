"""A component whose handler is JavaScript, in a pool of an image that users made: from its definition to its answer."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from execution_parts import ScriptedTools, call_of

from tests.node_image import NodeProcess
from tests.scripted_http_worker import ScriptedSandbox
from uhlp.clock import FakeClock, SystemClock
from uhlp.execution import ExecutionResult, Executor, HandlerImplementation
from uhlp.metering import NullMeter
from uhlp.models.definition import AppDefinition
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.registry.config import RegistrySettings
from uhlp.registry.snapshot import AppSnapshot
from uhlp.sandbox.config import SandboxSettings
from uhlp.sandbox.driver import SandboxSpec
from uhlp.sandbox.drivers.fake import FakeDriver
from uhlp.sandbox.manager import SandboxManager
from uhlp.state.definition_store import DefinitionStore
from uhlp.state.sqlite_runtime_store import SqliteRuntimeStore
from uhlp.state.state_manager import StateManager

APP = {
    "appId": "shop",
    "sandboxPools": {"pools": [{"poolName": "node", "dockerImage": "registry.example/our-node:3"}]},
    "configuration": {"currency": "EUR"},
    "initialComponentRegistry": {
        "components": [
            {
                "componentId": "price",
                "handlerType": "JIT",
                "targetPoolName": "node",
                "taskDetails": {"script": "handlers/price.js", "function": "price"},
                "routeMatcher": {"pathPattern": "/prices/:item"},
                "outputSchema": {"type": "object", "properties": {"cents": {"type": "integer"}}},
            }
        ]
    },
}
SCRIPT = b"""
exports.price = ({ item, pieces }, context) => {
  if (item === "bread") return { cents: 350 * pieces, currency: context.configuration.currency };
  if (item === "cake") return { cents: "much" };
  if (item === "wine") throw new RangeError("no licence");
  if (item === "salt") for (;;);
  throw Object.assign(new Error(`${item} is new`), { name: "Deoptimize" });
};
"""


class NodeSandbox(ScriptedSandbox):
    def __init__(self, spec: SandboxSpec) -> None:
        super().__init__(spec)
        self.transport = "http"
        self.workers: list[NodeProcess] = []

    async def start_worker(self) -> NodeProcess:
        self.workers.append(await NodeProcess.start())
        return self.workers[-1]

    async def stop(self, reason: str) -> None:
        for worker in self.workers:
            await worker.kill()


class NodeDriver(FakeDriver):
    """Starts the example's server as a process of this machine, whatever the image."""

    async def start(self, spec: SandboxSpec) -> Any:
        self.sandboxes.append(NodeSandbox(spec))  # type: ignore[arg-type] # as much of a sandbox as is asked for here
        return self.sandboxes[-1]


@pytest.fixture
async def snapshot(tmp_path: Path) -> AsyncIterator[AppSnapshot]:
    runtime = SqliteRuntimeStore(":memory:")
    state = StateManager(definitions=DefinitionStore(tmp_path, clock=FakeClock()), runtime=runtime)
    config = RegistrySettings(argon2_memory_kib=64, argon2_time_cost=1)
    registry = ApplicationRegistry(state=state, config=config)
    definition = AppDefinition.model_validate(APP)
    await registry.register_application(definition, files={"handlers/price.js": SCRIPT}, actor="test")
    yield registry.snapshot("shop")
    registry.close()
    await runtime.aclose()


@pytest.fixture
async def sandboxes() -> AsyncIterator[SandboxManager]:
    manager = SandboxManager(driver=NodeDriver(), config=SandboxSettings(), clock=SystemClock(), meter=NullMeter())
    await manager.open()
    yield manager
    await manager.close()


async def run(sandboxes: SandboxManager, app: AppSnapshot, item: str, timeout_s: float = 10) -> ExecutionResult:
    component = app.components["price"]
    assert component.handler_artifact is not None
    executor = Executor(
        sandboxes=sandboxes,
        tools=ScriptedTools(),  # type: ignore[arg-type] # answers like the tool server
        clock=SystemClock(),
        meter=NullMeter(),
        deployment_mode="development",
    )
    handler = HandlerImplementation(
        version=component.handler_version, artifact=component.handler_artifact, function=component.handler_function
    )
    given = {"item": item, "pieces": 2}
    return await executor.run(call_of(handler, component, app=app, input=given, timeout_s=timeout_s))


async def test_a_handler_in_another_language_answers_from_its_definition(
    sandboxes: SandboxManager, snapshot: AppSnapshot
) -> None:
    result = await run(sandboxes, snapshot, "bread")
    assert (result.outcome, result.data) == ("ok", {"cents": 700, "currency": "EUR"})


async def test_what_it_does_wrong_is_told_as_of_any_handler(sandboxes: SandboxManager, snapshot: AppSnapshot) -> None:
    declined, wrong, failed = [await run(sandboxes, snapshot, item) for item in ("tea", "cake", "wine")]
    assert (declined.outcome, declined.data) == ("deoptimize", {"reason": "tea is new"})
    assert (wrong.outcome, wrong.failure) == ("failed", "schema")
    assert (failed.outcome, failed.failure) == ("failed", "exception")
    assert failed.error is not None
    assert (failed.error.code, failed.error.message) == ("HANDLER_FAILED", "no licence")


async def test_one_that_hangs_is_killed_and_the_next_call_finds_another_worker(
    sandboxes: SandboxManager, snapshot: AppSnapshot
) -> None:
    await run(sandboxes, snapshot, "bread")
    assert (await run(sandboxes, snapshot, "salt", timeout_s=0.3)).failure == "timeout"
    assert (await run(sandboxes, snapshot, "bread")).outcome == "ok"

"""Tools for handlers in images of users' own: from the definition, through the image, over /mcp and back."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.node_image import NodeProcess
from tests.scripted_http_worker import ScriptedSandbox
from uhlp.clock import SystemClock
from uhlp.execution import ExecutionCall, ExecutionResult, Executor, HandlerImplementation
from uhlp.llm import LlmSettings, ModelGateway
from uhlp.metering import NullMeter
from uhlp.models.definition import AppDefinition
from uhlp.sandbox.config import SandboxSettings
from uhlp.sandbox.driver import SandboxSpec
from uhlp.sandbox.drivers.fake import FakeDriver
from uhlp.sandbox.manager import SandboxManager
from uhlp.tools import CoreMCPServer, ToolNamespaces
from uhlp.tools.core.runtime_state import RuntimeState
from uhlp.web.edge import open_edge
from uhlp.web.services import Services
from web.fakes import listening
from web.stores import stored_services

VISITS = b"""
exports.visits = async ({ name, tool }, context) => {
  try {
    const { value } = await context.callTool(tool ?? "core.state.incrementRuntimeValue", { key: name });
    return { value };
  } catch (error) {
    return { code: error.code };
  }
};
"""
APP = {
    "appId": "shop",
    "sandboxPools": {"pools": [{"poolName": "node", "dockerImage": "registry.example/node:3", "network": "bridge"}]},
    "initialComponentRegistry": {
        "components": [
            {
                "componentId": "visits",
                "handlerType": "JIT",
                "targetPoolName": "node",
                "taskDetails": {"script": "handlers/visits.js", "function": "visits"},
                "tools": ["core.state.incrementRuntimeValue", "core.state.getRuntimeValue"],
            }
        ]
    },
}


class NodeDriver(FakeDriver):
    """Starts the example's server as a process of this machine, whatever the image."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[NodeProcess] = []

    async def start(self, spec: SandboxSpec) -> Any:
        async def start_worker() -> NodeProcess:
            self.processes.append(await NodeProcess.start())
            return self.processes[-1]

        async def stop(reason: str) -> None:
            for process in self.processes:
                await process.kill()

        sandbox: Any = ScriptedSandbox(spec)
        sandbox.start_worker, sandbox.stop, sandbox.transport = start_worker, stop, "http"
        return sandbox


@dataclass
class Shop:
    services: Services
    executor: Executor

    async def run(self, **given: Any) -> ExecutionResult:
        app = self.services.registry.snapshot("shop")
        component = app.components["visits"]
        assert component.handler_artifact is not None
        return await self.executor.run(
            ExecutionCall(
                app=app, component=component, input=given, request_id="r1", trace_id="0" * 31 + "1", timeout_s=10,
                implementation=HandlerImplementation(1, component.handler_artifact, "visits"),
                group="serving", purpose="serve",
            )
        )  # fmt: skip


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with stored_services(tmp_path) as services:
        clock = SystemClock()
        core = CoreMCPServer(
            gateway=ModelGateway(settings=LlmSettings(), clock=clock, meter=NullMeter()),
            metrics=services.metrics,
            clock=clock,
            meter=NullMeter(),
            tools=RuntimeState(state=services.state).tools(),
        )
        await services.registry.register_application(
            AppDefinition.model_validate(APP), files={"handlers/visits.js": VISITS}
        )
        async with open_edge(services) as edge, listening(edge) as port:
            sandboxes = SandboxManager(
                driver=NodeDriver(),
                config=SandboxSettings(server_url=f"http://127.0.0.1:{port}", spare_workers=0),
                clock=clock,
                meter=NullMeter(),
                tokens=services.sandbox_tokens,
            )
            await sandboxes.open()
            executor = Executor(
                sandboxes=sandboxes,
                tools=ToolNamespaces(core=core, clock=clock),
                sessions=services.tool_sessions,
                clock=clock,
                meter=NullMeter(),
                deployment_mode="production",
            )
            try:
                yield Shop(services, executor)
            finally:
                await sandboxes.close()


async def test_a_handler_in_node_js_calls_tools_as_our_own_do(shop: Shop) -> None:
    async with asyncio.timeout(20):
        first, second = await shop.run(name="ann"), await shop.run(name="ann")
    assert (first.data, second.data) == ({"value": 1}, {"value": 2})
    assert [(call.tool, call.outcome) for call in second.tool_calls] == [("core.state.incrementRuntimeValue", "ok")]
    assert second.has_acted
    assert (await shop.services.state.get_runtime_value("shop", "ann")).value == 2


@pytest.mark.parametrize(
    ("tool", "name", "code"),
    [
        ("core.state.setRuntimeValue", "ann", -32602),
        ("core.llm.generate", "ann", -32602),
        ("core.state.getRuntimeValue", "", "VALIDATION_FAILED"),
    ],
)
async def test_it_is_refused_what_its_component_may_not_and_told_what_was_wrong(
    shop: Shop, tool: str, name: str, code: Any
) -> None:
    async with asyncio.timeout(20):
        told = await shop.run(name=name, tool=tool)
    assert told.data == {"code": code}

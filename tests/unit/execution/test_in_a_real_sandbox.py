"""The executor and generated tests over the process driver: the real runner, real pytest, real kills."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from execution_parts import AS_PROMPT, ScriptedTools, app_of, call_of, component_of

from uhlp.clock import SystemClock
from uhlp.errors import ModelProviderUnavailable
from uhlp.execution import ExecutionResult, Executor, HandlerImplementation, HandlerTests
from uhlp.metering import NullMeter
from uhlp.registry.snapshot import Artifact
from uhlp.sandbox.config import SandboxSettings
from uhlp.sandbox.drivers.process import ProcessDriver
from uhlp.sandbox.manager import SandboxManager

GENERATION = {
    "text": '{"label": "a"}',
    "parsed": {"label": "a"},
    "usage": {"tokensIn": 7, "tokensOut": 3},
    "costUsd": 0.25,
    "model": "m",
    "latencyMs": 1,
}
LABEL = {"type": "object", "required": ["label"], "properties": {"label": {"enum": ["a", "b"]}}}


pytestmark = pytest.mark.asyncio(loop_scope="module")  # one driver for all: opening it probes the machine


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    """Short, because a socket's path may not be long; open, because sandboxes run under other users."""
    folder = Path(tempfile.mkdtemp(prefix="uhlp-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandboxes(data_dir: Path) -> AsyncIterator[SandboxManager]:
    driver = ProcessDriver(data_dir=data_dir, allow_unisolated=True, production=False)
    manager = SandboxManager(driver=driver, config=SandboxSettings(), clock=SystemClock(), meter=NullMeter())
    await manager.open()
    yield manager
    await manager.close()


def executor_of(sandboxes: SandboxManager, tools: Any = None) -> Executor:
    return Executor(
        sandboxes=sandboxes,
        tools=tools or ScriptedTools(),
        clock=SystemClock(),
        meter=NullMeter(),
        deployment_mode="development",
    )


async def run_code(executor: Executor, body: str, **fields: Any) -> ExecutionResult:
    code = f"from uhlp_runtime import Deoptimize\n\ndef handle(inputs, context):\n    {body}\n"
    implementation = HandlerImplementation(version=None, artifact=Artifact.of("handler.py", code.encode()))
    return await executor.run(call_of(implementation, **fields))


async def test_handlers_end_in_every_way_and_the_next_one_still_runs(sandboxes: SandboxManager) -> None:
    executor = executor_of(sandboxes)
    ended = {
        body: await run_code(executor, body, timeout_s=30.0 if "while" not in body else 1.0, group="trial")
        for body in [
            "return inputs['text'].upper()",
            "raise Deoptimize('not mine')",
            "return 1 / 0",
            "return {1, 2}",
            "return float('nan')",
            "while True: pass",
            "__import__('os')._exit(3)",
            "return [bytearray(1024 * 1024) for _ in range(2000)]",
            "value = 1\n    for _ in range(70): value = [value]\n    return value",
            "return context['configuration']['currency']",
        ]
    }
    assert [(result.outcome, result.failure) for result in ended.values()] == [
        ("ok", None),
        ("deoptimize", "guard"),
        ("failed", "exception"),
        ("failed", "schema"),
        ("failed", "schema"),
        ("failed", "timeout"),
        ("failed", "sandbox"),
        ("failed", "oom"),
        ("failed", "schema"),
        ("ok", None),
    ]
    assert ended["return inputs['text'].upper()"].data == "2 APPLES"


async def test_what_one_component_does_to_its_process_no_other_sees_nor_its_own_next_version(
    sandboxes: SandboxManager,
) -> None:
    executor = executor_of(sandboxes)
    poison = "import json; json.dumps = lambda *a, **k: 'poisoned'; return json.dumps(1)"
    honest = "import json; return json.dumps(inputs['text'])"
    assert (await run_code(executor, poison)).data == "poisoned"
    assert (await run_code(executor, poison)).data == "poisoned"
    for component in (component_of(), component_of(componentId="other")):
        for _ in range(3):
            assert (await run_code(executor, honest, component=component)).data == '"2 apples"'


async def test_a_full_tmp_stops_nobody_else(sandboxes: SandboxManager) -> None:
    executor = executor_of(sandboxes)
    fill = (
        "import os; made = 0\n    try:\n"
        "        while True: open(f'/tmp/f{made}', 'wb').write(b'x' * 20_000); made += 1\n"
        "    except OSError: pass\n    while True: pass"
    )
    results = [await run_code(executor, "return inputs['text']")]  # its sandbox is there before time is short
    filling = asyncio.ensure_future(run_code(executor, fill, timeout_s=1.0))
    await asyncio.sleep(0)
    while not filling.done():
        component = component_of(componentId=f"c{len(results)}")
        results.append(await run_code(executor, "return inputs['text']", component=component))
    assert {result.data for result in results} == {"2 apples"}
    assert (await filling).failure == "timeout"


async def test_a_prompt_is_rendered_asked_and_checked(sandboxes: SandboxManager) -> None:
    tools = ScriptedTools(generate=GENERATION)
    result = await executor_of(sandboxes, tools).run(call_of(AS_PROMPT, component_of(LABEL)))
    assert (result.outcome, result.data) == ("ok", {"label": "a"})
    assert tools.asked[0][1]["messages"] == [{"role": "user", "content": "Parse 2 apples"}]
    assert result.usage.cost_usd == 0.25


async def test_a_provider_that_is_down_is_the_error_that_comes_out(sandboxes: SandboxManager) -> None:
    down = ModelProviderUnavailable(retry_after_s=9)
    result = await executor_of(sandboxes, ScriptedTools(generate=down)).run(call_of(AS_PROMPT))
    assert (result.failure, result.error) == ("model", down)


async def test_generated_tests_are_really_run(sandboxes: SandboxManager) -> None:
    tests = HandlerTests(sandboxes=sandboxes, deployment_mode="development", timeout_s=lambda: 30)
    code = "def handle(inputs, context):\n    return inputs['n'] * 2\n"
    report = await tests.run(
        app_of(),
        component_of(),
        code,
        "from handler import handle\n\ndef test_right():\n    assert handle({'n': 2}, {}) == 4\n\n"
        "def test_wrong():\n    assert handle({'n': 2}, {}) == 5\n",
    )
    assert (report.passed, report.failed, report.errors, report.total) == (1, 1, 0, 2)
    assert report.failures[0].name == "test_wrong"
    nothing = await tests.run(app_of(), component_of(), code, "import sys\nsys.exit(0)\n")
    assert nothing.errors > 0

"""Seed 004's two examples: a worker with all three loops, and a request whose modifications are applied.

A real application over real git, mailboxes and overrides in a SQLite file and on a real Redis server; the model is a
function of the input that counts what it reads.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest

from tests.contracts.test_mailbox import server, until_up
from tests.unit.evolution.world import APP, PARSE, ScriptedGateway, World, component, lines, parse
from uhlp.clock import FakeClock, SystemClock
from uhlp.evals import Dataset, EvalLoop, EvalRequest, EvalResult, Evaluation, Exact, Sample
from uhlp.execution import Executor
from uhlp.llm.generation import GenerateRequest, Generation
from uhlp.loops import LoopGroup
from uhlp.mailbox import Mailbox, MailboxFile, SqliteMailbox
from uhlp.mailbox.redis_mailbox import RedisMailbox
from uhlp.mailbox.redis_server import MailboxRedis
from uhlp.metering import NullMeter
from uhlp.models.definition import LlmConfig
from uhlp.models.experiment import Experiment
from uhlp.models.main_loop import MainLoopRequest, MainLoopResult
from uhlp.optimization.compress import (
    LLMCompressStrategy,
    OptimizeLoop,
    OptimizeRequest,
    OptimizeResult,
    OptimizeRuns,
    apply_modifications,
)
from uhlp.prompts.overrides import PromptOverridesStore
from uhlp.prompts.overrides.documents_by_tag import DocumentsByTag
from uhlp.prompts.overrides.git_documents import GitDocuments
from uhlp.prompts.overrides.runtime_documents import RuntimeDocuments
from uhlp.registry.registered_prompts import RegisteredPrompts
from uhlp.routing import MainLoop, MainLoopWorker
from uhlp.routing.component_requests import ComponentRequests
from uhlp.state.framework_values import FrameworkValues
from uhlp.state.redis_runtime_store import RedisRuntimeStore
from uhlp.state.runtime_store import RuntimeStore
from uhlp.state.sqlite_runtime_store import SqliteRuntimeStore
from uhlp.tools import CoreMCPServer
from uhlp.tools.context import ToolContext
from uhlp.tools.tool import JsonObject, Tool, arguments

__all__ = ["server"]

BOUND_S = 60
WORDY = "Read this order line. " + "Take the greatest care with every word of it, please. " * 8 + "\n\n{{ text }}"
SHORT = "Read this order line.\n\n{{ text }}\n"


class CountingGateway(ScriptedGateway):
    """Counts the tokens of what it reads."""

    async def generate(self, request: GenerateRequest, *, timeout_s: float | None = None) -> Generation:
        said = await super().generate(request, timeout_s=timeout_s)
        return replace(said, tokens_in=sum(len(one["content"]) for one in request.messages) // 4)


@dataclass
class Backend:
    """Where messages and temporary overrides are."""

    values: FrameworkValues
    open: Any

    def mailbox(self, name: str, body: type[Any], reply: type[Any] | None = None) -> Mailbox[Any, Any]:
        return self.open(name=name, body=body, reply=reply)  # type: ignore[no-any-return]


@pytest.fixture(params=["sqlite", "redis"])
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    async with AsyncExitStack() as stack:
        store: RuntimeStore
        if request.param == "redis":
            url = request.getfixturevalue("server").url
            client = MailboxRedis(url)
            stack.push_async_callback(client.aclose)
            await until_up(client)
            store = RedisRuntimeStore(url)

            def opened(**box: Any) -> Mailbox[Any, Any]:
                return RedisMailbox(client=client, **box)
        else:
            file = MailboxFile(tmp_path / "mailbox.db")
            stack.push_async_callback(file.aclose)
            store = SqliteRuntimeStore(tmp_path / "shared.db")

            def opened(**box: Any) -> Mailbox[Any, Any]:
                return SqliteMailbox(file=file, **box)

        stack.push_async_callback(store.aclose)
        yield Backend(FrameworkValues(store), opened)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path / "world", FakeClock())
    (tmp_path / "world").mkdir()
    made.model = CountingGateway(made.clock)
    await made.open()
    await made.register(component(tools=["core.shop.arm"]))
    await made.registry.apply_files(
        APP, {f"prompts/{PARSE}.yaml": orjson.dumps({"template": WORDY})}, message="Say it with many words"
    )
    yield made
    await made.close()


def overrides_of(world: World, backend: Backend) -> PromptOverridesStore:
    """Durable sets in the application's repository, temporary ones where all workers find them."""

    async def write(app_id: str, changes: Any, *, message: str, author: str | None, expected_base_revision: str) -> str:
        return await world.registry.apply_files(
            app_id, changes, message=message, actor=author, expected_base_revision=expected_base_revision
        )

    documents = DocumentsByTag(
        durable=GitDocuments(files=world.state, write=write),
        temporary=RuntimeDocuments(values=backend.values, clock=SystemClock()),
    )
    return PromptOverridesStore(documents=documents, clock=SystemClock())


def main_loop_of(world: World, store: PromptOverridesStore, tools: CoreMCPServer) -> MainLoop:
    executor = Executor(
        sandboxes=world.sandboxes, tools=tools, clock=world.clock, meter=NullMeter(), deployment_mode="development"
    )
    requests = ComponentRequests(registry=world.registry, router=world.router, clock=world.clock)
    return MainLoop(registry=world.registry, requests=requests, executor=executor, overrides=store, clock=world.clock)


def tools_of(world: World, *tools: Tool) -> CoreMCPServer:
    return CoreMCPServer(gateway=world.model, metrics=NoMetrics(), clock=world.clock, meter=NullMeter(), tools=tools)


class NoMetrics:
    async def record_metric(self, metric_data: Any) -> None: ...


async def test_a_worker_with_all_three_loops_shortens_a_prompt_for_who_asks(world: World, backend: Backend) -> None:
    tools = tools_of(world)
    store = overrides_of(world, backend)

    # Mailboxes; replies find their way to any `reply:` queue beside them
    main_requests = backend.mailbox("main-requests", MainLoopRequest, MainLoopResult)
    eval_requests = backend.mailbox("eval-requests", EvalRequest, EvalResult)
    optimize_requests = backend.mailbox("optimize-requests", OptimizeRequest, OptimizeResult)

    # Loops
    main_loop = main_loop_of(world, store, tools)
    prompts = RegisteredPrompts(registry=world.registry)
    optimize_loop = OptimizeLoop(
        strategy=LLMCompressStrategy(mcp_client=tools, llm_of=lambda app_id: LlmConfig()),
        overrides_store=store,
        prompt_registry=prompts,
        eval_requests=eval_requests,
        requests=optimize_requests,
        runs=OptimizeRuns(values=backend.values),
    )
    group = LoopGroup(
        loops=[
            MainLoopWorker(loop=main_loop, requests=main_requests),
            EvalLoop(loop=main_loop, requests=eval_requests),
            optimize_loop,
        ]
    )

    # Run all loops
    working = asyncio.create_task(group.run())

    # Build dataset
    test_cases = [({"text": text}, parse({"text": text})) for text in lines(40)]
    dataset = Dataset(
        samples=tuple(Sample(id=str(i), input=inp, expected=exp) for i, (inp, exp) in enumerate(test_cases))
    )

    # Create reply mailbox
    my_replies = backend.mailbox(f"reply:{uuid4()}", OptimizeResult)

    # Submit request
    world.model.coder.append(orjson.dumps({"body": SHORT}).decode())
    await optimize_requests.send(
        OptimizeRequest(
            prompt_ns=APP,
            prompt_key=PARSE,
            component_id=PARSE,
            dataset=dataset,
            evaluator=Exact(),
            baseline_tag="stable",
        ),
        reply_to=my_replies.name,
    )

    # Collect result via reply
    prompt = prompts.get(APP, PARSE)
    async with asyncio.timeout(BOUND_S):
        for message in await my_replies.receive(wait_time_seconds=BOUND_S):
            result = message.body
            if result.report.has_modifications:
                await apply_modifications(store, prompt, result.report.modifications)
            await message.acknowledge()
        assert await group.shutdown(timeout=BOUND_S)
        await working

    assert result.error is None, result.report
    assert result.report.verdict == "shorter", result.report
    assert result.report.total_token_reduction > 80
    await world.send("3 nuts")
    assert world.model.prompts[-1].strip() == SHORT.replace("{{ text }}", "3 nuts").strip()
    assert [one.tag for one in await store.list(ns=APP)] == ["stable"]


async def test_the_main_loop_answers_over_its_mailbox(world: World, backend: Backend) -> None:
    main_requests = backend.mailbox("main-requests", MainLoopRequest, MainLoopResult)
    worker = MainLoopWorker(
        loop=main_loop_of(world, overrides_of(world, backend), tools_of(world)), requests=main_requests
    )
    my_replies = main_requests.reply_box(MainLoopResult)
    request = MainLoopRequest(app_id=APP, component_id=PARSE, input={"text": "2 figs"})
    await main_requests.send(request, reply_to=my_replies.name)
    await worker.run(max_iterations=1)
    (message,) = await my_replies.receive()
    assert (message.body.request_id, message.body.output["quantity"]) == (request.request_id, 2)


async def test_a_tool_handler_reads_the_experiment_it_works_for(world: World, backend: Backend) -> None:
    seen: set[tuple[str, str, bool]] = set()

    async def read_arm(params: JsonObject, context: ToolContext) -> JsonObject:
        experiment = context.experiment
        assert experiment is not None
        seen.add((experiment.id, experiment.overrides_tag, experiment.flags["brief"]))
        assert context.call_meta({})["uhlp/experiment"]["flags"] == experiment.flags  # what an MCP server is told
        return {}

    tool = Tool("core.shop.arm", "Tells the arm", arguments([]), {"type": "object"}, read_arm)
    world.runner.tool_calls["LLM"] = [("core.shop.arm", {})]
    eval_requests = backend.mailbox("eval-requests", EvalRequest, EvalResult)
    evaluation = Evaluation(requests=eval_requests)
    evals = EvalLoop(
        loop=main_loop_of(world, overrides_of(world, backend), tools_of(world, tool)), requests=eval_requests
    )
    arms = [Experiment(name=name, flags={"brief": name == "on"}) for name in ("on", "off")]
    dataset = Dataset(samples=(Sample(id="1", input={"text": "2 figs"}, expected=parse({"text": "2 figs"})),))
    async with asyncio.timeout(BOUND_S), LoopGroup(loops=[evals, evaluation]):
        reports = await evaluation.evaluate(
            dataset, app_id=APP, component_id=PARSE, evaluator=Exact(), arms=arms, deadline_s=BOUND_S
        )
    assert [one.passed for one in reports] == [1, 1], reports
    assert seen == {(arms[0].id, "stable", True), (arms[1].id, "stable", False)}

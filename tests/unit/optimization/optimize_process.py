"""A worker that dies in a step: `python -m … LOG STORE [STEP]`.

STORE is a folder for SQLite files or the URL of a Redis server. It works until the request "once" is over and answered.
With STEP it kills itself, as SIGKILL does, in the midst of that step; with DONE as soon as the report is kept. Every
proposal is a line of LOG.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from tests.unit.optimization.compress_world import (
    COMPONENT,
    SHORT,
    PromptedLoop,
    ScriptedStrategy,
    dataset,
    descriptor,
)
from uhlp.clock import SystemClock
from uhlp.evals import EvalLoop, EvalRequest, EvalResult, Exact
from uhlp.loops import LoopGroup
from uhlp.mailbox import Mailbox, MailboxFile, QueueLimits, SqliteMailbox
from uhlp.mailbox.message_queue import MailboxCounts
from uhlp.mailbox.redis_mailbox import RedisMailbox
from uhlp.mailbox.redis_server import MailboxRedis
from uhlp.optimization.compress import OptimizeLoop, OptimizeRequest, OptimizeResult, OptimizeRuns, SectionEdit
from uhlp.optimization.compress.optimize_run import OptimizeRun, Step
from uhlp.optimization.compress.strategy import StrategyUse
from uhlp.prompts.overrides import PromptDescriptor, PromptOverridesStore
from uhlp.prompts.overrides.runtime_documents import RuntimeDocuments
from uhlp.state.framework_values import FrameworkValues
from uhlp.state.redis_runtime_store import RedisRuntimeStore
from uhlp.state.runtime_store import RuntimeStore
from uhlp.state.sqlite_runtime_store import SqliteRuntimeStore

LEASE_S = 1.0
LIMITS = QueueLimits(max_deliveries=100)


class Stores:
    """What outlives the processes."""

    def __init__(self, store: str, stack: AsyncExitStack) -> None:
        runtime: RuntimeStore
        self.client: MailboxRedis | None = None
        if store.startswith("redis"):
            self.client = MailboxRedis(store)
            stack.push_async_callback(self.client.aclose)
            runtime = RedisRuntimeStore(store)
        else:
            self._file = MailboxFile(Path(store) / "mailbox.db")
            stack.push_async_callback(self._file.aclose)
            runtime = SqliteRuntimeStore(Path(store) / "runtime.db")
        stack.push_async_callback(runtime.aclose)
        self.values = FrameworkValues(runtime)
        self.overrides = PromptOverridesStore(
            documents=RuntimeDocuments(values=self.values, clock=SystemClock()), clock=SystemClock()
        )
        self.requests = self._mailbox("optimize-requests", OptimizeRequest, OptimizeResult)
        self.eval_requests = self._mailbox("eval-requests", EvalRequest, EvalResult)
        self.replies = self._mailbox("reply:tests", OptimizeResult, None)

    def _mailbox(self, name: str, body: Any, reply: Any) -> Mailbox[Any, Any]:
        if self.client is not None:
            return RedisMailbox(name=name, body=body, reply=reply, client=self.client, limits=LIMITS)
        return SqliteMailbox(name=name, body=body, reply=reply, file=self._file, limits=LIMITS)


class Registry:
    def get(self, ns: str, key: str) -> PromptDescriptor:
        return descriptor()


class LoggedStrategy(ScriptedStrategy):
    def __init__(self, log: int) -> None:
        super().__init__(SHORT)
        self._log = log

    async def propose(
        self, prompt: PromptDescriptor, *, component_id: str, deadline: float
    ) -> tuple[Sequence[SectionEdit], StrategyUse]:
        os.write(self._log, b"proposed\n")
        return await super().propose(prompt, component_id=component_id, deadline=deadline)


class DyingRuns(OptimizeRuns):
    """Knows the step that the run is in, and dies when it is to."""

    def __init__(self, values: FrameworkValues, dies_in: str) -> None:
        super().__init__(values=values)
        self._dies_in = dies_in
        self._step = Step.BASELINE
        self._asked = 0

    async def begin(self, run: OptimizeRun) -> OptimizeRun:
        kept = await super().begin(run)
        self._step = Step.BASELINE if kept.step is Step.QUEUED else kept.step
        return kept

    async def save(self, run: OptimizeRun) -> OptimizeRun:
        kept = await super().save(run)
        self._step, self._asked = run.step, 0
        if self._step in (Step.DONE, Step.PROPOSE):  # in which no component is asked
            self.die()
        return kept

    def note_question(self, number: int) -> None:
        self._asked += 1
        if self._asked == 3:
            self.die()

    def die(self) -> None:
        if self._step == self._dies_in:
            os.kill(os.getpid(), signal.SIGKILL)


async def work(log_path: str, store: str, dies_in: str) -> None:
    log = os.open(log_path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    async with AsyncExitStack() as stack:
        stores = Stores(store, stack)
        runs = DyingRuns(stores.values, dies_in)
        loop = PromptedLoop(stores.overrides, descriptor())
        loop.on_ask = runs.note_question
        optimize = OptimizeLoop(
            strategy=LoggedStrategy(log),
            overrides_store=stores.overrides,
            prompt_registry=Registry(),
            eval_requests=stores.eval_requests,
            requests=stores.requests,
            runs=runs,
            visibility_s=LEASE_S,
        )
        await stack.enter_async_context(LoopGroup(loops=[optimize, EvalLoop(loop=loop, requests=stores.eval_requests)]))
        while await stores.requests.counts() != MailboxCounts(0, 0, 0, 0):  # noqa: ASYNC110  other processes change it
            await asyncio.sleep(0.02)


def asked_for() -> OptimizeRequest:
    return OptimizeRequest(
        prompt_ns=descriptor().ns, prompt_key=descriptor().key, component_id=COMPONENT, dataset=dataset(30),
        evaluator=Exact(), request_id="once",
    )  # fmt: skip


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else ""))

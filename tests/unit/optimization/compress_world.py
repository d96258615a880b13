"""A prompt to be shortened: real overrides, mailboxes and evaluations; the model is a function of the prompt's text."""

import asyncio
import re
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Any

from uhlp.clock import FakeClock, SystemClock
from uhlp.errors import PromptNotFound, UhlpError
from uhlp.evals.dataset import Dataset, Sample
from uhlp.evals.eval_loop import EvalLoop
from uhlp.evals.eval_request import EvalRequest, EvalResult
from uhlp.evals.evaluation import Evaluation
from uhlp.evals.evaluators import EvaluatorSpec, Exact
from uhlp.loops import LoopGroup, PeriodicLoop
from uhlp.mailbox.message_queue import QueueLimits
from uhlp.mailbox.sqlite_mailbox import InMemoryMailbox
from uhlp.models.main_loop import MainLoopFault, MainLoopRequest, MainLoopResult
from uhlp.optimization.compress import OptimizeBudget, OptimizeLoop, OptimizeRequest, OptimizeResult, SectionEdit
from uhlp.optimization.compress.optimize_run import OptimizeRuns
from uhlp.optimization.compress.strategy import CompressStrategy, StrategyUse, edit_of
from uhlp.prompts import parse_prompt
from uhlp.prompts.overrides import PromptDescriptor, PromptOverridesStore
from uhlp.prompts.overrides.resolution import ResolvedPrompt
from uhlp.prompts.overrides.runtime_documents import RuntimeDocuments
from uhlp.state.framework_values import FrameworkValues
from uhlp.state.sqlite_runtime_store import SqliteRuntimeStore

APP, KEY, COMPONENT = "desk", "shout", "shout-it"
FILLER = " ".join(["Please be so kind as to read the text with the greatest care before you do anything."] * 3)
PROMPT = f"""\
template: |
  You shout texts. {FILLER}

  ## Rules
  Write the text in capital letters. {FILLER}

  ## Ending
  End with an exclamation mark. {FILLER}

  ## Text
  {{{{ text }}}}
"""

Model = Callable[[str, str, Random], Any]
"""What the model answers to a prompt's text and an input."""


def shouts(prompt: str, text: str, random: Random) -> str:
    """Does what the prompt says, whatever else stands in it."""
    answer = text.upper() if "capital letters" in prompt else text
    return answer + "!" if "exclamation mark" in prompt else answer


class ScriptedStrategy:
    """Proposes the bodies it is given, by section; several under `section#2`, … are alternatives."""

    name = "scripted"

    def __init__(self, bodies: dict[str, str], *, error: UhlpError | None = None) -> None:
        self.bodies = bodies
        self.error = error
        self.seen: list[PromptDescriptor] = []

    async def propose(
        self, prompt: PromptDescriptor, *, component_id: str, deadline: float
    ) -> tuple[Sequence[SectionEdit], StrategyUse]:
        self.seen.append(prompt)
        if self.error is not None:
            raise self.error
        sections = {one.key: one for one in prompt.sections}
        edits = []
        for name, body in self.bodies.items():
            section = sections[re.sub(r"#\d+$", "", name)]
            edits.append(edit_of(section.key, section.body, section.sha256, body, strategy=self.name))
        return edits, StrategyUse(tokens=100, usd=0.01, calls=1)


SHORT = {
    "preamble": "You shout texts.\n\n",
    "rules": "## Rules\nCapital letters: write the text in capital letters.\n\n",
    "ending": "## Ending\nEnd with an exclamation mark.\n\n",
}
"""Bodies that lose nothing."""


class PromptedLoop:
    """The MainLoop with a made-up model; counts what it was asked, and by which text."""

    def __init__(self, store: PromptOverridesStore, descriptor: PromptDescriptor) -> None:
        self._store = store
        self._descriptor = descriptor
        self.model: Model = shouts
        self.random = Random(3)
        self.asked: list[MainLoopRequest] = []
        self.texts: list[str] = []
        self.fails: Callable[[int], MainLoopFault | None] = lambda number: None
        self.on_ask: Callable[[int], None] = lambda number: None
        self.has_prices = True
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.digest_of: Callable[[ResolvedPrompt], str] = lambda resolved: resolved.digest

    async def execute(self, request: MainLoopRequest) -> MainLoopResult:
        self.asked.append(request)
        self.on_ask(len(self.asked))
        await self.may_answer.wait()
        assert request.experiment is not None
        fault = self.fails(len(self.asked))
        if fault is not None:
            return MainLoopResult(request_id=request.request_id, fault=fault)
        try:
            resolved = await self._store.resolve(self._descriptor, request.experiment.overrides_tag)
        except UhlpError as error:
            gone = MainLoopFault(code=error.code, message=error.message, is_retryable=error.retryable)
            return MainLoopResult(request_id=request.request_id, fault=gone)
        text = resolved.prompt.text
        self.texts.append(text)
        return MainLoopResult(
            request_id=request.request_id,
            output=self.model(text, request.input["text"], self.random),
            prompt_digest=self.digest_of(resolved),
            tokens_in=len(text) // 4,
            tokens_out=3,
            cost_usd=len(text) / 1e6 if self.has_prices else None,
        )


class CompressWorld:
    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self._stack = AsyncExitStack()
        self._runtime = SqliteRuntimeStore(folder / "runtime.db", clock=self.clock)
        self.values = FrameworkValues(self._runtime)
        self.store = PromptOverridesStore(
            documents=RuntimeDocuments(values=self.values, clock=self.clock), clock=self.clock
        )
        self.descriptor = descriptor()
        self.dataset = dataset(40)
        self.evaluator: EvaluatorSpec = Exact()
        self.loop = PromptedLoop(self.store, self.descriptor)
        self.runs = OptimizeRuns(values=self.values)
        self.requests: InMemoryMailbox[OptimizeRequest, OptimizeResult] = InMemoryMailbox(
            name="optimize-requests", body=OptimizeRequest, reply=OptimizeResult, clock=self.clock,
            limits=QueueLimits(max_deliveries=10),
        )  # fmt: skip
        self.eval_requests: InMemoryMailbox[EvalRequest, EvalResult] = InMemoryMailbox(
            name="eval-requests", body=EvalRequest, reply=EvalResult
        )
        self.replies: InMemoryMailbox[OptimizeResult, None] = InMemoryMailbox(
            name="reply:tests", body=OptimizeResult, beside=self.requests
        )
        self.evaluation = Evaluation(
            requests=self.eval_requests,
            replies=InMemoryMailbox(name="reply:here", body=EvalResult, beside=self.eval_requests),
            clock=SystemClock(),
        )

    def evaluation_through(self, requests: Any) -> Evaluation:
        """Another evaluation of this process, with a reply queue of its own; drive its `run_cycle`."""
        return Evaluation(requests=requests, clock=SystemClock())

    async def __aenter__(self) -> "CompressWorld":
        clock = SystemClock()
        evals = EvalLoop(
            loop=self.loop,
            requests=self.eval_requests,
            clock=clock,
            retries=0,
            is_unwanted=lambda request, reply_to: self.evaluation.is_unwanted(request, reply_to),
        )
        loops = [PeriodicLoop(f"eval-{n}", evals.run_cycle, 0.0, clock, waits_for_work=True) for n in range(4)]
        replies = PeriodicLoop("replies", self.evaluation.run_cycle, 0.0, clock, waits_for_work=True)
        self._stack.push_async_callback(self._runtime.aclose)
        self._stack.push_async_callback(self.requests.aclose)
        self._stack.push_async_callback(self.eval_requests.aclose)
        await self._stack.enter_async_context(LoopGroup([*loops, replies]))
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    # PromptRegistry and Subjects

    def get(self, ns: str, key: str) -> PromptDescriptor:
        if (ns, key) != (APP, KEY):
            raise PromptNotFound(f"{ns} has no prompt {key}.")
        return self.descriptor

    def component_of(self, ns: str, prompt_key: str) -> str:
        return COMPONENT

    def evaluator_of(self, ns: str, component_id: str) -> EvaluatorSpec:
        return self.evaluator

    async def dataset_of(self, ns: str, component_id: str) -> Dataset:
        return self.dataset

    def optimize_loop(self, *strategies: CompressStrategy, **how: Any) -> OptimizeLoop:
        return OptimizeLoop(
            strategy=strategies,
            overrides_store=self.store,
            prompt_registry=self,
            subjects=self,
            evaluation=self.evaluation,
            requests=self.requests,
            runs=self.runs,
            clock=self.clock,
            **how,
        )

    async def optimize(self, *strategies: CompressStrategy, **fields: Any) -> OptimizeResult:
        """Send a request, work on it, and receive the reply."""
        await self.send(*strategies, **fields)
        await self.optimize_loop(*strategies).run_cycle()
        return await self.reply()

    async def send(self, *strategies: CompressStrategy, **fields: Any) -> OptimizeRequest:
        made = request(*strategies, **fields)
        await self.requests.send(made, reply_to="reply:tests")
        return made

    async def reply(self) -> OptimizeResult:
        async with asyncio.timeout(30):
            (message,) = await self.replies.receive(wait_time_seconds=5.0)
        await message.acknowledge()
        return message.body

    async def temporary_tags(self) -> list[str]:
        return [one.tag for one in await self.store.list(ns=APP) if one.is_temporary]

    async def resolved(self, tag: str = "stable") -> ResolvedPrompt:
        return await self.store.resolve(self.descriptor, tag)


def request(*strategies: CompressStrategy, **fields: Any) -> OptimizeRequest:
    names = tuple(one.name for one in strategies) or ("scripted",)
    fields = {"budget": OptimizeBudget(), "strategies": names, **fields}
    return OptimizeRequest(prompt_ns=APP, prompt_key=KEY, **fields)


def descriptor() -> PromptDescriptor:
    return PromptDescriptor(APP, KEY, parse_prompt(PROMPT.encode(), path=f"prompts/{KEY}.yaml"))


def dataset(size: int) -> Dataset:
    return Dataset(
        samples=tuple(Sample(id=f"s{n}", input={"text": f"text {n}"}, expected=f"TEXT {n}!") for n in range(size))
    )

"""A small world to evolve in: a shop that reads order lines, on real git, SQLite, rooms and runner code.

Three things are made up: time (FakeClock), the sandbox's walls (the real runner's code runs in this process, behind
the fake driver), and the model (a function of the input, behind the gateway).
"""

import asyncio
import json
import re
import sys
import types
from collections import deque
from collections.abc import Callable
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import orjson

from uhlp.clock import FakeClock, SystemClock
from uhlp.errors import ModelProviderUnavailable
from uhlp.evolution.alert_watch import AlertWatch
from uhlp.evolution.audit_debt import AuditDebt
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.compiler import Compiler
from uhlp.evolution.compression import Compression
from uhlp.evolution.config import EvolutionConfig
from uhlp.evolution.config_sections import (
    CanaryConfig,
    LimitsConfig,
    NoiseConfig,
    RejitConfig,
    VerifyConfig,
)
from uhlp.evolution.database import unwatched
from uhlp.evolution.discoveries import Discoveries
from uhlp.evolution.drafting import Drafting
from uhlp.evolution.evolution_numbers import EvolutionNumbers
from uhlp.evolution.expectation import Expectations
from uhlp.evolution.governor import SafetyGovernor
from uhlp.evolution.judge import Judge
from uhlp.evolution.leadership import Leadership
from uhlp.evolution.ledger_anchors import LedgerAnchors
from uhlp.evolution.money import Money
from uhlp.evolution.notifications import Notifications
from uhlp.evolution.observation import ObservationQueue
from uhlp.evolution.observer import Observer
from uhlp.evolution.oversight import Oversight
from uhlp.evolution.promotion import Promotion
from uhlp.evolution.questions import Questions
from uhlp.evolution.reference import Reference
from uhlp.evolution.returning import Returning
from uhlp.evolution.rollouts import LiveHandler, Rollouts
from uhlp.evolution.self_evolution_daemon import SelfEvolutionDaemon
from uhlp.evolution.store import EvolutionStore
from uhlp.evolution.usage_store import UsageStore
from uhlp.evolution.verification import Verifier
from uhlp.evolution.versions import ComponentVersions
from uhlp.execution import Executor, HandlerTests
from uhlp.llm import Budgets, UsageBook
from uhlp.llm.generation import GenerateRequest, Generation
from uhlp.metering import NullMeter
from uhlp.metrics import Windows
from uhlp.models.definition import AppDefinition
from uhlp.optimization.optimization_oracle import OptimizationOracle
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.routing.config import SlotSettings
from uhlp.routing.fair_slots import FairSlots
from uhlp.routing.request import RoutedAnswer, RoutedRequest
from uhlp.routing.request_router import RequestRouter
from uhlp.routing.rollout import Rollout
from uhlp.runner import runtime
from uhlp.runner.artifacts import ArtifactStore
from uhlp.runner.jit import JitRunner
from uhlp.runner.llm import LlmRunner
from uhlp.runner.runtime import ToolFailed
from uhlp.sandbox.config import SandboxSettings
from uhlp.sandbox.drivers.fake import FakeDriver
from uhlp.sandbox.drivers.fake_worker import FakeWorker, response
from uhlp.sandbox.manager import SandboxManager
from uhlp.state.definition_store import DefinitionStore
from uhlp.state.runtime_store import RuntimeStore
from uhlp.state.sqlite_runtime_store import SqliteRuntimeStore
from uhlp.state.state_manager import StateManager
from uhlp.tools import CoreMCPServer
from uhlp.traffic.samples import SampleStore
from uhlp.traffic.split import input_hash, split_of

APP = "shop"
PARSE = "parse"
JUDGE = "judge-1"
LEASE_S = 15.0
_BLOCK = re.compile(r"```json\n(.*?)\n```", re.DOTALL)
PRODUCTS = ("apples", "pears", "plums", "nuts", "figs", "limes", "dates")

GOOD = """\
import re
from uhlp_runtime import Deoptimize

LINE = re.compile(r"(\\d+) ([a-z]+)")


def handle(inputs, context):
    found = LINE.fullmatch(inputs["text"])
    if found is None:
        raise Deoptimize("no order line")
    return {"quantity": int(found[1]), "product": found[2]}
"""
TESTS = """\
from handler import handle


def test_an_order_line():
    assert handle({"text": "2 apples"}, {}) == {"quantity": 2, "product": "apples"}
"""
FORGETS_PEARS = GOOD.replace('"product": found[2]', '"product": found[2].replace("pears", "apples")')

PARSE_OUTPUT = {
    "type": "object",
    "properties": {"quantity": {"type": "integer"}, "product": {"type": "string"}},
    "required": ["quantity", "product"],
}


def parse(inputs: dict[str, Any]) -> Any:
    """What the model does: "3 apples" is 3 apples, and what it cannot read is 0 of nothing."""
    quantity, _, product = inputs["text"].partition(" ")
    if quantity.isdigit() and product.isalpha():
        return {"quantity": int(quantity), "product": product}
    return {"quantity": 0, "product": "nothing"}


def coder_answer(code: str = GOOD, tests: str = TESTS, guard: str = "plain order lines") -> str:
    return json.dumps({"code": code, "tests": tests, "guard": guard})


def line(number: int) -> str:
    return f"{number} {PRODUCTS[number % len(PRODUCTS)]}"


def lines(
    count: int, *, start: int = 1, split: str | None = None, product: str | None = None, without: str = "-"
) -> list[str]:
    """`count` different order lines; if asked of one side of the split, with one product or without one."""
    found: list[str] = []
    number = start
    while len(found) < count:
        text = line(number)
        fits = split is None or split_of(input_hash({"text": text})) == split
        if fits and (product is None or text.endswith(product)) and without not in text:
            found.append(text)
        number += 1
    return found


class ScriptedGateway:
    """The model behind the gateway: `answer` is what it does, `coder` what it writes when it is asked for code.

    The model named JUDGE is asked which of two answers is right: `judge` says "A", "B", "both", "neither", or nonsense.
    """

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.answer: Callable[[dict[str, Any]], Any] = parse
        self.by_prompt: Callable[[str, dict[str, Any]], Any] | None = None
        """What it does where the wording of the prompt matters."""
        self.coder: deque[str | Exception] = deque()
        self.judge: Callable[[Any, Any, Any], str] = lambda value, a, b: "neither"
        self.judgements: list[str] = []
        self.is_down = False
        self.answers_left: int | None = None
        """After so many more answers for components it is down for them; coders are still answered."""
        self.second_thoughts: dict[str, asyncio.Event | Exception] = {}
        """By input text: what any answer but the first waits for, or fails with."""
        self.coder_usd: float | None = 0.002
        """What the coder is expected to take."""
        self.noise = 0.0
        self.tokens_of: Callable[[str], int] = lambda prompt: 100
        self.latency_s = 0.0
        self.asked: list[dict[str, Any]] = []
        self.timeouts: list[float | None] = []
        """The time that each question of a component had."""
        self.prompts: list[str] = []
        """What components' prompts said, as they were rendered."""
        self.specifications: list[str] = []
        self.providers = ("scripted",)
        self._random = Random(7)

    async def price_usd(self, request: GenerateRequest, *, tokens_in: int, tokens_out: int) -> float | None:
        return self.coder_usd

    async def generate(self, request: GenerateRequest, *, timeout_s: float | None = None) -> Generation:
        if request.model == JUDGE:
            return self._judgement(request.messages[0]["content"])
        is_coder = request.replay_input is None
        if self.is_down or (self.answers_left == 0 and not is_coder):
            raise ModelProviderUnavailable("the model is down")
        self.clock.advance(self.latency_s)
        if is_coder:
            self.specifications.append("\n".join(message["content"] for message in request.messages))
            text = self.coder.popleft() if self.coder else "I have no idea."
            if isinstance(text, Exception):
                raise text
        else:
            if request.replay_input in self.asked:
                await self._think(request.replay_input["text"])
            self.asked.append(request.replay_input)
            self.timeouts.append(timeout_s)
            self.prompts.append(request.messages[0]["content"])
            self.answers_left = None if self.answers_left is None else self.answers_left - 1
            text = json.dumps(self._value(request.replay_input, request.messages[0]["content"]))
        tokens_in = self.tokens_of(request.messages[0]["content"])
        return Generation(text, "scripted-1", "scripted", tokens_in, 10, 0.001, self.latency_s * 1000)

    async def _think(self, text: str) -> None:
        found = self.second_thoughts.get(text)
        if isinstance(found, Exception):
            raise found
        if found is not None:
            await found.wait()

    def _judgement(self, prompt: str) -> Generation:
        self.judgements.append(prompt)
        value, a, b = (json.loads(block) for block in _BLOCK.findall(prompt.split("\n---\n")[1]))
        text = json.dumps({"verdict": self.judge(value, a, b), "why": "so it seems"})
        return Generation(text, JUDGE, "scripted", 200, 20, 0.002, 0.0)

    def _value(self, inputs: dict[str, Any], prompt: str) -> Any:
        value = self.answer(inputs) if self.by_prompt is None else self.by_prompt(prompt, inputs)
        if self._random.random() < self.noise:
            return {"quantity": self._random.randrange(10**6), "product": "noise"}
        return value


class InProcessRunner:
    """The real runner's code, without a process of its own. `faults` by input text: hang, die, tool-then-fail."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.faults: dict[str, str] = {}
        self.tool_calls: dict[str, list[tuple[str, dict[str, Any]]]] = {"JIT": [], "LLM": []}
        """By handler type: what every execution asks tools for, before it does anything else."""
        self.told: list[tuple[str, Any]] = []
        """(handler type, what a tool answered)."""
        self.handler_latency_s = 0.0
        self.executed: list[tuple[str, Any]] = []
        """(handler type, input) of every execution."""
        self._artifacts = ArtifactStore()
        self._jit = JitRunner(self._artifacts)
        self._llm = LlmRunner()
        sys.modules["uhlp_runtime"] = runtime

    async def __call__(self, worker: FakeWorker, request: dict[str, Any]) -> dict[str, Any] | None:
        context, inputs = request["context"], request["requestData"]["input"]
        for reference in (context["task"]["artifact"], context["task"].get("tests")):
            if reference is not None:
                self._artifacts.put(reference["sha256"], reference["path"], worker.artifacts[reference["sha256"]])
        self.executed.append((context["handlerType"], inputs))
        for name, arguments in self.tool_calls.get(context["handlerType"], ()):
            answer = await worker.call_tool(request["requestId"], name, arguments)
            self.told.append((context["handlerType"], answer.get("result")))
            if "error" in answer:
                return response(request, {"code": "HANDLER_FAILED", "message": "a tool failed"}, "error")
        if context["handlerType"] == "LLM":
            return await self._prompt(worker, request)
        if context["handlerType"] == "TESTS":
            return response(request, self._tests(context["task"]))
        self.clock.advance(self.handler_latency_s)
        fault = self.faults.get(inputs.get("text", ""))
        if fault == "hang":
            return None
        if fault == "die":
            worker.end("exited")
            return None
        if fault == "tool-then-fail":
            message = {"level": "info", "message": "charged the card"}
            await worker.call_tool(request["requestId"], "core.framework.logFrameworkMessage", message)
            return response(request, {"code": "HANDLER_FAILED", "message": "failed"}, "error")
        answer = self._jit.run(request)
        return response(request, _plain(answer.data), answer.result_type)

    async def _prompt(self, worker: FakeWorker, request: dict[str, Any]) -> dict[str, Any]:
        context = request["context"]
        artifact = self._artifacts.get(context["task"]["artifact"]["sha256"])
        flags = context.get("experiment", {}).get("flags", {})
        execution = self._llm.start(artifact, request["requestData"]["input"], flags)
        try:
            call = next(execution)
            while True:
                answer = await worker.call_tool(request["requestId"], call.name, call.arguments)
                if "result" in answer:
                    call = execution.send(answer["result"])
                else:
                    error = answer["error"]
                    call = execution.throw(ToolFailed(error["data"]["code"], error["message"]))
        except StopIteration as stop:
            return response(request, _plain(stop.value.data), stop.value.result_type)

    def _tests(self, task: dict[str, Any]) -> dict[str, Any]:
        handler = types.ModuleType("handler")
        exec(self._artifacts.get(task["artifact"]["sha256"]).text, handler.__dict__)
        sys.modules["handler"] = handler
        namespace: dict[str, Any] = {}
        exec(self._artifacts.get(task["tests"]["sha256"]).text, namespace)
        failures, passed = [], 0
        for name, test in [(name, one) for name, one in namespace.items() if name.startswith("test_")]:
            try:
                test()
                passed += 1
            except Exception as error:
                failures.append({"name": name, "message": repr(error)})
        total = passed + len(failures)
        return {
            "passed": passed, "failed": len(failures), "errors": 0, "total": total,
            "report": f"{passed} passed, {len(failures)} failed", "failures": failures,
        }  # fmt: skip


def _plain(data: Any) -> Any:
    """Runner answers may hold ready JSON."""
    return orjson.loads(orjson.dumps(data))


class CountingMeter(NullMeter):
    """Counts by (name, labels)."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, ...], float] = {}

    def counter(self, name: str, documentation: str, labelnames: Any = ()) -> Any:  # type: ignore[override]
        meter = self

        class Child:
            def __init__(self, key: tuple[str, ...]) -> None:
                self.key = key

            def inc(self, amount: float = 1) -> None:
                meter.counts[self.key] = meter.counts.get(self.key, 0) + amount

            def labels(self, *values: Any) -> "Child":
                return Child((name, *(str(one) for one in values)))

        return Child((name,))


CONFIG = EvolutionConfig(
    verify=VerifyConfig(min_train=10, concurrency=1),
    canary=CanaryConfig(min_executions=10, min_step_s=60.0, audit_share=0.2),
    noise=NoiseConfig(aa_samples=5),
    limits=LimitsConfig(compilations_per_hour=2, usd_per_day=10.0),
    rejit=RejitConfig(),
)


def component(component_id: str = PARSE, **definition: Any) -> dict[str, Any]:
    """A component that reads order lines; at epsilon 10 % it takes 41 clean comparisons to prove it."""
    return {
        "componentId": component_id,
        "description": "Read an order line",
        "handlerType": "LLM",
        "taskDetails": {"prompt_template": component_id},
        "routeMatcher": {"pathPattern": f"/{component_id}", "methods": ["POST"]},
        "outputSchema": PARSE_OUTPUT,
        **definition,
        "optimization": {"epsilon": 0.1, **definition.get("optimization", {})},
    }


def files(*components: dict[str, Any], golden: dict[str, list[tuple[str, Any]]] | None = None) -> dict[str, bytes]:
    """The definition files of an application with these components; `golden` by component: (text, expected)."""
    components = components or (component(),)
    made = {"component_registry.yaml": json.dumps({"components": list(components)}).encode()}
    for one in components:
        made[f"prompts/{one['componentId']}.yaml"] = b'template: "Read this order line: {{ text }}"\n'
    for component_id, examples in (golden or {}).items():
        rows = [{"id": str(n), "input": {"text": text}, "expected": value} for n, (text, value) in enumerate(examples)]
        made[f"evals/{component_id}.jsonl"] = "".join(json.dumps(row) + "\n" for row in rows).encode()
    return made


class World:
    """Everything that wiring would make, driven by hand. A subclass may pass other parts.

    With `leases` it shares the right to decide with whoever else uses them; without, it always decides.
    """

    make_book: Callable[..., CandidateBook] = CandidateBook
    make_governor: Callable[..., SafetyGovernor] = SafetyGovernor
    make_rollouts: Callable[..., Rollouts] = Rollouts
    make_samples: Callable[..., SampleStore] = SampleStore
    leases: RuntimeStore | None = None

    def __init__(self, folder: Path, clock: FakeClock, config: EvolutionConfig = CONFIG, **oracle: Any) -> None:
        self.folder, self.clock, self.config = folder, clock, config
        self.model = ScriptedGateway(clock)
        self.runner = InProcessRunner(clock)
        self.meter, self.tool_meter = CountingMeter(), CountingMeter()
        self.make_driver: Callable[[], Any] = lambda: FakeDriver(self.runner)
        self.fence: Callable[[], int | None] = lambda: self.leadership.token()
        self.step: Callable[[str], None] = unwatched
        self._oracle_settings = oracle
        self._numbers = count(1)
        self._stack = AsyncExitStack()

    async def open(self) -> None:
        meter, clock = self.meter, self.clock
        config = self.numbers = EvolutionNumbers(self.config)
        self._stack = stack = AsyncExitStack()
        runtime_store = SqliteRuntimeStore(self.folder / "runtime.db")
        stack.push_async_callback(runtime_store.aclose)
        self.definitions = DefinitionStore(self.folder / "apps", clock=clock)
        self.state = StateManager(definitions=self.definitions, runtime=runtime_store)
        self.registry = ApplicationRegistry(state=self.state)
        stack.callback(self.registry.close)
        await self.registry.load_all()
        self.windows = Windows(clock=clock)
        self.samples = self.make_samples(self.folder / "samples.db", clock=clock)
        stack.push_async_callback(self.samples.close)
        self.usage_book = UsageBook(clock=clock)
        self.budgets = Budgets(usage=self.usage_book, clock=clock, evolution=lambda: self.config.limits.budget)
        tools = CoreMCPServer(
            gateway=self.model, metrics=_NoMetrics(), clock=clock, meter=self.tool_meter, budgets=self.budgets
        )
        self.driver = self.make_driver()
        self.sandboxes = SandboxManager(
            driver=self.driver, config=SandboxSettings(drain_s=0), clock=SystemClock(), meter=NullMeter()
        )
        await self.sandboxes.open()
        stack.push_async_callback(self.sandboxes.close)
        self.executor = Executor(
            sandboxes=self.sandboxes, tools=tools, clock=clock, meter=NullMeter(), deployment_mode="development"
        )
        self.store = EvolutionStore(
            path=self.folder / "evolution.db", clock=clock,
            config=self.config.model_copy(update={"evidence_save_s": 0.0}), fence=lambda: self.fence(),
            step=lambda name: self.step(name),
        )  # fmt: skip
        await stack.enter_async_context(self.store)
        self.leadership = Leadership(leases=self.leases, holder=uuid4().hex, ttl_s=LEASE_S, clock=clock)
        await self.leadership.open(above=await self.store.newest_token())
        self.usage = await stack.enter_async_context(
            UsageStore(path=self.folder / "evolution.db", book=self.usage_book)
        )
        self.audit_debt = AuditDebt(budgets=self.budgets)
        self.rollouts, self.observations = self.make_rollouts(), ObservationQueue(meter=meter, capacity=1000)
        self.oracle = OptimizationOracle(
            self.registry, self.state, self.windows, tools, clock=clock, **self._oracle_settings,
            has_candidate=lambda app_id, component_id: self.book.open_candidate(app_id, component_id) is not None,
        )  # fmt: skip
        judge = Judge(mcp_client=tools, clock=clock, config=config)
        self.reference = Reference(executor=self.executor, adjudications=self.samples.adjudications, judge=judge)
        questions = Questions(adjudications=self.samples.adjudications, clock=clock)
        self.book = self.make_book(
            store=self.store, clock=clock, meter=meter, new_id=lambda: f"c-{next(self._numbers):012}"
        )  # an id salts the arms of a canary: a world's are the same in every run
        self.promotion = Promotion(book=self.book, app_registry=self.registry, state_manager=self.state)
        self.anchors = LedgerAnchors(store=self.store, state_manager=self.state)
        self.governor = self.make_governor(
            book=self.book, store=self.store, rollouts=self.rollouts, promotion=self.promotion, anchors=self.anchors,
            app_registry=self.registry, windows=self.windows, clock=clock, meter=meter, config=config,
        )  # fmt: skip
        handler_tests = HandlerTests(sandboxes=self.sandboxes, deployment_mode="development")
        self.verifier = Verifier(
            executor=self.executor, handler_tests=handler_tests, reference=self.reference, config=config
        )
        self.compiler = Compiler(
            book=self.book, store=self.store, governor=self.governor,
            drafting=Drafting(
                book=self.book, store=self.store, oracle=self.oracle, verifier=self.verifier, config=config
            ),
            verifier=self.verifier, promotion=self.promotion, reference=self.reference, questions=questions,
            executor=self.executor, samples=self.samples, app_registry=self.registry, config=config,
            compression=self.make_compression(), budgets=self.budgets,
        )  # fmt: skip
        expectations = Expectations(
            windows=self.windows, usage=self.usage, usage_book=self.usage_book, budgets=self.budgets,
            prices=self.model, book=self.book, config=config,
        )  # fmt: skip
        self.discoveries = Discoveries(
            expectations=expectations, app_registry=self.registry, clock=clock, config=config
        )
        self.daemon = SelfEvolutionDaemon(
            book=self.book, store=self.store, rollouts=self.rollouts, governor=self.governor, compiler=self.compiler,
            promotion=self.promotion, oracle=self.oracle, discoveries=self.discoveries, budgets=self.budgets,
            samples=self.samples, app_registry=self.registry, clock=clock, config=config,
        )  # fmt: skip
        await self.daemon.open()
        self.observer = Observer(
            queue=self.observations, executor=self.executor, reference=self.reference, questions=questions,
            governor=self.governor, audit_debt=self.audit_debt, random=Random(3), config=config,
        )  # fmt: skip
        self.versions = ComponentVersions(
            book=self.book, store=self.store, promotion=self.promotion, app_registry=self.registry,
            state_manager=self.state, clock=clock,
            returning=Returning(
                book=self.book, governor=self.governor, promotion=self.promotion, anchors=self.anchors,
                app_registry=self.registry, state_manager=self.state,
            ),
        )  # fmt: skip
        self.notifications = Notifications(store=self.store, clock=clock)
        self.alert_watch = AlertWatch(
            notifications=self.notifications, book=self.book, governor=self.governor, budgets=self.budgets,
            app_registry=self.registry, windows=self.windows, sandbox_problems=self.sandboxes.problems,
        )  # fmt: skip
        self.money = Money(
            usage=self.usage, budgets=self.budgets, audit_debt=self.audit_debt, discoveries=self.discoveries,
            book=self.book, store=self.store, app_registry=self.registry, config=config,
        )  # fmt: skip
        self.oversight = Oversight(
            book=self.book, store=self.store, anchors=self.anchors, governor=self.governor, daemon=self.daemon,
            compiler=self.compiler,
            promotion=self.promotion, oracle=self.oracle, samples=self.samples, money=self.money, windows=self.windows,
            app_registry=self.registry, clock=clock, config=config,
            leadership=self.leadership, alert_watch=self.alert_watch,
        )  # fmt: skip
        self.router = self.make_router()

    def make_router(
        self,
        *,
        deopt_every_n: int | None = None,
        slots: SlotSettings = SlotSettings(),  # noqa: B008  frozen
        observations: ObservationQueue | None = None,
    ) -> RequestRouter:
        return RequestRouter(
            executor=self.executor, slots=FairSlots(settings=slots, meter=self.meter),
            rollout=Rollout(rollouts=self.rollouts, audit_debt=self.audit_debt),
            observations=self.observations if observations is None else observations,
            windows=self.windows, samples=self.samples, usage=self.usage_book, clock=self.clock, meter=self.meter,
            deopt_every_n=deopt_every_n,
        )  # fmt: skip

    def make_compression(self) -> Compression | None:
        """Where prompts may be shortened (`PromptWorld`)."""
        return None

    async def close(self, *, crash: bool = False) -> None:
        """End the server; with `crash` nothing is saved that was not saved before."""
        if crash:
            self.book._unsaved.clear()
            self.store._unsaved.clear()
        else:
            await self.daemon.aclose()
            await self.leadership.aclose()
        await self._stack.aclose()

    async def restart(self, *, crash: bool = True) -> None:
        await self.close(crash=crash)
        await self.open()

    # -- the application

    async def register(self, *components: dict[str, Any], app: dict[str, Any] | None = None, **more: Any) -> None:
        definition = AppDefinition.model_validate({"appId": APP, **(app or {})})
        await self.registry.register_application(definition, files=files(*components, **more))

    async def change_prompt(self, component_id: str = PARSE) -> None:
        changed = {f"prompts/{component_id}.yaml": b'template: "Read this carefully: {{ text }}"\n'}
        await self.registry.apply_files(APP, changed, message="Say it better")

    def spec_hash(self, component_id: str = PARSE) -> str:
        return self.registry.snapshot(APP).components[component_id].spec_hash

    async def record(
        self, texts: list[str], component_id: str = PARSE, *, latency_ms: float = 200.0, output: Any = None
    ) -> None:
        """Answers of the model from before."""
        for text in texts:
            self.samples.record_served(
                APP, component_id, input={"text": text}, output=output or self.model.answer({"text": text}),
                implementation="prompt@stable", handler="llm", latency_ms=latency_ms, tokens_in=1, tokens_out=1,
                cost_usd=0.0, ok=True, trace_id="t", spec_hash=self.spec_hash(component_id),
            )  # fmt: skip
        await self.samples.flush()

    async def send(
        self, text: str, component_id: str = PARSE, *, session: str | None = None, observe: bool = True
    ) -> RoutedAnswer:
        """One request, and everything that follows from it off the request path."""
        app = self.registry.snapshot(APP)
        request = RoutedRequest(
            app=app, component=app.components[component_id], input={"text": text}, trace_id=uuid4().hex,
            session_id=session,
        )  # fmt: skip
        try:
            return await self.router.handle(request)
        finally:
            if observe:
                await self.observe()

    async def send_all(self, texts: list[str], component_id: str = PARSE) -> list[RoutedAnswer]:
        return [await self.send(text, component_id) for text in texts]

    async def observe(self) -> None:
        cycle = self.leadership.measuring(self.observer.run_cycle)
        while len(self.observations):
            await cycle()

    # -- evolution

    async def optimize(self, component_id: str = PARSE, *, compiled: bool = True) -> str:
        candidate_id = await self.oversight.optimize(
            APP, component_id, action="jit", actor="ann", reason="try it", proposer="coder"
        )
        if compiled:
            await self.compiler.compile(candidate_id)
        return candidate_id

    def live(self, component_id: str = PARSE) -> LiveHandler | None:
        """The handler in traffic: the candidate's, else the one in service."""
        live = self.rollouts.in_traffic(APP, component_id)
        return live.candidate or live.baseline

    def state_of(self, candidate_id: str) -> str:
        return str(self.book.candidate(candidate_id).state)

    async def to_state(self, state: str, component_id: str = PARSE, *, code: str = GOOD, without: str = "-") -> str:
        """A candidate that has come as far as `state`: discovered, shadow, canary or promoted.

        It has never seen orders of the product `without`.
        """
        train = 0 if state == "discovered" else 30
        held_out = {"discovered": 0, "shadow": 10}.get(state, 60)
        await self.record(lines(train, split="train", without=without), component_id)
        await self.record(lines(held_out, split="held_out", without=without), component_id)
        self.model.coder.append(coder_answer(code))
        candidate_id = await self.optimize(component_id)
        if state == "promoted":
            await self.pass_canary(candidate_id, without=without)
        assert self.state_of(candidate_id) == state, self.book.candidate(candidate_id).reason
        return candidate_id

    async def optimize_proven(self, component_id: str, *, held_out: int = 60) -> str:
        """A candidate whose epsilon is proven by recordings, whatever then holds it."""
        await self.record(lines(30, split="train") + lines(held_out, split="held_out"), component_id)
        self.model.coder.append(coder_answer())
        return await self.optimize(component_id)

    async def pass_canary(self, candidate_id: str, *, without: str = "-") -> None:
        """Traffic and time until the candidate is no canary any more."""
        component_id = self.book.candidate(candidate_id).component_id
        start = 10_000
        for _ in range(60):
            if self.state_of(candidate_id) != "canary":
                return
            await self.send_all(lines(25, start=start, without=without), component_id)
            start += 30
            self.clock.advance(61)
            await self.daemon.run_cycle()
        raise AssertionError(f"still {self.book.candidate(candidate_id)}")

    async def timeline(self, candidate_id: str) -> list[str]:
        """The states it went through, from the ledger."""
        return [
            one.entry.to_state
            for one in await self.store.entries(candidate_id=candidate_id, limit=1000)
            if one.entry.event in ("created", "moved")
        ]

    async def check(self) -> None:
        """What must hold at the end of every world: the chain is whole, state is the fold of the ledger."""
        report = await self.store.verify()
        assert report.ok, report
        assert await self.store.check_fold() == []
        for sealed in await self.store.entries(limit=100_000):
            assert sealed.entry.actor
            assert sealed.entry.reason


class _NoMetrics:
    async def record_metric(self, metric_data: dict[str, Any]) -> None:
        raise AssertionError("nothing here records metrics")

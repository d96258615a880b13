"""The governor's whole machine, composed for one run: everything is real but sandbox, model, coder and time.

Databases are in memory and repositories in a temporary directory, best one in memory: nothing here has to survive.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from uhlp.bench.actors import HandlerScript, ModelScript, NoPrices, ScriptedCoder, ScriptedExecutor, ScriptedTests
from uhlp.clock import FakeClock
from uhlp.evolution.audit_debt import AuditDebt
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.compiler import Compiler
from uhlp.evolution.config import EvolutionConfig
from uhlp.evolution.discoveries import Discoveries
from uhlp.evolution.drafting import Drafting
from uhlp.evolution.expectation import Expectations
from uhlp.evolution.governor import SafetyGovernor
from uhlp.evolution.ledger_anchors import LedgerAnchors
from uhlp.evolution.observation import ObservationQueue
from uhlp.evolution.observer import Observer
from uhlp.evolution.promotion import Promotion
from uhlp.evolution.questions import Questions
from uhlp.evolution.reference import Reference
from uhlp.evolution.rollouts import Rollouts
from uhlp.evolution.self_evolution_daemon import SelfEvolutionDaemon
from uhlp.evolution.store import EvolutionStore
from uhlp.evolution.usage_store import UsageStore
from uhlp.evolution.verification import Verifier
from uhlp.llm import Budgets, UsageBook
from uhlp.metering import NullMeter
from uhlp.metrics import Windows
from uhlp.models.definition import AppDefinition
from uhlp.optimization.optimization_oracle import OptimizationOracle
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.registry.config import RegistrySettings
from uhlp.routing.config import SlotSettings
from uhlp.routing.fair_slots import FairSlots
from uhlp.routing.request_router import RequestRouter
from uhlp.routing.rollout import Rollout
from uhlp.state.definition_store import DefinitionStore
from uhlp.state.sqlite_runtime_store import SqliteRuntimeStore
from uhlp.state.state_manager import StateManager
from uhlp.traffic.samples import SampleStore

APP, COMPONENT = "bench", "label"
_IN_MEMORY = Path(":memory:")
_NO_KEYS = RegistrySettings(argon2_memory_kib=8, argon2_time_cost=1)
"""Nobody asks for a key here, and the dummy that hides which keys exist need not be dear."""


@dataclass(frozen=True, slots=True)
class Machine:
    """One component of one application, and what decides about it.

    `recording` routes requests and keeps samples of them, `serving` keeps none: after compilation nothing reads them.
    """

    clock: FakeClock
    executor: ScriptedExecutor
    registry: ApplicationRegistry
    book: CandidateBook
    store: EvolutionStore
    samples: SampleStore
    compiler: Compiler
    daemon: SelfEvolutionDaemon
    observer: Observer
    observations: ObservationQueue
    recording: RequestRouter
    serving: RequestRouter


@asynccontextmanager
async def open_machine(
    directory: Path,
    *,
    model: ModelScript,
    handler: HandlerScript,
    optimization: dict[str, Any],
    config: EvolutionConfig,
    seed: int,
) -> AsyncIterator[Machine]:
    """A machine with a registered component; `optimization` is the component's, in wire names."""
    clock, meter = FakeClock(), NullMeter()
    async with AsyncExitStack() as stack:
        runtime = SqliteRuntimeStore(_IN_MEMORY)
        stack.push_async_callback(runtime.aclose)
        state = StateManager(definitions=DefinitionStore(directory, clock=clock), runtime=runtime)
        registry = ApplicationRegistry(state=state, config=_NO_KEYS)
        stack.callback(registry.close)
        samples, no_samples = SampleStore(_IN_MEMORY, clock=clock), SampleStore(_IN_MEMORY, clock=clock, queue_size=0)
        for one in (samples, no_samples):
            stack.push_async_callback(one.close)
        store = await stack.enter_async_context(EvolutionStore(path=_IN_MEMORY, clock=clock, config=config))
        usage_book = UsageBook(clock=clock)
        usage = await stack.enter_async_context(UsageStore(path=_IN_MEMORY, book=usage_book))
        windows, rollouts, observations = Windows(clock=clock), Rollouts(), ObservationQueue(meter=meter)
        executor = ScriptedExecutor(model=model, handler=handler, clock=clock, seed=seed)
        budgets = Budgets(usage=usage_book, clock=clock, evolution=lambda: config.limits.budget)
        audit_debt = AuditDebt(budgets=budgets)
        oracle = OptimizationOracle(registry, state, windows, ScriptedCoder(), clock=clock)
        reference = Reference(executor=executor, adjudications=samples.adjudications)
        questions = Questions(adjudications=samples.adjudications, clock=clock)
        numbers = count(1)
        book = CandidateBook(store=store, clock=clock, meter=meter, new_id=lambda: f"c-{seed}-{next(numbers)}")
        promotion = Promotion(book=book, app_registry=registry, state_manager=state)
        governor = SafetyGovernor(
            book=book, store=store, rollouts=rollouts, promotion=promotion,
            anchors=LedgerAnchors(store=store, state_manager=state), app_registry=registry, windows=windows,
            clock=clock, config=config,
        )  # fmt: skip
        verifier = Verifier(executor=executor, handler_tests=ScriptedTests(), reference=reference, config=config)
        compiler = Compiler(
            book=book, store=store, governor=governor,
            drafting=Drafting(book=book, store=store, oracle=oracle, verifier=verifier, config=config),
            verifier=verifier, promotion=promotion, reference=reference, questions=questions, executor=executor,
            samples=samples, app_registry=registry, config=config,
        )  # fmt: skip
        expectations = Expectations(
            windows=windows, usage=usage, usage_book=usage_book, budgets=budgets, prices=NoPrices(), book=book,
            config=config,
        )  # fmt: skip
        discoveries = Discoveries(expectations=expectations, app_registry=registry, clock=clock, config=config)
        daemon = SelfEvolutionDaemon(
            book=book, store=store, rollouts=rollouts, governor=governor, compiler=compiler, promotion=promotion,
            oracle=oracle, discoveries=discoveries, budgets=budgets, samples=samples, app_registry=registry,
            clock=clock, config=config,
        )  # fmt: skip
        await daemon.open()
        stack.push_async_callback(daemon.aclose)
        observer = Observer(
            queue=observations, executor=executor, reference=reference, questions=questions, governor=governor,
            audit_debt=audit_debt, config=config, random=Random(seed),  # noqa: S311  a simulation
        )  # fmt: skip

        def router(kept: SampleStore) -> RequestRouter:
            return RequestRouter(
                executor=executor, slots=FairSlots(settings=SlotSettings(), meter=meter),
                rollout=Rollout(rollouts=rollouts, audit_debt=audit_debt),
                observations=observations, windows=windows, samples=kept, usage=usage_book, clock=clock, meter=meter,
            )  # fmt: skip

        await registry.register_application(AppDefinition.model_validate(_definition(optimization)), files=_PROMPT)
        yield Machine(
            clock=clock, executor=executor, registry=registry, book=book, store=store, samples=samples,
            compiler=compiler, daemon=daemon, observer=observer, observations=observations,
            recording=router(samples), serving=router(no_samples),
        )  # fmt: skip


_PROMPT = {f"prompts/{COMPONENT}.yaml": b'template: "Which label has {{ number }}?"\n'}


def _definition(optimization: dict[str, Any]) -> dict[str, Any]:
    component = {
        "componentId": COMPONENT,
        "handlerType": "LLM",
        "taskDetails": {"prompt_template": COMPONENT},
        "routeMatcher": {"pathPattern": f"/{COMPONENT}", "methods": ["POST"]},
        "optimization": optimization,
    }
    return {"appId": APP, "initialComponentRegistry": {"components": [component]}}

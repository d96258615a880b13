"""The composition root: the only file that names implementations. Opens in order, closes in reverse."""

import asyncio
import fcntl
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from random import SystemRandom

import structlog

from uhlp.clock import SystemClock
from uhlp.errors import StateConflict, ValidationFailed
from uhlp.evolution.alert_watch import AlertWatch
from uhlp.evolution.audit_debt import AuditDebt
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.compiler import Compiler
from uhlp.evolution.discoveries import Discoveries
from uhlp.evolution.drafting import Drafting
from uhlp.evolution.expectation import Expectations
from uhlp.evolution.governor import SafetyGovernor
from uhlp.evolution.judge import Judge
from uhlp.evolution.leadership import Leadership, holder_name
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
from uhlp.evolution.rollouts import Rollouts
from uhlp.evolution.self_evolution_daemon import SelfEvolutionDaemon
from uhlp.evolution.store import EvolutionStore
from uhlp.evolution.usage_store import UsageStore
from uhlp.evolution.verification import Verifier
from uhlp.evolution.versions import ComponentVersions
from uhlp.evolution.webhooks import WebhookClient, webhooks_of
from uhlp.execution import Executor, HandlerTests
from uhlp.jsonschemas import schema_file
from uhlp.llm import Budgets, ModelGateway, UsageBook
from uhlp.logs import configure_logs
from uhlp.loops import LoopGroup, PeriodicLoop
from uhlp.metrics import MetricCollector, Windows
from uhlp.models.definition import PoolDefinition
from uhlp.optimization.optimization_oracle import OptimizationOracle
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.routing.request_router import RequestRouter
from uhlp.routing.rollout import Rollout
from uhlp.sandbox.client import Identity
from uhlp.sandbox.drivers.choice import make_driver
from uhlp.sandbox.manager import SandboxManager
from uhlp.secret_references import secret_reader
from uhlp.settings import Settings, admin_token_of, describe, read_settings
from uhlp.state.definition_store import DefinitionStore
from uhlp.state.redis_runtime_store import RedisRuntimeStore
from uhlp.state.runtime_store import RuntimeStore
from uhlp.state.sqlite_runtime_store import SqliteRuntimeStore
from uhlp.state.state_manager import StateManager
from uhlp.tools import CoreMCPServer
from uhlp.traffic.samples import SampleStore
from uhlp.web.services import Probe, Services

log = structlog.get_logger(__name__)

_OBSERVERS = 8
_COMPILERS = 4
_RECONCILE_S = 10.0
_ANCHOR_S = 3600.0
_WEBHOOK_S = 1.0
_KEEP_USAGE_S = 1.0


@asynccontextmanager
async def open_services() -> AsyncIterator[Services]:
    """Everything a server runs on, from the settings in force. Raises UhlpError when something cannot be opened."""
    settings = await asyncio.to_thread(read_settings)
    configure_logs(settings.log.format, settings.log.level)
    async with AsyncExitStack() as stack:
        _end_with_supervisor(stack)
        data_dir = await asyncio.to_thread(_open_data_dir, settings.data_dir, stack)
        token, is_new = await asyncio.to_thread(admin_token_of, settings)
        clock = SystemClock()
        metrics = MetricCollector(schema=schema_file("metric_record"), config=settings.metrics)
        windows = Windows(clock=clock)

        runtime = _runtime_store(settings, data_dir)
        stack.push_async_callback(runtime.aclose)
        state = StateManager(definitions=DefinitionStore(data_dir / "apps"), runtime=runtime)
        registry = ApplicationRegistry(
            state=state, config=settings.registry, meter=metrics, global_configuration=lambda: settings.configuration
        )
        stack.callback(registry.close)
        await registry.load_all()

        samples = SampleStore(data_dir / "samples.db", clock=clock, meter=metrics)
        stack.push_async_callback(samples.close)
        read_secret = secret_reader(os.environ, data_dir / "secrets")
        gateway = ModelGateway(
            settings=settings.llm,
            clock=clock,
            meter=metrics,
            read_secret=read_secret,
        )
        stack.push_async_callback(gateway.aclose)
        usage_book = UsageBook(clock=clock)
        budgets = Budgets(usage=usage_book, clock=clock, evolution=lambda: settings.evolution.limits.budget)
        tools = CoreMCPServer(gateway=gateway, metrics=metrics, clock=clock, meter=metrics, budgets=budgets)
        sandboxes = SandboxManager(
            driver=await make_driver(
                settings.sandbox,
                data_dir=data_dir,
                production=settings.deployment_mode == "production",
                clock=clock,
                read_secret=read_secret,
            ),
            config=settings.sandbox,
            clock=clock,
            meter=metrics,
            desired=lambda: _desired_pools(registry),
            runs_code=lambda app_id, identity: _runs_code(registry, app_id, identity),
        )
        await sandboxes.open()
        stack.push_async_callback(sandboxes.close)
        executor = Executor(
            sandboxes=sandboxes, tools=tools, clock=clock, meter=metrics, deployment_mode=settings.deployment_mode
        )

        leadership = Leadership(
            leases=None if settings.runtime.url == "sqlite" else runtime,
            holder=holder_name(),
            ttl_s=settings.runtime.lease_s,
            clock=clock,
        )
        store = EvolutionStore(
            path=data_dir / "evolution.db",
            clock=clock,
            evidence_save_s=settings.evolution.evidence_save_s,
            fence=leadership.token,
        )
        await stack.enter_async_context(store)
        await leadership.open(above=await store.newest_token())
        stack.push_async_callback(leadership.aclose)
        usage = await stack.enter_async_context(UsageStore(path=data_dir / "evolution.db", book=usage_book))
        audit_debt = AuditDebt(budgets=budgets)
        rollouts, observations = Rollouts(), ObservationQueue(meter=metrics)
        oracle = OptimizationOracle(
            registry, state, windows, tools,
            clock=clock,
            default_coder_model=settings.llm.coder_model,
            coder_timeout_s=settings.evolution.coder_timeout_s,
            global_rules=settings.optimization.rules,
            hold_windows=settings.evolution.hold_windows,
        )  # fmt: skip
        judge = Judge(mcp_client=tools, clock=clock, config=settings.evolution.judge)
        reference = Reference(executor=executor, adjudications=samples.adjudications, judge=judge)
        questions = Questions(adjudications=samples.adjudications, clock=clock)
        book = CandidateBook(store=store, clock=clock, meter=metrics)
        promotion = Promotion(book=book, app_registry=registry, state_manager=state)
        anchors = LedgerAnchors(store=store, state_manager=state)
        governor = SafetyGovernor(
            book=book, store=store, rollouts=rollouts, promotion=promotion, anchors=anchors, app_registry=registry,
            windows=windows, clock=clock, config=settings.evolution, always_shadow=settings.always_shadow,
        )  # fmt: skip
        verifier = Verifier(
            executor=executor,
            handler_tests=HandlerTests(
                sandboxes=sandboxes,
                deployment_mode=settings.deployment_mode,
                timeout_s=settings.evolution.verify.tests_timeout_s,
            ),
            reference=reference,
            config=settings.evolution,
        )
        compiler = Compiler(
            book=book, store=store, governor=governor,
            drafting=Drafting(book=book, store=store, oracle=oracle, verifier=verifier, config=settings.evolution),
            verifier=verifier, promotion=promotion, reference=reference, questions=questions, executor=executor,
            samples=samples, app_registry=registry, config=settings.evolution,
        )  # fmt: skip
        expectations = Expectations(
            windows=windows, usage=usage, usage_book=usage_book, budgets=budgets, prices=gateway, book=book,
            config=settings.evolution, default_coder_model=settings.llm.coder_model,
        )  # fmt: skip
        discoveries = Discoveries(
            expectations=expectations, app_registry=registry, clock=clock, cycle_s=settings.evolution.cycle_s
        )
        daemon = SelfEvolutionDaemon(
            book=book, store=store, rollouts=rollouts, governor=governor, compiler=compiler, promotion=promotion,
            oracle=oracle, discoveries=discoveries, budgets=budgets, samples=samples, app_registry=registry,
            clock=clock, config=settings.evolution,
        )  # fmt: skip
        await daemon.open()
        stack.push_async_callback(daemon.aclose)
        observer = Observer(
            queue=observations, executor=executor, reference=reference, questions=questions, governor=governor,
            audit_debt=audit_debt, random=SystemRandom(),
        )  # fmt: skip
        versions = ComponentVersions(
            book=book, store=store, promotion=promotion, app_registry=registry, state_manager=state, clock=clock,
            returning=Returning(
                book=book, governor=governor, promotion=promotion, anchors=anchors, app_registry=registry,
                state_manager=state,
            ),
        )  # fmt: skip
        notifications = Notifications(store=store, clock=clock)
        webhook_client = WebhookClient(timeout_s=settings.alerts.timeout_s)
        stack.push_async_callback(webhook_client.aclose)
        webhooks = webhooks_of(
            settings.alerts, read_secret=read_secret, post=webhook_client.post, clock=clock, meter=metrics
        )
        for webhook in webhooks:
            notifications.on_notification(webhook.offer)
        alert_watch = AlertWatch(
            notifications=notifications, book=book, governor=governor, budgets=budgets, app_registry=registry,
            windows=windows, sandbox_problems=sandboxes.problems,
        )  # fmt: skip
        money = Money(
            usage=usage, budgets=budgets, audit_debt=audit_debt, discoveries=discoveries, book=book, store=store,
            app_registry=registry, config=settings.evolution,
        )  # fmt: skip
        oversight = Oversight(
            book=book, store=store, anchors=anchors, governor=governor, daemon=daemon, compiler=compiler,
            promotion=promotion, oracle=oracle, samples=samples, money=money, windows=windows, app_registry=registry,
            clock=clock,
            config=settings.evolution, leadership=leadership,
            alert_watch=alert_watch, webhooks=webhooks,
        )  # fmt: skip
        router = RequestRouter(
            executor=executor, rollout=Rollout(rollouts=rollouts, audit_debt=audit_debt), observations=observations,
            windows=windows, samples=samples, usage=usage_book, clock=clock, meter=metrics,
            deopt_every_n=settings.deopt_every_n,
        )  # fmt: skip

        def loop(name: str, cycle: Callable[[], Awaitable[object]], period_s: float) -> PeriodicLoop:
            return PeriodicLoop(name, cycle, period_s, clock, meter=metrics)

        def workers(name: str, cycle: Callable[[], Awaitable[object]], number: int) -> list[PeriodicLoop]:
            return [
                PeriodicLoop(f"{name}-{one}", cycle, 0.0, clock, meter=metrics, waits_for_work=True)
                for one in range(1, number + 1)
            ]

        cycle_s = settings.evolution.cycle_s
        loops = LoopGroup(
            [
                loop("registry", registry.run_cycle, _RECONCILE_S),
                loop("models", gateway.run_cycle, _RECONCILE_S),
                loop("sandboxes", sandboxes.run_cycle, _RECONCILE_S),
                loop("sandbox-driver", sandboxes.run_driver_cycle, _RECONCILE_S),
                loop("leadership", leadership.run_cycle, leadership.renew_every_s),
                loop("oracle", leadership.when_leading(oracle.run_optimization_cycle), cycle_s),
                loop("evolution", leadership.when_leading(daemon.run_cycle), cycle_s),
                loop("ledger-anchors", leadership.when_leading(anchors.run_cycle), _ANCHOR_S),
                loop("usage", usage.run_cycle, _KEEP_USAGE_S),
                loop("alerts", alert_watch.run_cycle, cycle_s),
                *(
                    PeriodicLoop(one.name, one.run_cycle, _WEBHOOK_S, clock, meter=metrics, waits_for_work=True)
                    for one in webhooks
                ),
                *workers("compiler", leadership.once_leading(compiler.run_cycle), _COMPILERS),
                *workers("observer", leadership.measuring(observer.run_cycle), _OBSERVERS),
            ]
        )
        for webhook in webhooks:
            webhook.on_offer(partial(loops.wake, webhook.name))
        leadership.on_gain(lambda: loops.wake("evolution"))
        registry.on_change(lambda app_id: loops.wake("evolution"))  # a changed specification voids at once
        registry.on_change(lambda app_id: loops.wake("sandboxes"))  # pools follow what is desired at once
        await stack.enter_async_context(loops)
        if is_new:
            print(f"admin token (shown once, kept in {data_dir / 'admin_token'}): {token}", flush=True)
        log.info("ready", data_dir=str(data_dir), applications=len(registry.app_ids()), providers=gateway.providers,
                 isolation=sandboxes.capabilities.isolation)  # fmt: skip
        yield Services(
            clock=clock,
            registry=registry,
            state=state,
            router=router,
            metrics=metrics,
            windows=windows,
            samples=samples,
            sandboxes=sandboxes,
            evolution=oversight,
            notifications=notifications,
            versions=versions,
            admin_token=token,
            settings=settings.limits.model_copy(
                update={"secure_cookies": settings.limits.secure_cookies or settings.deployment_mode == "production"}
            ),
            probes=_probes(
                runtime=runtime, state=state, sandboxes=sandboxes, settings=settings, loops=loops, book=book
            ),
            effective_settings=describe(settings),
            deployment_mode=settings.deployment_mode,
        )


def _end_with_supervisor(stack: AsyncExitStack) -> None:
    """Drain when the supervisor of `uhlp serve` has died: nobody else would end this worker and its sandboxes."""
    supervisor = multiprocessing.parent_process()
    if supervisor is None:
        return
    loop, sentinel = asyncio.get_running_loop(), supervisor.sentinel

    def drain() -> None:
        loop.remove_reader(sentinel)
        log.error("supervisor_died", pid=supervisor.pid)
        signal.raise_signal(signal.SIGTERM)

    loop.add_reader(sentinel, drain)
    stack.callback(loop.remove_reader, sentinel)


def _open_data_dir(path: Path, stack: AsyncExitStack) -> Path:
    """Make and lock the data directory; a second server on it is refused, naming the first one's pid."""
    path = path.absolute()
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
    lock = (path / "lock").open("a+", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        pid = lock.read().strip() or "unknown"
        lock.close()
        raise StateConflict(f"Another server (pid {pid}) uses the data directory {path}.") from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    stack.callback(lock.close)
    return path


def _runtime_store(settings: Settings, data_dir: Path) -> RuntimeStore:
    if settings.runtime.url == "sqlite":
        return SqliteRuntimeStore(data_dir / "runtime.db")
    if not settings.runtime.url.startswith(("redis://", "rediss://", "unix://")):
        raise ValidationFailed("runtime.url is `sqlite` or the URL of a Redis server, redis://host:port/db.")
    return RedisRuntimeStore(settings.runtime.url, timeout_s=settings.runtime.timeout_s)


def _desired_pools(registry: ApplicationRegistry) -> list[tuple[str, PoolDefinition]]:
    return [
        (app_id, pool) for app_id in registry.app_ids() for pool in registry.snapshot(app_id).definition.pools_in_use
    ]


def _runs_code(registry: ApplicationRegistry, app_id: str, identity: Identity) -> bool:
    if app_id not in registry.app_ids():
        return False
    component_id, sha256 = identity
    component = registry.snapshot(app_id).components.get(component_id)
    artifact = component.handler_artifact if component and component.definition.handler_type == "JIT" else None
    return artifact is not None and artifact.sha256 == sha256


def _probes(
    *,
    runtime: RuntimeStore,
    state: StateManager,
    sandboxes: SandboxManager,
    settings: Settings,
    loops: LoopGroup,
    book: CandidateBook,
) -> dict[str, Probe]:
    async def runtime_store() -> str | None:
        await runtime.ping()
        return None

    async def driver() -> str | None:
        capabilities = sandboxes.capabilities
        if capabilities.isolation == "none" and settings.deployment_mode == "production":
            return f"isolation: none ({'; '.join(capabilities.missing)})"
        return sandboxes.driver_status().get("problem") or None

    async def background_loops() -> str | None:
        unhealthy = [f"{one.name}: {one.last_error or 'stopped'}" for one in loops.status() if not one.is_healthy]
        return "; ".join(unhealthy) or None

    async def ledger() -> str | None:
        return "; ".join(f"{problem.what}: {problem.why}" for problem in book.problems) or None

    return {
        "runtimeStore": runtime_store,
        "definitions": state.definitions_unready,
        "sandboxes": driver,
        "loops": background_loops,
        "ledger": ledger,
    }

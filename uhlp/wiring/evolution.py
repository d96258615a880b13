"""Evolution: who proposes, who decides, and what people see of it, put together."""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from random import SystemRandom

from uhlp.evolution.alert_watch import AlertWatch
from uhlp.evolution.audit_debt import AuditDebt
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.compiler import Compiler
from uhlp.evolution.compression import Compression
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
from uhlp.evolution.run_time_settings import RunTimeSettings
from uhlp.evolution.self_evolution_daemon import SelfEvolutionDaemon
from uhlp.evolution.store import EvolutionStore
from uhlp.evolution.usage_store import UsageStore
from uhlp.evolution.verification import Verifier
from uhlp.evolution.versions import ComponentVersions
from uhlp.evolution.webhooks import Webhook, WebhookClient, webhooks_of
from uhlp.execution import HandlerTests
from uhlp.metrics import WindowsArchive
from uhlp.optimization.optimization_oracle import OptimizationOracle
from uhlp.wiring.evals import Prompts
from uhlp.wiring.foundation import Foundation


@dataclass(frozen=True, kw_only=True)
class Evolution:
    """The parts that loops drive, that routing reads and that the HTTP edge shows."""

    leadership: Leadership
    windows_archive: WindowsArchive
    store: EvolutionStore
    usage: UsageStore
    audit_debt: AuditDebt
    rollouts: Rollouts
    observations: ObservationQueue
    oracle: OptimizationOracle
    book: CandidateBook
    anchors: LedgerAnchors
    governor: SafetyGovernor
    compiler: Compiler
    daemon: SelfEvolutionDaemon
    observer: Observer
    versions: ComponentVersions
    notifications: Notifications
    webhooks: list[Webhook]
    alert_watch: AlertWatch
    oversight: Oversight
    run_time: RunTimeSettings


async def open_evolution(ground: Foundation, prompts: Prompts, stack: AsyncExitStack) -> Evolution:
    """Open them in order; `stack` closes them in reverse. Raises UhlpError when something cannot be opened."""
    settings, clock, metrics, windows = ground.settings, ground.clock, ground.metrics, ground.windows
    numbers = ground.numbers
    state, registry, samples, budgets = ground.state, ground.registry, ground.samples, ground.budgets
    leadership = Leadership(
        leases=None if settings.runtime.url == "sqlite" else ground.runtime,
        holder=holder_name(),
        ttl_s=settings.runtime.lease_s,
        clock=clock,
    )
    store = EvolutionStore(
        path=ground.data_dir / "evolution.db",
        clock=clock,
        config=numbers,
        fence=leadership.token,
        meter=metrics,
    )
    await stack.enter_async_context(store)
    windows_archive = WindowsArchive(windows=windows, values=state.framework, server=store.instance_id)
    stack.push_async_callback(windows_archive.aclose)
    await windows_archive.open()
    await leadership.open(above=await store.newest_token())
    stack.push_async_callback(leadership.aclose)
    usage = await stack.enter_async_context(UsageStore(path=ground.data_dir / "evolution.db", book=ground.usage_book))
    audit_debt = AuditDebt(budgets=budgets)
    rollouts, observations = Rollouts(), ObservationQueue(meter=metrics)
    book = CandidateBook(store=store, clock=clock, meter=metrics)
    oracle = OptimizationOracle(
        registry, state, windows, ground.tools,
        clock=clock,
        default_coder_model=settings.llm.coder_model,
        coder_timeout_s=lambda: numbers.now.coder_timeout_s,
        global_rules=lambda: ground.global_settings.rules,
        hold_windows=lambda: numbers.now.hold_windows,
        has_candidate=lambda app_id, component_id: book.open_candidate(app_id, component_id) is not None,
    )  # fmt: skip
    judge = Judge(mcp_client=ground.tools, clock=clock, config=numbers)
    reference = Reference(executor=ground.executor, adjudications=samples.adjudications, judge=judge)
    questions = Questions(adjudications=samples.adjudications, clock=clock)
    promotion = Promotion(book=book, app_registry=registry, state_manager=state)
    anchors = LedgerAnchors(store=store, state_manager=state)
    governor = SafetyGovernor(
        book=book, store=store, rollouts=rollouts, promotion=promotion, anchors=anchors, app_registry=registry,
        windows=windows, clock=clock, config=numbers, always_shadow=settings.always_shadow,
        meter=metrics,
    )  # fmt: skip
    verifier = Verifier(
        executor=ground.executor,
        handler_tests=HandlerTests(
            sandboxes=ground.sandboxes,
            deployment_mode=settings.deployment_mode,
            timeout_s=lambda: numbers.now.verify.tests_timeout_s,
        ),
        reference=reference,
        config=numbers,
    )
    compiler = Compiler(
        book=book, store=store, governor=governor,
        drafting=Drafting(book=book, store=store, oracle=oracle, verifier=verifier, config=numbers),
        verifier=verifier, promotion=promotion, reference=reference, questions=questions, executor=ground.executor,
        samples=samples, app_registry=registry, config=numbers, budgets=budgets,
        compression=Compression(
            requests=prompts.optimize_requests, runs=prompts.optimize_runs, overrides=prompts.overrides,
            datasets=prompts.datasets, state_manager=state, config=numbers,
        ),
    )  # fmt: skip
    expectations = Expectations(
        windows=windows, usage=usage, usage_book=ground.usage_book, budgets=budgets, prices=ground.gateway, book=book,
        config=numbers, default_coder_model=settings.llm.coder_model,
    )  # fmt: skip
    discoveries = Discoveries(
        expectations=expectations,
        app_registry=registry,
        clock=clock,
        config=numbers,
    )
    daemon = SelfEvolutionDaemon(
        book=book, store=store, rollouts=rollouts, governor=governor, compiler=compiler, promotion=promotion,
        oracle=oracle, discoveries=discoveries, budgets=budgets, samples=samples, app_registry=registry,
        clock=clock, config=numbers,
    )  # fmt: skip
    run_time = RunTimeSettings(
        store=store, book=book, numbers=numbers, global_settings=ground.global_settings,
        reload_configuration=registry.reload_configuration, clock=clock,
    )  # fmt: skip
    await run_time.open()
    await daemon.open()
    stack.push_async_callback(daemon.aclose)
    observer = Observer(
        queue=observations, executor=ground.executor, reference=reference, questions=questions, governor=governor,
        audit_debt=audit_debt, random=SystemRandom(), config=numbers,
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
        settings.alerts,
        read_secret=ground.read_secret,
        post=webhook_client.post,
        clock=clock,
        meter=metrics,
    )
    for webhook in webhooks:
        notifications.on_notification(webhook.offer)
    alert_watch = AlertWatch(
        notifications=notifications, book=book, governor=governor, budgets=budgets, app_registry=registry,
        windows=windows, sandbox_problems=ground.sandboxes.problems,
    )  # fmt: skip
    money = Money(
        usage=usage, budgets=budgets, audit_debt=audit_debt, discoveries=discoveries, book=book, store=store,
        app_registry=registry, config=numbers,
    )  # fmt: skip
    oversight = Oversight(
        book=book, store=store, anchors=anchors, governor=governor, daemon=daemon, compiler=compiler,
        promotion=promotion, oracle=oracle, samples=samples, money=money, windows=windows, app_registry=registry,
        clock=clock,
        config=numbers, leadership=leadership,
        alert_watch=alert_watch, webhooks=webhooks,
    )  # fmt: skip
    return Evolution(
        leadership=leadership, windows_archive=windows_archive, store=store, usage=usage, audit_debt=audit_debt,
        rollouts=rollouts, observations=observations, oracle=oracle, book=book, anchors=anchors, governor=governor,
        compiler=compiler, daemon=daemon, observer=observer, versions=versions, notifications=notifications,
        webhooks=webhooks, alert_watch=alert_watch, oversight=oversight, run_time=run_time,
    )  # fmt: skip

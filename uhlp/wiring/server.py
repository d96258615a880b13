"""One server: opens everything in order, closes it in reverse."""

import asyncio
import multiprocessing
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog

from uhlp.access.access_tokens import AccessTokens
from uhlp.authoring.application_author import ApplicationAuthor
from uhlp.evolution.access_entries import AccessEntries
from uhlp.logs import configure_logs
from uhlp.loops import LoopStatus
from uhlp.recent_logs import RecentLogs
from uhlp.registry.secret_scan import masked
from uhlp.routing.component_requests import ComponentRequests, Router
from uhlp.routing.fair_slots import FairSlots
from uhlp.routing.request_router import RequestRouter
from uhlp.routing.rollout import Rollout
from uhlp.routing.traced_router import TracedRouter
from uhlp.routing.workflow_requests import WorkflowRequests
from uhlp.secret_references import SecretReader
from uhlp.settings import Settings, admin_token_of, describe, read_settings
from uhlp.web.config import WebSettings
from uhlp.web.services import Services
from uhlp.wiring.background import make_loops
from uhlp.wiring.data_directory import open_data_directory
from uhlp.wiring.evals import make_evals, make_prompts
from uhlp.wiring.evolution import open_evolution
from uhlp.wiring.foundation import open_foundation
from uhlp.wiring.probes import readiness_probes
from uhlp.wiring.sources import open_sources
from uhlp.wiring.workflows import open_workflows

if TYPE_CHECKING:
    from uhlp.web.users import Users

log = structlog.get_logger(__name__)


@asynccontextmanager
async def open_services() -> AsyncIterator[Services]:
    """Everything a server runs on, from the settings in force. Raises UhlpError when something cannot be opened."""
    settings = await asyncio.to_thread(read_settings)
    recent_logs = RecentLogs(lines=settings.log.keep_lines, mask=masked)
    configure_logs(settings.log.format, settings.log.level, recent=recent_logs)
    async with AsyncExitStack() as stack:
        _end_with_supervisor(stack)
        data_dir = await asyncio.to_thread(open_data_directory, settings.data_dir, stack)
        first_token, is_new = await asyncio.to_thread(admin_token_of, settings)
        ground = await open_foundation(settings, data_dir, stack)
        prompts = make_prompts(ground)
        evolution = await open_evolution(ground, prompts, stack)
        tokens = AccessTokens(
            path=data_dir / "evolution.db",
            first_token=first_token,
            ledger=AccessEntries(store=evolution.store, clock=ground.clock),
            clock=ground.clock,
        )
        await stack.enter_async_context(tokens)
        evolution.store.roles_from(tokens.role_of)
        draining = asyncio.Event()
        workflows = await open_workflows(ground, lambda: requests, stack, draining=draining)
        router: Router = RequestRouter(
            executor=ground.executor,
            slots=FairSlots(settings=settings.limits, meter=ground.metrics),
            rollout=Rollout(rollouts=evolution.rollouts, audit_debt=evolution.audit_debt),
            observations=evolution.observations,
            windows=ground.windows,
            samples=ground.samples,
            usage=ground.usage_book,
            clock=ground.clock,
            meter=ground.metrics,
            workflows=WorkflowRequests(
                runs=workflows,
                windows=ground.windows,
                samples=ground.samples,
                usage=ground.usage_book,
                clock=ground.clock,
            ),
            deopt_every_n=settings.deopt_every_n,
        )
        if ground.tracer is not None:
            router = TracedRouter(router=router, tracer=ground.tracer)
        users = await asyncio.to_thread(_users, settings, ground.read_secret)
        requests = ComponentRequests(registry=ground.registry, router=router, clock=ground.clock)
        sources = await open_sources(ground, requests, stack, waiting=workflows)
        evals = make_evals(ground, prompts, requests)
        loops = make_loops(ground, evolution, tokens, sources, workflows, evals)
        await stack.enter_async_context(loops)

        def loops_status() -> tuple[LoopStatus, ...]:
            return (*loops.status(), *sources.consumers.status())

        if is_new:
            print(f"admin token (shown once, kept in {data_dir / 'admin_token'}): {first_token}", flush=True)
        log.info(
            "ready",
            data_dir=str(data_dir),
            applications=len(ground.registry.app_ids()),
            providers=ground.gateway.providers,
            isolation=ground.sandboxes.capabilities.isolation,
        )
        yield Services(
            clock=ground.clock,
            users=users,
            registry=ground.registry,
            state=ground.state,
            router=router,
            requests=requests,
            sources=sources,
            workflows=workflows,
            overrides=evals.overrides,
            prompts=evals.prompts,
            author=ApplicationAuthor(
                mcp_client=ground.tools,
                models=ground.gateway,
                registry=ground.registry,
                clock=ground.clock,
                model=settings.llm.coder_model,
            ),
            datasets=evals.datasets,
            eval_runs=evals.eval_runs,
            optimize_runs=evals.optimize_runs,
            optimize_requests=evals.optimize_requests,
            strategies=evals.strategies,
            draining=draining,
            metrics=ground.metrics,
            windows=ground.windows,
            samples=ground.samples,
            sandboxes=ground.sandboxes,
            evolution=evolution.oversight,
            run_time=evolution.run_time,
            notifications=evolution.notifications,
            versions=evolution.versions,
            tokens=tokens,
            sandbox_tokens=ground.sandbox_tokens,
            tools=ground.namespaces,
            mcp_servers=ground.mcp_servers,
            tool_sessions=ground.tool_sessions,
            core_tools=ground.tools.tool_names,
            reading_tools=ground.tools.reading_tools,
            settings=_web_settings(settings),
            probes=readiness_probes(
                runtime=ground.runtime,
                state=ground.state,
                sandboxes=ground.sandboxes,
                settings=settings,
                loops=loops_status,
                book=evolution.book,
                runs=workflows,
            ),
            loops=loops_status,
            recent_logs=recent_logs,
            effective_settings=describe(settings),
            deployment_mode=settings.deployment_mode,
            base_domain=settings.base_domain,
            metrics_are_open=settings.metrics.is_open(settings.deployment_mode),
        )


def _web_settings(settings: Settings) -> WebSettings:
    limits = settings.limits
    own_name = urlsplit(settings.sandbox.server_url or "").hostname
    return limits.model_copy(
        update={
            "secure_cookies": limits.secure_cookies or settings.deployment_mode == "production",
            "mcp_hosts": (*limits.mcp_hosts, *([own_name] if own_name else [])),
        }
    )


def _users(settings: Settings, read_secret: SecretReader) -> "Users | None":
    if settings.users.source == "none":
        return None
    from uhlp.web.users import Users  # brings cryptography, a tenth of a second

    return Users(settings=settings.users, read_secret=read_secret)


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

"""Foundation: what answers requests, without evolution: stores, registry, models, tools, sandboxes."""

import asyncio
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from uhlp.access.definition_secrets import DefinitionSecrets
from uhlp.access.sandbox_tokens import SandboxTokens
from uhlp.clock import Clock, SystemClock
from uhlp.errors import UhlpError
from uhlp.evals.comparator import Comparator
from uhlp.evolution.evolution_numbers import EvolutionNumbers
from uhlp.evolution.global_settings import GlobalSettings
from uhlp.execution import Executor
from uhlp.expressions.expression_share import ExpressionShare
from uhlp.jsonschemas import schema_file
from uhlp.llm import AnswerCache, Budgets, CassetteRecorder, ModelGateway, UsageBook
from uhlp.mailbox.mailboxes import Mailboxes
from uhlp.metrics import MetricCollector, Windows
from uhlp.models.definition import PoolDefinition
from uhlp.models.mcp_server import McpServerDefinition
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.registry.offers import Offers
from uhlp.registry.registry_gauges import RegistryGauges
from uhlp.sandbox.client import Identity
from uhlp.sandbox.drivers.choice import make_driver
from uhlp.sandbox.manager import SandboxManager
from uhlp.secret_references import SecretReader, references_in, secret_reader
from uhlp.settings import Settings, describe
from uhlp.state.definition_store import DefinitionStore
from uhlp.state.remote_git import RemoteGit
from uhlp.state.remote_reach import RemoteReach
from uhlp.state.runtime_store import RuntimeStore
from uhlp.state.state_manager import StateManager
from uhlp.tools import CoreMCPServer, ToolNamespaces
from uhlp.tools.core.definition_state import DefinitionState
from uhlp.tools.core.linux_execute_command import LinuxExecuteCommand
from uhlp.tools.core.runtime_state import RuntimeState
from uhlp.tools.gateway.mcp_gateway import McpGateway
from uhlp.tools.tool_sessions import ToolSessions
from uhlp.traffic.samples import SampleStore
from uhlp.wiring.data_directory import make_mailboxes, make_runtime_store
from uhlp.wiring.tracing import make_tracer

if TYPE_CHECKING:
    from uhlp.tracing.tracer import Tracer


@dataclass(frozen=True, kw_only=True)
class Foundation:
    """Opened services that evolution and the HTTP edge stand on."""

    settings: Settings
    numbers: EvolutionNumbers
    global_settings: GlobalSettings
    data_dir: Path
    clock: Clock
    metrics: MetricCollector
    windows: Windows
    runtime: RuntimeStore
    mailboxes: Mailboxes
    state: StateManager
    registry: ApplicationRegistry
    registry_gauges: RegistryGauges
    samples: SampleStore
    read_secret: SecretReader
    definition_secrets: DefinitionSecrets
    gateway: ModelGateway
    cassette: CassetteRecorder | None
    answer_cache: AnswerCache
    usage_book: UsageBook
    budgets: Budgets
    tools: CoreMCPServer
    mcp_servers: McpGateway
    namespaces: ToolNamespaces
    tool_sessions: ToolSessions
    sandbox_tokens: SandboxTokens
    sandboxes: SandboxManager
    executor: Executor
    expression_share: ExpressionShare
    tracer: "Tracer | None"


async def open_foundation(settings: Settings, data_dir: Path, stack: AsyncExitStack) -> Foundation:
    """Open them in order; `stack` closes them in reverse. Raises UhlpError when something cannot be opened."""
    clock = SystemClock()
    origins = {name: one["origin"] for name, one in describe(settings).items()}
    numbers = EvolutionNumbers(settings.evolution, origins=origins)
    global_settings = GlobalSettings(
        configuration=settings.configuration, rules=settings.optimization.rules, origins=origins
    )
    metrics = MetricCollector(schema=schema_file("metric_record"), config=settings.metrics, clock=clock)
    windows = Windows(clock=clock)

    runtime = make_runtime_store(settings, data_dir)
    stack.push_async_callback(runtime.aclose)
    mailboxes = make_mailboxes(settings, data_dir, clock)
    stack.push_async_callback(mailboxes.aclose)
    read_secret = secret_reader(os.environ, data_dir / "secrets")
    definition_secrets = DefinitionSecrets(
        settings=settings.secrets,
        read=read_secret,
        own=references_in(settings.model_dump()),
        folder=data_dir / "secrets",
    )
    reach = RemoteReach(settings=settings.remotes, clock=clock, own=data_dir / "apps")
    tracer = await asyncio.to_thread(make_tracer, settings.tracing, read_secret)
    if tracer is not None:
        stack.push_async_callback(tracer.aclose)
    state = StateManager(
        definitions=DefinitionStore(data_dir / "apps", remote_git=RemoteGit(secrets=definition_secrets, reach=reach)),
        runtime=runtime,
        limits=settings.runtime.limits,
        meter=metrics,
    )
    registry = ApplicationRegistry(
        state=state,
        config=settings.registry,
        meter=metrics,
        global_configuration=lambda: global_settings.configuration,
        offers=lambda: Offers(settings.mcp.servers.keys(), tools.tool_names, definition_secrets, reach),
        check_comparator=Comparator,
    )
    stack.callback(registry.close)
    registry_gauges = RegistryGauges(registry=registry, clock=clock, meter=metrics)
    await registry.load_all()

    samples = SampleStore(data_dir / "samples.db", clock=clock, meter=metrics)
    stack.push_async_callback(samples.close)
    cassette = None
    if settings.llm.record is not None:
        cassette = CassetteRecorder(path=settings.llm.record, most_bytes=settings.llm.record_bytes)
        stack.push_async_callback(cassette.run_cycle)
    gateway = ModelGateway(
        settings=settings.llm, clock=clock, meter=metrics, read_secret=read_secret, recorder=cassette
    )
    stack.push_async_callback(gateway.aclose)
    answer_cache = AnswerCache(clock=clock, most_bytes=settings.llm.cache_bytes)
    usage_book = UsageBook(clock=clock)
    budgets = Budgets(usage=usage_book, clock=clock, evolution=lambda: numbers.now.limits.budget)
    sandbox_tokens = SandboxTokens(clock=clock)
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
        tokens=sandbox_tokens,
    )
    await sandboxes.open()
    stack.push_async_callback(sandboxes.close)
    tools = CoreMCPServer(
        gateway=gateway,
        metrics=metrics,
        clock=clock,
        meter=metrics,
        budgets=budgets,
        cache=answer_cache,
        tracer=tracer,
        tools=(
            *DefinitionState(state=state, files=registry.data_files).tools(),
            *RuntimeState(state=state).tools(),
            LinuxExecuteCommand(
                settings=settings.commands,
                listed=lambda app_id: registry.snapshot(app_id).definition.commands,
                open_command=sandboxes.open_command,
                clock=clock,
                meter=metrics,
            ).tool(),
        ),
    )
    mcp_servers = McpGateway(
        applications=registry.app_ids,
        servers_of=lambda app_id: _mcp_servers(registry, app_id),
        settings=settings.mcp,
        read_secret=read_secret,
        secrets=definition_secrets,
        open_command=sandboxes.open_command,
        clock=clock,
        meter=metrics,
    )
    stack.push_async_callback(mcp_servers.aclose)
    namespaces = ToolNamespaces(core=tools, gateway=mcp_servers, clock=clock, tracer=tracer)
    tool_sessions = ToolSessions()
    executor = Executor(
        sandboxes=sandboxes,
        tools=namespaces,
        sessions=tool_sessions,
        tracer=tracer,
        clock=clock,
        meter=metrics,
        deployment_mode=settings.deployment_mode,
    )
    return Foundation(
        settings=settings,
        numbers=numbers,
        global_settings=global_settings,
        data_dir=data_dir,
        clock=clock,
        metrics=metrics,
        windows=windows,
        runtime=runtime,
        mailboxes=mailboxes,
        state=state,
        registry=registry,
        registry_gauges=registry_gauges,
        samples=samples,
        read_secret=read_secret,
        definition_secrets=definition_secrets,
        gateway=gateway,
        cassette=cassette,
        answer_cache=answer_cache,
        usage_book=usage_book,
        budgets=budgets,
        tools=tools,
        mcp_servers=mcp_servers,
        namespaces=namespaces,
        tool_sessions=tool_sessions,
        sandbox_tokens=sandbox_tokens,
        sandboxes=sandboxes,
        executor=executor,
        expression_share=ExpressionShare(clock=clock, share=settings.workflows.expression_share),
        tracer=tracer,
    )


def _desired_pools(registry: ApplicationRegistry) -> list[tuple[str, PoolDefinition]]:
    return [
        (app_id, pool) for app_id in registry.app_ids() for pool in registry.snapshot(app_id).definition.pools_in_use
    ]


def _mcp_servers(registry: ApplicationRegistry, app_id: str) -> Mapping[str, McpServerDefinition]:
    try:
        return registry.snapshot(app_id).definition.mcp_servers
    except UhlpError:  # it is gone, or cannot be served
        return {}


def _runs_code(registry: ApplicationRegistry, app_id: str, identity: Identity) -> bool:
    if app_id not in registry.app_ids():
        return False
    component_id, sha256 = identity
    component = registry.snapshot(app_id).components.get(component_id)
    artifact = component.handler_artifact if component and component.definition.handler_type == "JIT" else None
    return artifact is not None and artifact.sha256 == sha256

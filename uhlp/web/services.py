"""What the HTTP edge needs of the rest of UHLP; wiring fills it in."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from uhlp.evolution.candidate_page import USUAL, CandidatePage
from uhlp.recent_logs import RecentLogs
from uhlp.web.config import WebSettings

if TYPE_CHECKING:
    from uhlp.access.access_tokens import AccessTokens
    from uhlp.access.sandbox_tokens import SandboxTokens
    from uhlp.authoring.application_author import ApplicationAuthor
    from uhlp.clock import Clock
    from uhlp.evals.component_datasets import ComponentDatasets
    from uhlp.evals.eval_runs import EvalRuns
    from uhlp.evolution.notifications import Notifications
    from uhlp.evolution.run_time_settings import RunTimeSettings
    from uhlp.evolution.versions import ComponentVersions
    from uhlp.execution.workflow.workflow_runs import WorkflowRuns
    from uhlp.loops import LoopStatus
    from uhlp.mailbox.mailbox import Mailbox
    from uhlp.metrics.metric_collector import MetricCollector
    from uhlp.metrics.windows import Windows
    from uhlp.optimization.compress import OptimizeRequest, OptimizeResult
    from uhlp.optimization.compress.optimize_run import OptimizeRuns
    from uhlp.prompts.overrides import PromptOverridesStore
    from uhlp.registry.application_registry import ApplicationRegistry
    from uhlp.registry.registered_prompts import RegisteredPrompts
    from uhlp.routing.component_requests import ComponentRequests, Router
    from uhlp.sandbox.manager import SandboxManager
    from uhlp.sources.sources import Sources
    from uhlp.state.state_manager import StateManager
    from uhlp.tools.gateway.mcp_gateway import McpGateway
    from uhlp.tools.tool_namespaces import ToolNamespaces
    from uhlp.tools.tool_sessions import ToolSessions
    from uhlp.traffic.samples import SampleStore
    from uhlp.web.users import Users

Probe = Callable[[], Awaitable[str | None]]
"""Says why a part is not ready, or None when it is."""


class Evolution(Protocol):
    """The oversight interface of evolution: every change names who and why, and lands in the ledger."""

    async def optimize(
        self, app_id: str, component_id: str, *, action: str, actor: str, reason: str, proposer: str = ""
    ) -> str: ...
    def offered_actions(self) -> tuple[str, ...]: ...
    async def candidates(
        self,
        app_id: str | None = None,
        state: str | None = None,
        *,
        component_id: str | None = None,
        limit: int = USUAL,
        after: str | None = None,
    ) -> CandidatePage: ...
    async def waiting(self) -> list[dict[str, Any]]: ...
    async def candidate(self, candidate_id: str) -> dict[str, Any]: ...
    async def act(self, candidate_id: str, action: str, *, actor: str, reason: str) -> dict[str, Any]: ...
    async def why(self, app_id: str, component_id: str) -> dict[str, Any]: ...
    def rules(self, app_id: str, component_id: str) -> list[dict[str, Any]]: ...
    async def adjudications(self, app_id: str, component_id: str) -> dict[str, Any]: ...
    async def adjudicate_sample(
        self, app_id: str, sample_id: str, *, expected: Any, actor: str, reason: str
    ) -> dict[str, Any]: ...
    async def adjudicate_input(
        self, app_id: str, component_id: str, input_hash: str, *, expected: Any, actor: str, reason: str
    ) -> dict[str, Any]: ...
    async def pause(
        self, *, app_id: str | None = None, component_id: str | None = None, actor: str, reason: str
    ) -> dict[str, Any]: ...
    async def resume(
        self, *, app_id: str | None = None, component_id: str | None = None, actor: str, reason: str
    ) -> dict[str, Any]: ...
    async def recommendations(self, app_id: str | None = None) -> list[dict[str, Any]]: ...
    async def usage(self, app_id: str) -> dict[str, Any]: ...
    async def savings(self, app_id: str, days: int = 7) -> dict[str, Any]: ...
    async def overview(self) -> dict[str, Any]: ...
    def leadership(self) -> dict[str, Any]: ...
    async def ledger(self, app_id: str | None = None, *, after: int = 0, limit: int = 100) -> list[dict[str, Any]]: ...
    async def verify_ledger(self) -> dict[str, Any]: ...
    def export_ledger(self) -> AsyncIterator[bytes]: ...
    async def forget(self, app_id: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The parts that requests reach. `effective_settings` are all settings with their origin, secrets masked:
    {name: {"value", "origin"}}.
    """

    clock: "Clock"
    registry: "ApplicationRegistry"
    state: "StateManager"
    router: "Router"
    requests: "ComponentRequests"
    sources: "Sources"
    workflows: "WorkflowRuns"
    overrides: "PromptOverridesStore"
    prompts: "RegisteredPrompts"
    author: "ApplicationAuthor"
    datasets: "ComponentDatasets"
    eval_runs: "EvalRuns"
    optimize_runs: "OptimizeRuns"
    optimize_requests: "Mailbox[OptimizeRequest, OptimizeResult]"
    metrics: "MetricCollector"
    windows: "Windows"
    samples: "SampleStore"
    sandboxes: "SandboxManager"
    evolution: Evolution
    run_time: "RunTimeSettings"
    notifications: "Notifications"
    versions: "ComponentVersions"
    tokens: "AccessTokens"
    sandbox_tokens: "SandboxTokens"
    tools: "ToolNamespaces"
    mcp_servers: "McpGateway"
    tool_sessions: "ToolSessions"
    strategies: Sequence[str] = ()
    """The names of what proposes shorter prompts."""
    core_tools: Sequence[str] = ()
    """The names of all tools of `core`."""
    reading_tools: Collection[str] = ()
    """Of these the ones that change nothing."""
    users: "Users | None" = None
    deployment_mode: str = "development"
    base_domain: str | None = None
    metrics_are_open: bool = True
    settings: WebSettings = field(default_factory=WebSettings)
    probes: Mapping[str, Probe] = field(default_factory=dict)
    loops: "Callable[[], Sequence[LoopStatus]]" = tuple
    """The state of every background loop."""
    recent_logs: RecentLogs = field(default_factory=RecentLogs)
    draining: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server begins to end."""
    effective_settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

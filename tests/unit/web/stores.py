"""Real stores behind the edge: definitions in git, runtime values and samples in SQLite, the real registry."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.definition_secrets import for_every_application
from uhlp.access.access_tokens import AccessTokens
from uhlp.authoring.application_author import ApplicationAuthor
from uhlp.clock import FakeClock
from uhlp.errors import NoModelProvider
from uhlp.expressions.expression_share import ExpressionShare
from uhlp.mailbox.config import MailboxSettings
from uhlp.mailbox.mailboxes import Mailboxes
from uhlp.metering import NullMeter
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.registry.config import RegistrySettings
from uhlp.routing.component_requests import ComponentRequests
from uhlp.state.definition_store import DefinitionStore
from uhlp.state.runtime_store import RuntimeStore
from uhlp.state.sqlite_runtime_store import SqliteRuntimeStore
from uhlp.state.state_manager import StateManager
from uhlp.traffic.samples import SampleStore
from uhlp.web.services import Services
from uhlp.wiring.sources import make_sources
from web.fakes import ADMIN_TOKEN, Echo, NoLedger, services


class NoModel:
    """A server without a model provider."""

    providers: tuple[str, ...] = ()

    async def call_tool(self, name: str, params: dict[str, Any], context: Any) -> dict[str, Any]:
        raise NoModelProvider


class NoRuns:
    """No workflow waits for anything."""

    async def signal(self, app_id: str, name: str, correlation: str, values: dict[str, Any]) -> bool:
        return False


@asynccontextmanager
async def stored_services(
    folder: Path, *, runtime: RuntimeStore | None = None, **parts: Any
) -> AsyncIterator[Services]:
    clock = FakeClock()
    runtime = runtime or SqliteRuntimeStore(folder / "runtime.db", clock=clock)
    state = StateManager(definitions=DefinitionStore(folder / "apps", clock=clock), runtime=runtime)
    registry = ApplicationRegistry(state=state, config=RegistrySettings(argon2_memory_kib=64, argon2_time_cost=1))
    samples = SampleStore(folder / "samples.db", clock=clock)
    tokens = AccessTokens(path=folder / "evolution.db", first_token=ADMIN_TOKEN, ledger=NoLedger(), clock=clock)
    opened: dict[str, Any] = {
        "clock": clock,
        "state": state,
        "registry": registry,
        "samples": samples,
        "tokens": tokens,
    }
    mailboxes = Mailboxes.in_file(folder / "mailbox.db", settings=MailboxSettings(), clock=clock)
    router = parts.get("router") or Echo()
    opened |= {"router": router, "requests": ComponentRequests(registry=registry, router=router, clock=clock)}
    opened["sources"] = make_sources(
        registry=registry, values=state.framework, requests=opened["requests"], mailboxes=mailboxes,
        waiting=NoRuns(), secrets=for_every_application({}), share=ExpressionShare(clock=clock),
        clock=clock, meter=NullMeter(), stop_within_s=1.0,
    )  # fmt: skip
    opened["author"] = ApplicationAuthor(mcp_client=NoModel(), models=NoModel(), registry=registry, clock=clock)
    try:
        async with tokens:
            yield services(**{**opened, **parts})
    finally:
        await mailboxes.aclose()
        await samples.close()
        registry.close()
        await runtime.aclose()

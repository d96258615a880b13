"""A shop whose components start by themselves, on real stores, by a clock that stands still."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.definition_secrets import for_every_application
from tests.unit.evolution.world import CountingMeter
from tests.unit.registry.conftest import CHEAP
from tests.unit.web.fakes import Echo
from uhlp.clock import FakeClock
from uhlp.expressions.expression_share import ExpressionShare
from uhlp.mailbox.config import MailboxSettings
from uhlp.mailbox.mailbox_worker import MailboxWorker
from uhlp.mailbox.mailboxes import Mailboxes
from uhlp.models.definition import AppDefinition
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.routing.component_requests import ComponentRequests
from uhlp.routing.request import RoutedRequest
from uhlp.sources.app_queue import AppQueue
from uhlp.sources.cron_source import CronSource
from uhlp.sources.source_requests import SourceRequests
from uhlp.state.definition_store import DefinitionStore
from uhlp.state.sqlite_runtime_store import SqliteRuntimeStore
from uhlp.state.state_manager import StateManager
from uhlp.wiring.sources import make_sources

APP = "shop"
SECRET = "a-shared-secret"
TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


def component(component_id: str, *triggers: dict[str, Any], **definition: Any) -> dict[str, Any]:
    """A component that takes {text}, and what starts it."""
    return {
        "componentId": component_id,
        "taskDetails": {"prompt_template": "echo"},
        "inputSchema": TEXT,
        "triggers": list(triggers),
        **definition,
    }


class Waiting:
    """Runs of workflows that wait, by (application, callback, correlation)."""

    def __init__(self) -> None:
        self.waits: set[tuple[str, str, str]] = set()
        self.got: list[dict[str, Any]] = []

    async def signal(self, app_id: str, name: str, correlation: str, values: dict[str, Any]) -> bool:
        if (app_id, name, correlation) not in self.waits:
            return False
        self.waits.discard((app_id, name, correlation))
        self.got.append(values)
        return True


class Shop:
    """The sources of one server, and the router that they ask: an echo."""

    def __init__(self, folder: Path, clock: FakeClock, values: SqliteRuntimeStore, mailboxes: Mailboxes) -> None:
        self.clock, self.meter, self.router = clock, CountingMeter(), Echo()
        self.runtime, self.mailboxes = values, mailboxes
        self.state = StateManager(definitions=DefinitionStore(folder / "apps", clock=clock), runtime=values)
        self.registry = ApplicationRegistry(state=self.state, config=CHEAP)
        self.requests = ComponentRequests(registry=self.registry, router=self.router, clock=clock)
        self.source_requests = SourceRequests(requests=self.requests)
        self.waiting = Waiting()
        self.share = ExpressionShare(clock=clock)
        self.sources = make_sources(
            registry=self.registry, values=self.state.framework, requests=self.requests, mailboxes=mailboxes,
            waiting=self.waiting, secrets=for_every_application({"PAY": SECRET}), share=self.share, clock=clock,
            meter=self.meter, stop_within_s=5.0,
        )  # fmt: skip
        self.queues, self.consumers, self.cron = self.sources.queues, self.sources.consumers, self.sources.cron

    def new_cron(self, **parts: Any) -> CronSource:
        """As a server has one that has just started; `parts` replace what it stands on."""
        given = {"queues": self.queues, "values": self.state.framework, **parts}
        return CronSource(registry=self.registry, clock=self.clock, meter=self.meter, **given)

    async def register(self, *components: dict[str, Any], app_id: str = APP, **definition: Any) -> None:
        files = {
            "component_registry.yaml": json.dumps({"components": list(components)}).encode(),
            "prompts/echo.yaml": b'template: "{{ text }}"\n',
        }
        app = AppDefinition.model_validate({"appId": app_id, **definition})
        await self.registry.register_application(app, files=files)

    async def work(self, name: str = "orders") -> AppQueue:
        """Work on the messages of a queue that are ready now, one after another."""
        queue = self.queues.queue(APP, name)
        worker = MailboxWorker(
            self.queues.mailbox(queue), lambda message: self.source_requests.handle(queue, message), clock=self.clock
        )
        while (await self.queues.mailbox(queue).counts()).ready:
            await worker.run_cycle()
        return queue

    @property
    def asked(self) -> list[RoutedRequest]:
        return self.router.requests


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    clock = FakeClock()
    runtime = SqliteRuntimeStore(":memory:")
    mailboxes = Mailboxes.in_file(":memory:", settings=MailboxSettings(capacity=1_000), clock=clock)
    made = Shop(tmp_path, clock, runtime, mailboxes)
    yield made
    await made.consumers.aclose()
    made.registry.close()
    await mailboxes.aclose()
    await runtime.aclose()

"""The parts behind the edge, as small as the edge can be tested with."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import uvicorn

from uhlp.access.access_tokens import AccessTokens
from uhlp.access.administrator import Administrator
from uhlp.access.sandbox_tokens import SandboxTokens
from uhlp.clock import FakeClock
from uhlp.errors import AppNotFound, CandidateNotFound, StateConflict
from uhlp.evolution.candidate_page import CandidatePage
from uhlp.evolution.config import EvolutionConfig
from uhlp.evolution.evolution_numbers import EvolutionNumbers
from uhlp.evolution.global_settings import GlobalSettings
from uhlp.evolution.ledger import genesis
from uhlp.evolution.ledger_export import first_line, last_line
from uhlp.evolution.run_time_settings import RunTimeSettings
from uhlp.jsonschemas import compile_validator
from uhlp.metrics import MetricCollector, MetricsConfig, Windows
from uhlp.models.definition import AppDefinition, ComponentDefinition
from uhlp.models.metric import MetricRecord
from uhlp.registry.route_table import Route, RouteTable
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot
from uhlp.routing.component_requests import ComponentRequests
from uhlp.routing.request import RoutedAnswer, RoutedRequest
from uhlp.sandbox.driver import Capabilities
from uhlp.tools.tool_sessions import ToolSessions
from uhlp.web.config import WebSettings
from uhlp.web.http_protocol import BoundedHttpProtocol
from uhlp.web.services import Services

ADMIN_TOKEN = "an-admin-token-for-tests"
TICKET = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "count": {"type": "integer"}, "loud": {"type": "boolean"}},
    "required": ["text"],
    "additionalProperties": False,
}


def component(
    component_id: str, pattern: str, *methods: str, schema: dict[str, Any] | None = None
) -> ComponentSnapshot:
    definition = ComponentDefinition.model_validate(
        {"componentId": component_id, "routeMatcher": {"pathPattern": pattern, "methods": list(methods)}}
    )
    return ComponentSnapshot(
        definition=definition,
        input_schema=schema,
        output_schema=None,
        input_validator=None if schema is None else compile_validator(schema),
        output_validator=None,
        prompt=None,
        prompt_artifact=None,
        handler_artifact=None,
        handler_version=None,
        handler_function="handle",
        spec_hash="spec",
        configuration={},
        properties_types={name: one["type"] for name, one in (schema or {}).get("properties", {}).items()},
        golden=(),
    )


def application(app_id: str, *components: ComponentSnapshot, public: bool = True) -> AppSnapshot:
    routes = RouteTable(
        Route(
            one.definition.component_id, one.definition.route_matcher.path_pattern, one.definition.route_matcher.methods
        )
        for one in components
        if one.definition.route_matcher
    )
    return AppSnapshot(
        app_id=app_id,
        revision="0123456789abcdef",
        definition=AppDefinition(app_id=app_id, public=public),
        components={one.definition.component_id: one for one in components},
        routes=routes,
        api_keys={},
    )


@dataclass(frozen=True)
class KeyIdentity:
    app_id: str
    key_id: str = "key001"
    permissions: tuple[str, ...] = ("invoke:*",)


@dataclass
class SnapshotsOnly:
    """A registry that holds snapshots and keys, and changes nothing."""

    snapshots: dict[str, AppSnapshot]
    keys: dict[str, KeyIdentity] = field(default_factory=dict)
    slow_checks: int = 0

    def snapshot(self, app_id: str) -> AppSnapshot:
        try:
            return self.snapshots[app_id]
        except KeyError:
            raise AppNotFound from None

    def app_ids(self) -> list[str]:
        return list(self.snapshots)

    async def list_active_applications(self) -> list[str]:
        return self.app_ids()

    def is_known(self, app_id: str) -> bool:
        return app_id in self.snapshots

    async def get_application_status(self, app_id: str) -> tuple[str, dict[str, Any]]:
        return "ACTIVE", {"revision": self.snapshot(app_id).revision}

    def known_api_key(self, raw: str) -> KeyIdentity | None:
        return None

    async def validate_api_key(self, raw: str) -> KeyIdentity | None:
        self.slow_checks += 1
        return self.keys.get(raw)


@dataclass(frozen=True)
class Result:
    data: Any
    result_type: str = "generic"


class Echo:
    """Answers with the input, or with what `respond` makes of the request."""

    def __init__(self, respond: Callable[[RoutedRequest], Awaitable[Result]] | None = None) -> None:
        self.respond = respond
        self.requests: list[RoutedRequest] = []

    async def handle(self, request: RoutedRequest) -> RoutedAnswer:
        self.requests.append(request)
        result = await self.respond(request) if self.respond else Result(request.input)
        return RoutedAnswer(
            result=result, handler="jit", implementation="jit@v3", reason="STATIC", timings=(("sandbox", 0.25),)
        )


class NoRepositories:
    async def list_repositories(self) -> list[str]:
        return []


class NoSandboxes:
    capabilities = Capabilities(driver="fake", isolation="none", missing=("namespaces",))

    def status(self) -> list[dict[str, Any]]:
        return []

    async def sandboxes(self, app_id: str | None = None) -> list[dict[str, Any]]:
        return []

    async def stop_application(self, app_id: str) -> None: ...

    def problems(self, app_id: str) -> list[str]:
        return []

    def driver_status(self) -> dict[str, Any]:
        return {}


class NoSources:
    """Nothing but routes starts components here."""

    callbacks = None


class QuietEvolution:
    """Remembers what it was asked to do."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    async def optimize(
        self, app_id: str, component_id: str, *, action: str, actor: str, reason: str, proposer: str = ""
    ) -> str:
        self.asked.append(("optimize", app_id, component_id, action, actor, reason))
        return "cand-1"

    async def candidates(
        self, app_id: str | None = None, state: str | None = None, *, component_id: str | None = None,
        limit: int = 100, after: str | None = None,
    ) -> CandidatePage:  # fmt: skip
        one = {
            "candidateId": "cand-1", "appId": "shop", "componentId": "echo", "state": "canary",
            "reason": "shadow passed",
        }  # fmt: skip
        return CandidatePage([orjson.dumps(one)])

    async def waiting(self) -> list[dict[str, Any]]:
        return []

    async def candidate(self, candidate_id: str) -> dict[str, Any]:
        if candidate_id != "cand-1":
            raise CandidateNotFound
        return {"candidateId": candidate_id}

    async def act(self, candidate_id: str, action: str, *, actor: str, reason: str) -> dict[str, Any]:
        self.asked.append((action, candidate_id, actor, reason))
        return {"candidateId": candidate_id, "state": "rolled_back"}

    async def why(self, app_id: str, component_id: str) -> dict[str, Any]:
        return {
            "handlerType": "LLM",
            "candidateId": "cand-1",
            "state": "canary",
            "lines": ["proven < 10 %: 0 of 48 wrong"],
            "missing": [{"what": "comparisons", "have": 48, "need": 84, "expectedAt": None}],
        }

    def rules(self, app_id: str, component_id: str) -> list[dict[str, Any]]:
        return [{"expression": "count(requests) > 5", "holds": True, "values": {"count(requests)": 9.0}}]

    async def adjudications(self, app_id: str, component_id: str) -> dict[str, Any]:
        question = {"input_hash": "a" * 64, "candidate_id": "cand-1", "got": 1, "answers": (2, 3, 4)}
        return {"questions": [question], "adjudications": []}

    async def adjudicate_sample(self, app_id: str, sample_id: str, **said: Any) -> dict[str, Any]:
        self.asked.append(("adjudicate_sample", app_id, sample_id, said))
        return {"effects": []}

    async def adjudicate_input(self, app_id: str, component_id: str, input_hash: str, **said: Any) -> dict[str, Any]:
        self.asked.append(("adjudicate_input", app_id, component_id, input_hash, said))
        return {"effects": []}

    async def recommendations(self, app_id: str | None = None) -> list[dict[str, Any]]:
        words = "compiling takes about $0.05, pays after 120 calls"
        expected = {"calls": 120, "horizonSavingUsd": 36.0, "words": words}
        return [
            {
                "appId": "shop", "componentId": "echo", "candidateId": "cand-1", "status": "waits_for_approval",
                "reason": "rule busy: count(requests) > 5", "rule": {"values": {"count": 9}}, "expected": expected,
                "start": "/candidates/cand-1/approve",
            }
        ]  # fmt: skip

    async def forget(self, app_id: str) -> None:
        self.asked.append(("forget", app_id))

    async def usage(self, app_id: str) -> dict[str, Any]:
        use = {"calls": 3, "refused": 0, "tokensIn": 300, "tokensOut": 30, "usd": 0.5, "unpricedCalls": 2,
               "seconds": 4.0}  # fmt: skip
        one = {**use, "evolutionUsd": 0.0, "byPurpose": {"serve": use}}
        budget = {"usdPerDay": 2.0, "tokensPerDay": None, "isSpent": False}
        components = {"echo": {"today": one, "total": one}}
        return {"appId": app_id, "day": "2026-01-31", "today": one, "total": one, "components": components,
                "budget": budget}  # fmt: skip

    async def savings(self, app_id: str, days: int = 7) -> dict[str, Any]:
        amounts = {"usd": 1.25, "seconds": 20.0, "tokens": 900}
        spent = {"usd": 0.25, "tokens": 10, "unpricedCalls": 0}
        one = {"requests": 40, "byHandler": 38, "saved": amounts, "spent": spent,
               "net": {"usd": 1.0, "seconds": 20.0, "tokens": 890}, "valueUsd": 1.0, "unpricedRequests": 0}  # fmt: skip
        measured = {"coverage": 0.95, "words": "it took $0.25 to make and was paid for after 8 calls"}
        told = {"today": one, "total": one, "days": [{"day": f"2026-01-{31 - back}", **one} for back in range(days)]}
        component = {**told, "candidates": [{"candidateId": "cand-1", "measured": measured}]}
        return {"appId": app_id, "day": "2026-01-31", **told, "components": {"echo": component}}

    async def pause(self, **scope: Any) -> dict[str, Any]:
        self.asked.append(("pause", scope))
        return {"paused": True}

    async def resume(self, **scope: Any) -> dict[str, Any]:
        return {"paused": False}

    async def overview(self) -> dict[str, Any]:
        return {"paused": False, "leadership": self.leadership()}

    def leadership(self) -> dict[str, Any]:
        return {"leads": True, "leader": "here", "token": None, "isShared": False, "problem": None}

    async def ledger(self, app_id: str | None = None, *, after: int = 0, limit: int = 100) -> list[dict[str, Any]]:
        return [{"seq": 1, "ts": 1_750_000_000.0, "actor": "admin", "reason": "asked for by hand"}]

    async def export_ledger(self) -> AsyncIterator[bytes]:
        yield first_line("ab" * 16)
        yield last_line(0, genesis("ab" * 16).hex())

    async def verify_ledger(self) -> dict[str, Any]:
        return {"ok": True, "entries": 1, "head": "ab" * 32, "firstBad": None, "problems": []}


class QuietVersions:
    """One handler, which came back once; whoever returns to another is refused."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    async def listed(self, app_id: str, component_id: str, limit: int = 50) -> dict[str, Any]:
        ended = {"endedAs": "rolled_back", "endedBy": "ann", "endReason": "a rehearsal"}
        lasting = {"endedAs": None, "endedBy": None, "endReason": None}
        first = {
            "from": 1_750_000_000.0,
            "until": 1_750_000_600.0,
            "event": "moved",
            "actor": "governor",
            "reason": "ok",
        }
        second = {
            "from": 1_750_001_000.0,
            "until": None,
            "event": "returned",
            "actor": "bob",
            "reason": "it was better",
        }
        v1 = {
            "version": "v1", "kind": "handler", "revision": "ab" * 20, "at": 1_750_000_000.0, "actor": "governor",
            "reason": "50 executions without an alarm; in service as v1", "candidateId": "cand-1",
            "statistics": {"n": 84, "k": 0, "coverage": 0.9}, "services": [{**first, **ended}, {**second, **lasting}],
            "inServiceS": 7_500.0, "whyNotAgain": None, "isInService": True,
        }  # fmt: skip
        prompt = {
            "version": "prompt@" + "cd" * 6, "kind": "prompt", "revision": "cd" * 20, "at": 1_740_000_000.0,
            "actor": "ann", "reason": "Register shop", "candidateId": None, "statistics": {}, "services": [],
            "inServiceS": 59.0, "whyNotAgain": None, "isInService": False,
        }  # fmt: skip
        versions = {"inService": "v1", "versions": [v1, prompt], "areVersionsLeftOut": limit < 2}
        return {"appId": app_id, "componentId": component_id, **versions}

    async def diff(self, app_id: str, component_id: str, old: str, new: str) -> str:
        return f"--- {old}\n+++ {new}\n"

    async def return_to(self, app_id: str, component_id: str, to: str, *, actor: str, reason: str) -> dict[str, Any]:
        if to != "v1":
            raise StateConflict(f"{to} may not serve again: its code was taken out: 2 of 20 wrong.")
        self.asked.append((app_id, component_id, to, actor, reason))
        return {"appId": app_id, "componentId": component_id, "inService": to, "revision": "ab" * 20}


class NothingKept:
    """Keeps nothing of applications."""

    async def forget(self, app_id: str) -> None:
        return None


class NoWorkflows:
    """Where no workflow has run."""

    async def delete_application(self, app_id: str) -> int:
        return 0


class NoLedger:
    """Where the changes of tokens are only remembered."""

    def __init__(self) -> None:
        self.written: list[tuple[str, str]] = []

    async def write(self, *, actor: str, reason: str, token: Administrator) -> None:
        self.written.append((actor, reason))


async def nothing_to_reload() -> None:
    """Nothing is merged into applications that are not there."""


def run_time_settings(**given: Any) -> RunTimeSettings:
    """What may be changed while the server runs, from defaults; without a store it can be looked at only."""
    fixed: dict[str, Any] = {
        "store": None,
        "book": None,
        "numbers": EvolutionNumbers(EvolutionConfig()),
        "global_settings": GlobalSettings(configuration={}, rules=()),
        "reload_configuration": nothing_to_reload,
        "clock": FakeClock(),
    }
    return RunTimeSettings(**{**fixed, **given})


def services(**parts: Any) -> Services:
    """Services over fakes; `parts` replace them by name."""
    clock = FakeClock()
    given: dict[str, Any] = {
        "clock": clock,
        "registry": SnapshotsOnly({"shop": application("shop", component("echo", "/echo", "POST"))}),
        "state": NoRepositories(),
        "router": Echo(),
        "metrics": MetricCollector(schema=MetricRecord.model_json_schema(), config=MetricsConfig(), clock=clock),
        "windows": Windows(clock=clock),
        "samples": None,
        "sandboxes": NoSandboxes(),
        "sources": NoSources(),
        "workflows": NoWorkflows(),
        "overrides": None,
        "prompts": None,
        "author": None,
        "datasets": None,
        "eval_runs": NothingKept(),
        "optimize_runs": NothingKept(),
        "optimize_requests": None,
        "evolution": QuietEvolution(),
        "notifications": None,
        "versions": QuietVersions(),
        "run_time": run_time_settings(clock=clock),
        "tokens": AccessTokens(
            path=Path(":unopened:"), first_token=ADMIN_TOKEN, ledger=NoLedger(), clock=parts.get("clock", clock)
        ),
        "sandbox_tokens": SandboxTokens(clock=parts.get("clock", clock)),
        "tools": None,
        "mcp_servers": None,
        "tool_sessions": ToolSessions(),
        "settings": WebSettings(max_body_bytes=64 * 1024, body_timeout_s=0.3, failed_logins_per_minute=5),
    }
    given |= parts
    requests = ComponentRequests(registry=given["registry"], router=given["router"], clock=given["clock"])
    return Services(**{"requests": requests, **given})


@asynccontextmanager
async def listening(app: Any, **config: Any) -> AsyncIterator[int]:
    """`app` behind a real uvicorn on a free port of the loopback interface; the port."""
    as_served: dict[str, Any] = {"http": BoundedHttpProtocol, "access_log": False, "log_level": "error"}
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, **(as_served | config)))
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(server.serve())
    while not server.started:
        if task.done():
            task.result()
            raise RuntimeError("the server did not start")
        await asyncio.sleep(0.005)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task

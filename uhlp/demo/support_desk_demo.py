"""`uhlp demo`: a support desk whose endpoints start as prompts; some become code, one partly, one must not.

Everything is real but the model, which is simulated (`uhlp simulate-model`). No epsilon, delta or gate is other than
production offers; what is faster than the defaults is printed.
"""

import asyncio
import json
import os
import random
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from uhlp.demo.admin import Admin
from uhlp.demo.load import Callers
from uhlp.demo.processes import DemoProcess, free_port
from uhlp.demo.report import ComponentReport, DemoReport, Phase, print_code, print_curl, print_report, print_way_inside
from uhlp.demo.simulated_model.tasks import case_summary
from uhlp.demo.traffic import generator

FOLDER = Path(__file__).parent / "support_desk"
MODEL_LATENCY_MS = 300
TIME_LIMIT_S = 240.0
"""After so long the report says what is missing; on a machine of its own the stories end after less than half."""

EVOLUTION = {
    "cycle_s": 1,
    "canary": {"min_step_s": 3},
    "limits": {"canaries_per_application": 4, "compilations_per_hour": 100, "usd_per_day": 1.0},
    "compress": {"samples": 10},
}
"""Canary steps of seconds, no hourly limit, canaries side by side, a budget, few samples to choose shorter sections by.
No epsilon, delta or gate among them."""

_KNOWN_CASES = 56
"""Of which about half are TRAIN: a judge is trusted by twenty of them."""

_PRICES = {
    "simulated-small": {"inputUsdPerMtok": 0.40, "outputUsdPerMtok": 1.60},
    "simulated-coder": {"inputUsdPerMtok": 2.00, "outputUsdPerMtok": 8.00},
}


@dataclass(frozen=True, slots=True)
class Story:
    """What should become of a component."""

    component_id: str
    route: str
    told: str
    ends: str = "promoted"
    least_coverage: float = 0.0
    most_coverage: float = 1.0
    first_draft_is_refused: bool = False
    kind: str = "jit"

    def is_told(self, candidate: Mapping[str, Any]) -> bool:
        """Whether the component's newest candidate has come to the end of the story, or beyond it."""
        ends = (self.ends,) if self.kind == "jit" else ("shadow", "canary", "promoted")
        return candidate["kind"] == self.kind and candidate["state"] in ends


STORIES = (
    Story("order-lines", "/order-lines", "compiles fully", least_coverage=0.95),
    Story("ticket-triage", "/tickets", "compiles partly, the rest stays with the model", "promoted", 0.2, 0.95),
    Story("amounts", "/amounts", "its first handler is wrong in a way its own tests miss", "promoted", 0.5,
          first_draft_is_refused=True),
    Story("case-summary", "/summaries", "free text: does not compile; a shorter prompt is on trial", "shadow",
          kind="prompt"),
)  # fmt: skip


class SupportDeskDemo:
    """One run. `open` starts the processes, `run` shows the story, `stack` ends what was started: when somebody says
    so, where it `goes_on`."""

    def __init__(
        self, *, console: Console, directory: Path, port: int, seed: int, stack: AsyncExitStack, goes_on: bool
    ) -> None:
        self._console = console
        self._directory = directory
        self._wanted_port, self._port = port, free_port(port)
        self._seed = seed
        self._stack = stack
        self._goes_on = goes_on
        self._started = time.monotonic()
        self._token = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def run(self) -> DemoReport:
        """Start, call, watch, measure. The server goes on serving until the stack is closed."""
        admin, app_id, callers = await self._open()
        before = {}
        spent = await admin.model_tokens(app_id)
        async with asyncio.TaskGroup() as group:
            tasks = {name: group.create_task(one.measure(60, side_by_side=5)) for name, one in callers.items()}
        for name, task in tasks.items():
            now = (await admin.model_tokens(app_id)).get(name, (0.0, 0.0))
            before[name] = Phase.of(task.result(), _difference(now, spent.get(name, (0.0, 0.0))))
            callers[name].tally.first = task.result().first
        await self._watch(admin, app_id, callers)
        report = await self._report(admin, app_id, callers, before)
        print_report(self._console, report, goes_on=self._goes_on)
        await self._show_curls(callers["order-lines"], report)
        component = f"{app_id} {STORIES[0].component_id}"
        print_way_inside(self._console, self.url, self._token, component, goes_on=self._goes_on)
        return report

    async def _open(self) -> tuple[Admin, str, dict[str, Callers]]:
        model_port = free_port()
        model = DemoProcess(
            "the simulated model",
            ["simulate-model", "--port", str(model_port), "--seed", str(self._seed),
             "--latency-ms", str(MODEL_LATENCY_MS)],
            {}, self._directory / "model.log",
        )  # fmt: skip
        self._stack.push_async_callback(model.stop)
        await model.start(port=model_port)
        data_dir = self._directory / "data"
        server = DemoProcess(
            "the server",
            ["serve", "--port", str(self._port)],
            {
                "UHLP_DATA_DIR": str(data_dir),
                "UHLP_EVOLUTION": json.dumps(EVOLUTION),
                "UHLP_LLM__PROVIDERS": json.dumps(
                    {"simulated": {"kind": "openai", "baseUrl": f"http://127.0.0.1:{model_port}/v1", "prices": _PRICES}}
                ),
                "UHLP_LLM__DEFAULT_PROVIDER": "simulated",
                "UHLP_EVALS": json.dumps({"concurrency": 16}),
            },
            self._directory / "server.log",
        )
        self._stack.push_async_callback(server.stop)
        await server.start(port=self._port)
        connector = aiohttp.TCPConnector(limit=0)
        session = await self._stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        self._token = (await asyncio.to_thread((data_dir / "admin_token").read_text)).strip()
        admin = Admin(session, self.url, self._token)
        app_id = await admin.register(FOLDER)
        await self._name_a_judge(admin, app_id)
        self._say_what_runs(app_id)
        callers = {
            story.component_id: Callers(
                session, f"{self.url}/apps/{app_id}{story.route}", generator(story.component_id, self._seed)
            )
            for story in STORIES
        }
        return admin, app_id, callers

    async def _name_a_judge(self, admin: Admin, app_id: str) -> None:
        """Summaries are never alike: a judge compares them, trusted because it agrees with what the owner says."""
        cases, dice = generator("case-summary", self._seed + 1), random.Random(self._seed)  # noqa: S311  simulation
        rows = []
        for number in range(_KNOWN_CASES):
            value = next(cases)
            expected = case_summary.answer(value["text"], dice)
            rows.append(json.dumps({"id": f"case-{number}", "input": value, "expected": expected}))
        await admin.put(
            f"/apps/{app_id}/definition/evals/case-summary.jsonl",
            {"content": "\n".join(rows) + "\n", "commitMessage": "Say what good summaries are"},
        )
        await admin.patch(
            f"/apps/{app_id}",
            {"updateMask": ["llm.judgeModel"], "definition": {"llm": {"judgeModel": "simulated-small"}}},
        )

    def _say_what_runs(self, app_id: str) -> None:
        driver = os.environ.get("UHLP_SANDBOX__DRIVER", "process")
        self._console.print(
            f"Server at {self.url} ({driver} sandboxes, SQLite, no key needed), application [bold]{app_id}[/bold]; "
            f"the model is [bold]simulated[/bold], about {MODEL_LATENCY_MS} ms an answer.",
            highlight=False,
        )
        if self._wanted_port not in (0, self._port):
            self._console.print(f"Port {self._wanted_port} is taken, so another one is used.", style="dim")
        self._console.print(f"Unlike the defaults: evolution {json.dumps(EVOLUTION)}", style="dim", highlight=False)

    async def _watch(self, admin: Admin, app_id: str, callers: dict[str, Callers]) -> None:
        """Traffic on every component until each has ended as its story says, or the time is up."""
        stop = {name: asyncio.Event() for name in callers}
        async with asyncio.TaskGroup() as group:
            for name, one in callers.items():
                side_by_side = 3 if name == "case-summary" else 20
                group.create_task(one.run(stop[name], side_by_side=side_by_side, pause_s=0.02))
            with Live(console=self._console, refresh_per_second=4, transient=False) as live:
                while not all(event.is_set() for event in stop.values()):
                    newest = await _newest_candidates(admin, app_id)
                    live.update(self._progress(callers, newest))
                    for story in STORIES:
                        candidate = newest.get(story.component_id)
                        is_over = candidate is not None and story.is_told(candidate)
                        if is_over or time.monotonic() - self._started > TIME_LIMIT_S - 12:
                            stop[story.component_id].set()
                    await asyncio.sleep(0.5)

    def _progress(self, callers: dict[str, Callers], newest: dict[str, dict[str, Any]]) -> Group:
        table = Table(
            box=None, pad_edge=False, title=f"{time.monotonic() - self._started:3.0f} s", title_justify="left"
        )
        for column in ("component", "calls", "by code", "p50 ms", "candidate", "what it has shown"):
            table.add_column(column, no_wrap=column != "what it has shown")
        for story in STORIES:
            tally = callers[story.component_id].tally
            candidate = newest.get(story.component_id)
            p50_ms = tally.recent_p50_ms
            table.add_row(
                story.component_id,
                f"{tally.n:,}",
                f"{tally.recent_share('jit'):.0%}",
                "-" if p50_ms is None else f"{p50_ms:.0f}",
                candidate["state"] if candidate else "watched",
                Text((candidate["evidence"] or candidate["reason"]) if candidate else story.told, overflow="ellipsis"),
            )
        return Group(table)

    async def _report(
        self, admin: Admin, app_id: str, callers: dict[str, Callers], before: dict[str, Phase]
    ) -> DemoReport:
        components = []
        for story in STORIES:
            spent = (await admin.model_tokens(app_id)).get(story.component_id, (0.0, 0.0))
            is_code = story.kind == "jit"
            tally = await callers[story.component_id].measure(300 if is_code else 24, side_by_side=4)
            await asyncio.sleep(1.0)  # the audits of these calls are model calls, too
            now = (await admin.model_tokens(app_id)).get(story.component_id, (0.0, 0.0))
            callers[story.component_id].tally.last = tally.last
            one = ComponentReport(
                story.component_id, story.told, before[story.component_id], Phase.of(tally, _difference(now, spent)),
                deoptimised=dict(tally.deoptimised),
            )  # fmt: skip
            await self._judge(admin, app_id, story, one)
            components.append(one)
        calls = sum(one.tally.n for one in callers.values()) + sum(
            one.before.calls + one.after.calls for one in components
        )
        report = DemoReport(
            "simulated", time.monotonic() - self._started, calls, components, await admin.post("/ledger/verify", {})
        )
        errors = {name: dict(one.tally.errors) for name, one in callers.items() if one.tally.failed}
        if errors:
            report.broken.append(f"requests failed: {errors}")
        if not report.ledger["ok"]:
            report.broken.append("the ledger does not hold")
        return report

    async def _judge(self, admin: Admin, app_id: str, story: Story, one: ComponentReport) -> None:
        """Fill in what became of the component, and hold it against its story."""
        mine = [row for row in await _candidates(admin, app_id) if row["componentId"] == story.component_id]
        for row in mine:
            if row is not mine[0] and row["state"] in ("rejected", "rolled_back", "quarantined"):
                one.refused.append(f"{row['candidateId']} was {row['state']}: {row['reason']}")
            one.refused += [
                f"draft {number} was stopped by {draft['stage']}: {draft['reason']}"
                for number, draft in enumerate(row["drafts"], start=1)
                if draft["stage"] is not None
            ]
        if not mine:
            one.broken.append("no candidate was made")
            return
        detail = await admin.get(f"/candidates/{mine[0]['candidateId']}")
        one.candidate_id = detail["candidateId"]
        one.state, one.reason = detail["state"], detail["reason"]
        one.coverage, one.agreement, one.proven = detail["coverage"], detail["agreement"], detail["proven"]
        one.code = detail["code"]
        if not story.is_told(detail):
            one.broken.append(f"should end as {story.ends}, is {one.state}")
            return
        if story.kind == "jit":
            self._judge_promoted(story, one)
        else:
            one.tokens = detail["tokens"]
            if not one.tokens or one.tokens["after"] >= one.tokens["before"]:
                one.broken.append(f"its prompt should be shorter: {one.tokens}")
        if story.kind == "prompt" and one.after.handlers != {"llm": one.after.calls}:
            one.broken.append(f"should stay with the model, answered by {one.after.handlers}")
        if story.first_draft_is_refused and (not detail["drafts"] or detail["drafts"][0]["stage"] is None):
            one.broken.append("its first draft should have been refused")

    def _judge_promoted(self, story: Story, one: ComponentReport) -> None:
        share = one.after.handlers.get("jit", 0) / one.after.calls
        if not story.least_coverage <= share <= story.most_coverage:
            wanted = f"{story.least_coverage:.0%} to {story.most_coverage:.0%}"
            one.broken.append(f"code should answer {wanted}, answers {share:.0%}")
        if story.most_coverage < 1 and not one.deoptimised:
            one.broken.append("some requests should have been left to the model")
        if one.agreement is None or one.agreement < 0.95:
            one.broken.append(f"agreement is {one.agreement}")

    async def _show_curls(self, callers: Callers, report: DemoReport) -> None:
        first = callers.tally.first
        if first is None:
            return
        async with aiohttp.ClientSession() as session:  # as curl does it: a connection of its own
            after = await Callers(session, callers.url, iter(())).call(first.input)
        if after.status != 200:
            report.broken.append(f"the call afterwards failed: {after.status} {after.body[:200]}")
        body = json.dumps(first.input, ensure_ascii=False)
        self._console.print()
        print_curl(self._console, "Before", callers.url, body, first)
        print_curl(self._console, "After", callers.url, body, after)
        code = next((one.code for one in report.components if one.component_id == "order-lines"), None)
        if code:
            print_code(
                self._console, "\nThe handler of order-lines (generated, now in the application's repository)", code
            )


async def _newest_candidates(admin: Admin, app_id: str) -> dict[str, dict[str, Any]]:
    newest: dict[str, dict[str, Any]] = {}
    for row in await _candidates(admin, app_id):
        newest.setdefault(row["componentId"], row)
    return newest


def _difference(now: tuple[float, float], then: tuple[float, float]) -> tuple[float, float]:
    return now[0] - then[0], now[1] - then[1]


async def _candidates(admin: Admin, app_id: str) -> list[dict[str, Any]]:
    """The newest first; but for the story that tells of one, nothing of prompts that were to be shortened."""
    told = {story.component_id for story in STORIES if story.kind == "prompt"}
    rows = (await admin.get("/candidates", appId=app_id))["candidates"]
    return [row for row in rows if row["kind"] != "prompt" or row["componentId"] in told]

"""`uhlp demo --app banking77`: 200 real customer questions with a real model's recorded answers and the right labels.

The recording is imported as samples and replayed as the model; a handler is learnt from its TRAIN half. The figures are
whatever they are.
"""

import asyncio
import json
import time
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from uhlp.demo.admin import Admin
from uhlp.demo.load import Callers
from uhlp.demo.processes import DemoFailed, DemoProcess, free_port
from uhlp.demo.report import print_code, print_way_inside
from uhlp.traffic.importing import ImportedRow, import_rows
from uhlp.traffic.split import input_hash, split_of

FOLDER = Path(__file__).parent / "banking77"
COMPONENT = "intent"
ROUTE = "/intents"
COMPILED_WITHIN_S = 60.0
EVOLUTION = {"cycle_s": 1, "canary": {"min_step_s": 3}, "limits": {"usd_per_day": 10.0}}


@dataclass(slots=True)
class RecordedReport:
    """Figures on the HELD-OUT half: what the handler answered itself, and how that compares.

    `broken` says why import, compilation or report did not complete; figures never break a run.
    """

    rows: int
    imported: int = 0
    train: int = 0
    held_out: int = 0
    candidate_state: str = "-"
    candidate_reason: str = ""
    replay_words: str = ""
    evidence: str | None = None
    proven: float | None = None
    served: int = 0
    answered_by_code: int = 0
    agree_with_model: int = 0
    agree_with_gold: int = 0
    model_agrees_with_gold: int = 0
    wrong: list[dict[str, Any]] = field(default_factory=list)
    code_p50_ms: float | None = None
    guard: str = ""
    code: str | None = None
    duration_s: float = 0.0
    broken: list[str] = field(default_factory=list)

    @property
    def is_ok(self) -> bool:
        return not self.broken

    def to_dict(self) -> dict[str, Any]:
        return {"ok": self.is_ok, "model": "recorded", **asdict(self)}


class Banking77Demo:
    """One run over a recording with the fields text, llm_label and gold_label."""

    def __init__(
        self, *, console: Console, directory: Path, port: int, recording: Path, stack: AsyncExitStack, goes_on: bool
    ) -> None:
        self._console = console
        self._directory = directory
        self._port = free_port(port)
        self._recording = recording.absolute()
        self._stack = stack
        self._goes_on = goes_on
        self._token = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def run(self) -> RecordedReport:
        """Import, compile, serve, report. Raises DemoFailed when nothing can be started."""
        started = time.monotonic()
        lines = (await asyncio.to_thread(self._recording.read_text, encoding="utf-8")).splitlines()
        rows = import_rows(lines, input_fields=["text"], output_field="llm_label", gold_field="gold_label")
        report = RecordedReport(rows=len(rows))
        halves = [split_of(input_hash(row.input)) for row in rows]
        report.train, report.held_out = halves.count("train"), halves.count("held_out")
        admin, callers, app_id = await self._open()
        report.imported = await self._import(admin, app_id, rows)
        try:
            candidate = await self._compile(admin, app_id)
        except DemoFailed as failure:
            report.broken.append(str(failure))
        else:
            await self._serve(callers, rows, report)
            candidate = await admin.get(f"/candidates/{candidate['candidateId']}")
            self._fill_in(report, candidate)
        report.duration_s = time.monotonic() - started
        self._print(report)
        print_way_inside(self._console, self.url, self._token, f"{app_id} {COMPONENT}", goes_on=self._goes_on)
        return report

    async def _open(self) -> tuple[Admin, Callers, str]:
        data_dir = self._directory / "data"
        server = DemoProcess(
            "the server",
            ["serve", "--port", str(self._port)],
            {
                "UHLP_DATA_DIR": str(data_dir),
                "UHLP_EVOLUTION": json.dumps(EVOLUTION),
                "UHLP_LLM__PROVIDERS": json.dumps(
                    {
                        "replay": {
                            "kind": "replay", "path": str(self._recording),
                            "inputField": "text", "outputField": "llm_label",
                        }
                    }
                ),
                "UHLP_LLM__DEFAULT_PROVIDER": "replay",
            },
            self._directory / "server.log",
        )  # fmt: skip
        self._stack.push_async_callback(server.stop)
        await server.start(port=self._port)
        session = await self._stack.enter_async_context(aiohttp.ClientSession())
        self._token = (await asyncio.to_thread((data_dir / "admin_token").read_text)).strip()
        admin = Admin(session, self.url, self._token)
        app_id = await admin.register(FOLDER)
        self._console.print(
            f"Server at {self.url}, application [bold]{app_id}[/bold]; the model is [bold]recorded[/bold]: "
            f"{self._recording.name}",
            highlight=False,
        )
        return admin, Callers(session, f"{self.url}/apps/{app_id}{ROUTE}", iter(())), app_id

    async def _import(self, admin: Admin, app_id: str, rows: list[ImportedRow]) -> int:
        samples = [{"input": row.input, "output": row.output, "gold": row.gold} for row in rows]
        answer = await admin.post(f"/apps/{app_id}/samples", {"componentId": COMPONENT, "samples": samples})
        return int(answer["imported"])

    async def _compile(self, admin: Admin, app_id: str) -> dict[str, Any]:
        """The candidate once it has left the work before live traffic. Raises DemoFailed when it does not get there."""
        started = await admin.post(
            f"/apps/{app_id}/components/{COMPONENT}/optimize", {"action": "jit", "reason": "demo"}
        )
        deadline = time.monotonic() + COMPILED_WITHIN_S
        while time.monotonic() < deadline:
            candidate: dict[str, Any] = await admin.get(f"/candidates/{started['candidateId']}")
            if candidate["state"] in ("shadow", "canary", "promoted", "waiting"):
                return candidate
            if candidate["state"] not in ("discovered", "synthesized", "verified"):
                raise DemoFailed(f"the candidate ended as {candidate['state']}: {candidate['reason']}")
            await asyncio.sleep(0.2)
        raise DemoFailed(f"no handler after {COMPILED_WITHIN_S:.0f} s")

    async def _serve(self, callers: Callers, rows: list[ImportedRow], report: RecordedReport) -> None:
        """Ask every question once; count what code answered of the HELD-OUT half."""
        latencies = []
        for row in rows:
            answer = await callers.call(row.input)
            report.served += answer.status == 200
            if answer.status != 200 or answer.handler != "jit" or split_of(input_hash(row.input)) != "held_out":
                continue
            got = json.loads(answer.body)
            report.answered_by_code += 1
            report.agree_with_model += got == row.output
            report.agree_with_gold += got == row.gold
            report.model_agrees_with_gold += row.output == row.gold
            latencies.append(answer.latency_ms)
            if got != row.output:
                report.wrong.append({"input": row.input, "code": got, "model": row.output, "gold": row.gold})
        report.code_p50_ms = sorted(latencies)[len(latencies) // 2] if latencies else None
        if report.served < len(rows):
            report.broken.append(f"{len(rows) - report.served} of {len(rows)} requests failed")

    def _fill_in(self, report: RecordedReport, candidate: dict[str, Any]) -> None:
        report.candidate_state, report.candidate_reason = candidate["state"], candidate["reason"]
        report.evidence, report.proven = candidate["evidence"], candidate["proven"]
        report.code = candidate["code"]
        for event in candidate["timeline"]:
            if event["to"] == "shadow":
                report.replay_words = event["reason"]
            if event["to"] == "synthesized":
                report.guard = event["reason"]

    def _print(self, report: RecordedReport) -> None:
        table = Table(
            title="HELD-OUT half (recorded model)", box=box.SIMPLE_HEAD, title_justify="left", show_header=False
        )
        answered, held_out = report.answered_by_code, report.held_out
        halves = f"{report.train} TRAIN, {held_out} HELD-OUT"
        for name, value in (
            ("questions imported", f"{report.imported} of {report.rows} ({halves})"),
            ("answered by code", _part(answered, held_out)),
            ("agree with the recorded model", _part(report.agree_with_model, answered)),
            ("agree with the right label", _part(report.agree_with_gold, answered)),
            ("the model itself, on the same", _part(report.model_agrees_with_gold, answered)),
            ("code p50", "-" if report.code_p50_ms is None else f"{report.code_p50_ms:.1f} ms"),
            ("replay", report.replay_words or "-"),
            ("evidence now", report.evidence or "-"),
            ("candidate", f"{report.candidate_state}: {report.candidate_reason}"),
        ):
            table.add_row(name, value)
        if report.code:
            print_code(self._console, "The handler, learnt from the TRAIN half", _head(report.code))
        self._console.print(table)
        for one in report.wrong:
            self._console.print(
                Text(f"differs: {one['input']} code {one['code']}, model {one['model']}, right {one['gold']}")
            )
        for broken in report.broken:
            self._console.print(Text(f"did not complete: {broken}", style="red"))


def _head(code: str, lines: int = 40) -> str:
    every = code.splitlines()
    return "\n".join(every[:lines] + ([f"# … {len(every) - lines} more lines"] if len(every) > lines else []))


def _part(part: int, whole: int) -> str:
    return f"{part} of {whole} ({part / whole:.1%})" if whole else "-"

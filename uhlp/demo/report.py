"""What a demo found, as JSON and as tables."""

import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from shutil import which
from typing import Any

from rich import box
from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from uhlp.demo.load import Answer, Tally

_ON_TRIAL = {
    "shadow": "callers get the answers of the present prompt, and the shorter one is asked beside it.",
    "canary": "the shorter prompt answers a share of the calls, the present one the others.",
}
_TRIAL = (
    "Both are asked, and a judge compares their answers, so a call takes more tokens in `after` than it will. The demo "
    "makes no more calls: when enough further ones have shown that nothing is lost, the shorter prompt goes into "
    "service by itself."
)


@dataclass(frozen=True, slots=True)
class Phase:
    """What callers saw and what it took; tokens and cost count every model call, audits included."""

    calls: int
    handlers: dict[str, int]
    p50_ms: float | None
    p95_ms: float | None
    tokens_per_1000: float
    usd_per_1000: float

    @classmethod
    def of(cls, tally: Tally, spent: tuple[float, float]) -> "Phase":
        """`spent`: tokens and US dollars that these calls took."""
        per_1000 = 1000 / tally.n if tally.n else 0.0
        return cls(
            calls=tally.n,
            handlers=dict(tally.handlers),
            p50_ms=tally.quantile_ms(0.50),
            p95_ms=tally.quantile_ms(0.95),
            tokens_per_1000=spent[0] * per_1000,
            usd_per_1000=spent[1] * per_1000,
        )

    @property
    def main_handler(self) -> str:
        return max(self.handlers, key=lambda name: self.handlers[name]) if self.handlers else "-"


@dataclass(slots=True)
class ComponentReport:
    """One component, before and after; `refused` says which drafts and candidates were refused, and why."""

    component_id: str
    story: str
    before: Phase
    after: Phase
    candidate_id: str = ""
    state: str = "-"
    reason: str = ""
    coverage: float | None = None
    agreement: float | None = None
    proven: float | None = None
    deoptimised: dict[str, int] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    code: str | None = None
    tokens: dict[str, Any] | None = None
    broken: list[str] = field(default_factory=list)


@dataclass(slots=True)
class DemoReport:
    """The whole run; `broken` lists expectations that did not hold."""

    model: str
    duration_s: float
    calls: int
    components: list[ComponentReport]
    ledger: dict[str, Any]
    broken: list[str] = field(default_factory=list)

    @property
    def is_ok(self) -> bool:
        return not self.broken and not any(component.broken for component in self.components)

    def to_dict(self) -> dict[str, Any]:
        return {"ok": self.is_ok, **asdict(self)}


def print_report(console: Console, report: DemoReport, *, goes_on: bool) -> None:
    """The end table, and what was refused; what to do next, where the server `goes_on`."""
    table = Table(
        title=f"Before and after ({report.model} model)",
        box=box.SIMPLE_HEAD,
        title_justify="left",
        pad_edge=False,
        collapse_padding=True,  # in 80 columns nothing is cut off
    )
    for column in ("component", "handler", "p50 ms", "p95 ms", "tokens/k", "$/k", "covers", "agrees"):
        is_word = column in ("component", "handler")
        table.add_column(column, justify="left" if is_word else "right", no_wrap=True)
    for one in report.components:
        table.add_row(one.component_id, *_phase_cells(one.before), "", "", style="dim")
        table.add_row("  → after", *_phase_cells(one.after), _share(one.coverage), _share(one.agreement), style="bold")
    console.print()
    console.print(table)
    console.print(Text("/k: per 1,000 calls, with what audits and trials ask the model", style="dim"))
    for one in report.components:
        console.print(Text.assemble((one.component_id, "bold"), f"  {one.state}: {one.reason}"))
        if one.tokens:
            told = one.tokens
            console.print(
                f"    prompt tokens a call: {told['before']:,.0f} before, {told['after']:,.0f} after; on held-out "
                f"samples {told['passedBefore']} of {told['ofBefore']} runs pass before, "
                f"{told['passedAfter']} of {told['ofAfter']} after"
            )
        if one.tokens and one.state in _ON_TRIAL:
            console.print(f"    on trial: {_ON_TRIAL[one.state]} {_TRIAL}", highlight=False)
            if goes_on:
                name, ends = one.candidate_id, {"shadow": "reject", "canary": "rollback"}[one.state]
                console.print(
                    f"    follow it: uhlp show {name}; end it: uhlp {ends} {name} --reason WHY", highlight=False
                )
        for refused in one.refused:
            console.print(Text(f"    {refused}", style="yellow"))
        for broken in one.broken:
            console.print(Text(f"    not as expected: {broken}", style="red"))
    holds = "holds" if report.ledger.get("ok") else "DOES NOT HOLD"
    console.print(
        f"{report.calls:,} calls in {report.duration_s:.0f} s; "
        f"ledger: {report.ledger.get('entries')} entries, the chain {holds}."
    )
    for broken in report.broken:
        console.print(Text(f"not as expected: {broken}", style="red"))


def print_way_inside(console: Console, url: str, token: str, component: str, *, goes_on: bool) -> None:
    """Panel, token and commands of the server, where it `goes_on`; `component` is `APP COMPONENT`."""
    console.print()
    if not goes_on:
        console.print("The server ends now. `uhlp demo` without --once goes on serving, to look inside.")
        return
    console.print(Text(f"Panel: {url}/panel (token {token}). In another terminal:", style="bold"))
    path = "" if which("uhlp") else f" PATH={Path(sys.executable).parent}:$PATH"
    for line in (
        f"export UHLP_URL={url} UHLP_ADMIN_TOKEN={token}{path}",
        f"uhlp status; uhlp why {component}; uhlp candidates; uhlp ledger show",
    ):
        console.print(f"  {line}", highlight=False, soft_wrap=True)


def print_curl(console: Console, title: str, url: str, body: str, answer: Answer) -> None:
    """A call as one types it, and the lines of its answer that tell who gave it."""
    console.print(Text(title, style="bold"))
    console.print(
        Text(f"$ curl -si {url} -H 'Content-Type: application/json' -d '{body}'", style="cyan"), soft_wrap=True
    )
    for name in ("X-UHLP-Handler", "X-UHLP-Implementation", "X-UHLP-Reason", "X-UHLP-Deoptimized", "Server-Timing"):
        if value := answer.headers.get(name):
            console.print(Text(f"  {name}: {value}"))
    console.print(Text(f"  {answer.body}"), soft_wrap=True)


def print_code(console: Console, title: str, code: str) -> None:
    """A handler's source."""
    console.print(Text(title, style="bold"))
    highlighted = Syntax(code, "python", theme="ansi_dark", background_color="default").highlight(code.rstrip())
    console.print(highlighted, soft_wrap=True)


def _phase_cells(phase: Phase) -> tuple[str, ...]:
    numbers = (
        (phase.p50_ms, ".1f"),
        (phase.p95_ms, ".1f"),
        (phase.tokens_per_1000, ",.0f"),
        (phase.usd_per_1000, ".3f"),
    )
    return phase.main_handler, *("-" if value is None else format(value, form) for value, form in numbers)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"

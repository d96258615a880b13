"""What handlers and shorter prompts have saved: every request they took part in, against the baseline that was frozen
before they served.

    saved = baseline per call · answered requests - what those requests took        in dollars, seconds and tokens
    net   = saved - what evolution spent on the component (coder, judge, references, audits)

A request that the handler left to the model took the model and the handler before it, so it counts with a small loss.
A shorter prompt saves a share of each call: requests that are longer or shorter than those of the baseline's hour count
for or against it as well; what it saves of one and the same request is in its report.
The baseline is that of the checkpoint: what the model took per call in the hour before the candidate came into shadow.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from uhlp.evolution.candidate import Candidate
from uhlp.evolution.usage_store import UseRow
from uhlp.llm.usage import DEOPTIMISED, EVOLUTION, SERVED_BY_HANDLER, SERVED_BY_PROMPT, Use, date_of
from uhlp.optimization.break_even import PerCall, usd

_BY_CANDIDATES = (SERVED_BY_HANDLER, SERVED_BY_PROMPT, DEOPTIMISED)


@dataclass(slots=True)
class Saved:
    """Sums over requests. `usd` leaves out those whose baseline has no known price (`unpriced` of them). `by_itself`
    are those that were not left to the model as it was before, `by_handler` those of them that code answered.
    """

    requests: int = 0
    by_handler: int = 0
    by_itself: int = 0
    usd: float = 0.0
    seconds: float = 0.0
    tokens: float = 0.0
    unpriced: int = 0

    def add(self, kind: str, use: Use, baseline: PerCall) -> None:
        """The requests of one row."""
        answered = use.calls - use.failed
        self.requests += use.calls
        self.by_handler += use.calls if kind == SERVED_BY_HANDLER else 0
        self.by_itself += use.calls if kind != DEOPTIMISED else 0
        self.seconds += baseline.seconds * answered - use.seconds
        self.tokens += baseline.tokens * answered - use.tokens
        if baseline.usd is None:
            self.unpriced += use.calls
        else:
            self.usd += baseline.usd * answered - use.usd


def has_priced_baseline(candidate: Candidate) -> bool:
    """Whether its checkpoint alone says what one call took before it."""
    return candidate.checkpoint is not None and bool(candidate.checkpoint.baseline.get("costUsd"))


def baseline_of(candidate: Candidate, discovered: Mapping[str, Any]) -> PerCall | None:
    """What one call took before this candidate, from its checkpoint; where that saw no call, from the evidence of its
    discovery (`discovered`). None when neither did."""
    known = (discovered.get("expected") or {}).get("modelPerCall")
    baseline = candidate.checkpoint.baseline if candidate.checkpoint is not None else {}
    count = baseline.get("count", 0)
    if not count:
        return None if known is None else PerCall(**known)
    is_unpriced = known is not None and known["usd"] is None and not baseline["costUsd"]
    return PerCall(
        usd=None if is_unpriced else baseline["costUsd"] / count,
        seconds=(baseline["latencyMs"]["avg"] or 0.0) / 1000,
        tokens=(baseline["tokensIn"] + baseline["tokensOut"]) / count,
    )


def saved_by(rows: Iterable[UseRow], baselines: Mapping[str, PerCall | None]) -> Saved:
    """What the candidates with these baselines saved in these rows; a candidate without a baseline saved unknown."""
    saved = Saved()
    for key, use in rows:
        baseline = baselines.get(key.candidate_id)
        if key.kind in _BY_CANDIDATES and baseline is not None:
            saved.add(key.kind, use, baseline)
    return saved


def balance_of(rows: Iterable[UseRow], baselines: Mapping[str, PerCall | None], per_second: float) -> dict[str, Any]:
    """Saved, spent and net of these rows as JSON values; `valueUsd` is net money and the seconds at `per_second`."""
    rows = list(rows)
    saved = saved_by(rows, baselines)
    spent = Use.sum(use for key, use in rows if key.kind in EVOLUTION)
    net_usd = saved.usd - spent.usd
    return {
        "requests": saved.requests,
        "byHandler": saved.by_handler,
        "saved": {"usd": saved.usd, "seconds": saved.seconds, "tokens": round(saved.tokens)},
        "spent": {"usd": spent.usd, "tokens": spent.tokens, "unpricedCalls": spent.unpriced},
        "net": {"usd": net_usd, "seconds": saved.seconds, "tokens": round(saved.tokens) - spent.tokens},
        "valueUsd": net_usd + per_second * saved.seconds,
        "unpricedRequests": saved.unpriced,
    }


def days_of(
    rows: Iterable[UseRow], baselines: Mapping[str, PerCall | None], per_second: float, *, first_day: int
) -> list[dict[str, Any]]:
    """{day, …balance} of every day from `first_day` on in which anything happened, the newest first."""
    days: dict[int, list[UseRow]] = defaultdict(list)
    for row in rows:
        if row[0].day >= first_day:
            days[row[0].day].append(row)
    return [{"day": date_of(day), **balance_of(days[day], baselines, per_second)} for day in sorted(days, reverse=True)]


def measured(
    candidate: Candidate, rows: Iterable[UseRow], baseline: PerCall | None, per_second: float
) -> dict[str, Any] | None:
    """N* of what is in service, from what it really took and saved; None before its first request. `rows` are those of
    its component.

    `calls` is None when it does not pay or a price is not known, `compileUsd` where that of the coder is not. Its
    audits are running costs, all else is what it took to make it.
    """
    rows = list(rows)
    saved = saved_by((row for row in rows if row[0].candidate_id == candidate.id), {candidate.id: baseline})
    if not saved.requests:
        return None
    costs = candidate.costs
    spent = Use.sum(use for key, use in rows if key.kind in EVOLUTION)
    is_free = bool(spent.calls) and not spent.unpriced
    is_priced = bool(costs.usd) or is_free or not (costs.tokens_in or costs.tokens_out)
    compile_usd = costs.usd - costs.audits_usd if is_priced else None
    saving_usd = None if saved.unpriced else (saved.usd - costs.audits_usd) / saved.requests
    saving_seconds = saved.seconds / saved.requests
    value = None if saving_usd is None else saving_usd + per_second * saving_seconds
    calls = None
    if value is not None and compile_usd is not None and (compile_usd <= 0 or value > 0):
        calls = 0 if compile_usd <= 0 else ceil(compile_usd / value - 1e-9)
    return {
        "calls": calls,
        "requests": saved.requests,
        "coverage": saved.by_itself / saved.requests,
        "compileUsd": compile_usd,
        "audits": costs.audits,
        "auditsUsd": costs.audits_usd,
        "savingUsdPerCall": saving_usd,
        "savingSecondsPerCall": saving_seconds,
        "valueUsdPerCall": value,
        "savedUsd": None if saved.unpriced else saved.usd - costs.audits_usd,
        "savedSeconds": saved.seconds,
        "isPaidBack": None if value is None or compile_usd is None else value * saved.requests >= compile_usd,
        "words": _words(calls, saved.requests, compile_usd, value, saving_seconds),
    }


def _words(calls: int | None, requests: int, compile_usd: float | None, value: float | None, seconds: float) -> str:
    if compile_usd is None:
        per_call = f"{seconds:.3g} s a call" if value is None else f"{usd(value)} and {seconds:.3g} s a call"
        return f"it saves {per_call}; whether that pays is not known: what made it has no price"
    took = f"it took {usd(compile_usd)} to make"
    if value is None:
        return f"{took} and saves {seconds:.3g} s a call; whether that pays is not known without a price"
    if calls is None:
        return f"{took} and saves {usd(value)} and {seconds:.3g} s a call: it does not pay"
    if requests >= calls:
        return f"{took}, saves {usd(value)} and {seconds:.3g} s a call, and was paid for after {calls:,} calls"
    return f"{took}, saves {usd(value)} and {seconds:.3g} s a call, and pays after {calls:,} calls, {requests:,} so far"

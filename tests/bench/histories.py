"""Administration beside a history that grows: `python -m tests.bench.histories`.

What a page, a total or a commit costs with little behind it and with much: the figures of a line should be alike, but
for what a start takes.
"""

import asyncio
import gc
import tempfile
from collections.abc import Awaitable, Callable, Iterable
from itertools import islice
from pathlib import Path
from statistics import median
from time import perf_counter

import pygit2

from tests.bench.state import definition, resident_mib, state_of, timed
from uhlp.clock import SystemClock
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate import CandidateState, Checkpoint, Draft, Mismatch
from uhlp.evolution.candidate_rows import CandidateRows
from uhlp.evolution.comparison import Comparison
from uhlp.evolution.config import EvolutionConfig
from uhlp.evolution.decisions import create, decide
from uhlp.evolution.live_evidence import LiveEvidence
from uhlp.evolution.records import Change, digest_of
from uhlp.evolution.store import EvolutionStore
from uhlp.evolution.usage_store import NO_CANDIDATE, UsageStore
from uhlp.llm.usage import SERVED_BY_HANDLER, UsageBook
from uhlp.metering import NullMeter
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.traffic.samples import SampleStore

_TIMES = 30
Figures = dict[str, float]
"""By what was measured, in the unit that it names."""


async def _p50_ms(work: Callable[[int], Awaitable[object]], times: int = _TIMES) -> float:
    await timed(work, 3)
    return median(await timed(work, times)) * 1000


async def samples(folder: Path, number: int) -> Figures:
    """The newest twenty of `number` samples of one component, none of them deleted yet, and the counts of all."""
    store = SampleStore(folder / "samples.db", clock=SystemClock(), newest=number, reservoir=number)
    started = perf_counter()
    for at in range(number):
        while store.waiting > 1_000:
            await store.flush()
        store.record_served(
            "desk", "sort", input={"text": f"Parcel {at} is late, where is it?" * 4}, output={"team": "shipping"},
            implementation="prompt@stable", handler="llm", latency_ms=12.0, tokens_in=200, tokens_out=9, cost_usd=0.001,
            ok=at % 50 != 0, trace_id=f"{at:032x}", spec_hash="spec",
        )  # fmt: skip
    await store.flush()
    spent_us = (perf_counter() - started) / number * 1e6
    page = await _p50_ms(lambda _: store.samples("desk", "sort", ok=None, limit=20))
    counts = await _p50_ms(lambda _: store.counts("desk", "sort"))
    await store.close()
    return {"samples, newest 20, ms": page, "samples, counts, ms": counts, "samples, to keep one, µs": spent_us}


async def usage(folder: Path, number: int) -> Figures:
    """The totals of an application that `number` candidates have served."""
    book = UsageBook(clock=SystemClock())
    async with UsageStore(path=folder / "usage.db", book=book) as store:
        for at in range(number):
            book.served(
                "desk", "sort", SERVED_BY_HANDLER, candidate_id=f"c-{at:012x}",
                ok=True, tokens_in=0, tokens_out=0, usd=0.0, seconds=0.01,
            )  # fmt: skip
        for purpose in ("serve", "coder", "reference", "audit"):
            book.called("desk", "sort", purpose, tokens_in=100, tokens_out=10, usd=0.01, seconds=0.5)
        await store.run_cycle()
        return {
            "usage, of an application, ms": await _p50_ms(
                lambda _: store.rows(app_id="desk", candidate_id=NO_CANDIDATE)
            )
        }


async def commits(folder: Path, number: int) -> Figures:
    """One small file of an application with `number` versions of a handler."""
    state = state_of(folder / "apps")
    registry = ApplicationRegistry(state=state)
    app_files = definition("desk", 3)
    await state.create_repository("desk")
    code = "\n".join(f"    if inputs['text'] == 'text {at}': return {{'team': 'team {at}'}}" for at in range(40))
    versions = {
        f"_jit_code/c0/v{at}/{name}": f"# {at}\n{code}\n".encode()
        for at in range(1, number + 1)
        for name in ("handler.py", "test_handler.py", "record.json")
    }
    await state.commit("desk", {**app_files, **versions}, message="m")
    await registry.load_all()

    return {"commit of one file, ms": await _p50_ms(lambda at: _write(registry, at))}


async def loose(folder: Path, number: int) -> Figures:
    """One small file of an application whose repository has `number` loose objects: nobody packs them."""
    state = state_of(folder / "apps")
    registry = ApplicationRegistry(state=state)
    await state.create_repository("desk")
    await state.commit("desk", definition("desk", 3), message="m")
    await registry.load_all()
    git = pygit2.Repository(str(folder / "apps" / "desk.git"))
    for at in range(number):
        git.create_blob(f"object {at}".encode())
    return {"commit beside loose objects, ms": await _p50_ms(lambda at: _write(registry, at))}


async def _write(registry: ApplicationRegistry, number: int) -> None:
    text = f"{number} at {perf_counter()}\n".encode()
    await registry.apply_files("desk", {"files/number.txt": text}, message="Note the number")


def _progress() -> dict[str, object]:
    """What a candidate has measured by its end: some two hundred comparisons, two of them lost."""
    live = LiveEvidence.open(attempt=1, epsilon=0.05, config=EvolutionConfig(), trained=frozenset())
    for at in range(200):
        live.see(latency_ms=1.0 + at / 100)
        comparison = Comparison(
            stage="audit", input_hash=digest_of(at), input={}, outcome="wrong" if at % 100 == 99 else "agreed",
            reference="single", expected={"team": "billing"}, got={"team": "shipping"},
        )  # fmt: skip
        live.enter(comparison, duplicates_cap=5)
    lost = tuple(Mismatch(digest_of(at), "audit", "single", 0.0, "held_out") for at in range(2))
    return {**live.progress(), "mismatches": lost}


def _ended(number: int) -> Iterable[list[Change]]:
    baseline = {"count": 100, "costUsd": 0.1, "latencyMs": {"avg": 500.0}, "tokensIn": 100, "tokensOut": 10}
    for at in range(number):
        one, created = create(
            f"c-{at:012x}", app_id="desk", component_id="sort", proposer="coder", spec_hash="spec", attempt=at + 1,
            ts=float(at), actor="oracle", reason="the rule was true",
        )  # fmt: skip
        changes = [Change(created, one, {}, ())]
        drafts = (Draft("0" * 64, "verify", "1 of 40 known answers came out otherwise", 1), Draft("1" * 64))
        for to in (CandidateState.SYNTHESIZED, CandidateState.REJECTED):
            one, entry = decide(
                one, to, ts=float(at), actor="governor", reason="wrong too often", code_sha=f"{at:064x}", drafts=drafts,
                checkpoint=Checkpoint("0" * 40, baseline), **_progress(),
            )  # fmt: skip
            changes.append(Change(entry, one, {}, ()))
        yield changes


class _NoneLive:
    """Stands in for the governor."""

    def evidence_of(self, candidate_id: str) -> None:
        return None


async def candidates(folder: Path, number: int) -> Figures:
    """`number` candidates that have ended."""
    clock = SystemClock()
    async with EvolutionStore(path=folder / "evolution.db", clock=clock) as store:
        for changes in _ended(number):
            await store.append_all(changes)
        gc.collect()
        before = resident_mib()
        book = CandidateBook(store=store, clock=clock, meter=NullMeter())
        started = perf_counter()
        await book.open()
        opened = perf_counter() - started
        gc.collect()
        kib = (resident_mib() - before) * 1024 / number
        rows = CandidateRows(book=book, governor=_NoneLive())
        page = await _p50_ms(lambda _: rows.texts(list(islice(book.newest_first(), 100))))
        return {
            "candidates, start, s": opened, "candidates, held for each, KiB": kib, "candidates, newest 100, ms": page,
        }  # fmt: skip


async def main() -> None:
    for measure, sizes in ((samples, (500, 10_000, 100_000)), (usage, (10, 1_000, 10_000)), (commits, (1, 60, 600)),
                           (loose, (0, 5_000, 50_000)), (candidates, (50, 500, 5_000))):  # fmt: skip
        rows = []
        for number in sizes:
            with tempfile.TemporaryDirectory() as folder:
                rows.append(await measure(Path(folder), number))
        for name in rows[0]:
            shown = "".join(f"{f'{number:,}':>10}: {row[name]:8.3f}" for number, row in zip(sizes, rows, strict=True))
            print(f"{name:32}{shown}", flush=True)


if __name__ == "__main__":
    asyncio.run(main())

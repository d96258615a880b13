"""Candidates that have ended: little of them stays in memory, and everything is still told."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.evolution.world import APP, PARSE, World
from uhlp.clock import FakeClock
from uhlp.errors import CandidateNotFound, NotLeading, ValidationFailed
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate import Candidate, CandidateState, Costs, Figures, Mismatch
from uhlp.evolution.candidate_rows import CandidateRows
from uhlp.evolution.ledger import Event
from uhlp.evolution.outlines import is_outline
from uhlp.evolution.statistics import EvidenceAccount
from uhlp.evolution.store import EvolutionStore
from uhlp.metering import NullMeter

S = CandidateState


@asynccontextmanager
async def opened(folder: Path, *, kept_whole: int = 1) -> AsyncIterator[CandidateBook]:
    clock = FakeClock()
    async with EvolutionStore(path=folder / "evolution.db", clock=clock) as store:
        book = CandidateBook(store=store, clock=clock, meter=NullMeter(), kept_whole=kept_whole)
        await book.open()
        assert not book.problems
        yield book


async def created(book: CandidateBook, component_id: str = "triage", app_id: str = "shop") -> Candidate:
    return await book.create(
        app_id, component_id, actor="oracle", reason="try", proposer="coder", spec_hash="spec", attempt=1
    )


async def ended(book: CandidateBook, component_id: str = "triage", app_id: str = "shop") -> Candidate:
    """One that has measured something of everything, and is rejected."""
    one = await created(book, component_id, app_id)
    account = EvidenceAccount()
    for at in range(60):
        account.observe(1.0 if at == 30 else 0.0)
    measured = {
        "evidence": account.to_dict(), "monitor": {"failures": 0}, "executions": 60,
        "measurements": {"inputs": {"a" * 16: 3}, "latenciesMs": [1.0, 2.0], "p50Ms": 1.5},
        "figures": Figures(seen=60, answered=60, agreed=59, wrong=1),
        "mismatches": (Mismatch("0" * 64, "audit", "single", 1.0, "held_out"),),
    }  # fmt: skip
    book.grow(one.id, **measured)
    return await book.decide(one.id, S.REJECTED, actor="governor", reason="one was wrong", cause="wrong")


async def test_what_an_ended_candidate_measured_is_in_memory_only_while_it_is_among_the_last(tmp_path: Path) -> None:
    async with opened(tmp_path, kept_whole=2) as book:
        ids = [(await ended(book)).id for _ in range(5)]
        open_one = await created(book)
        assert [is_outline(book.candidate(one)) for one in ids] == [True, True, True, False, False]
        assert not is_outline(book.candidate(open_one.id))
    async with opened(tmp_path) as book:
        assert all(is_outline(book.candidate(one)) for one in ids)
        assert not is_outline(book.candidate(open_one.id))


async def test_whoever_asks_for_the_whole_gets_all_that_was_measured(tmp_path: Path) -> None:
    async with opened(tmp_path) as book:
        before = await ended(book)
        await ended(book)
        assert await book.whole(before.id) == before
    async with opened(tmp_path) as book:
        assert await book.whole(before.id) == before
        with pytest.raises(CandidateNotFound):
            await book.whole("c-none")


async def test_whoever_forgets_to_ask_gets_an_error_and_no_empty_answer(tmp_path: Path) -> None:
    async with opened(tmp_path) as book:
        first = (await ended(book)).id
        await ended(book)
        outline = book.candidate(first)
        assert (outline.state, outline.figures.wrong, outline.cause) == (S.REJECTED, 1, "wrong")
        for read in (
            lambda: outline.evidence.get("n"),
            lambda: outline.monitor["failures"],
            lambda: dict(outline.measurements),
            lambda: len(outline.mismatches),
            lambda: [*outline.mismatches],
            lambda: book.grow(first, measurements={}),
        ):
            with pytest.raises(RuntimeError, match="has ended"):
                read()


async def test_a_decision_about_an_ended_candidate_loses_nothing_of_what_it_measured(tmp_path: Path) -> None:
    async with opened(tmp_path) as book:
        before = await ended(book)
        for _ in range(3):
            await ended(book)
    async with opened(tmp_path) as book:
        await book.decide(before.id, S.QUARANTINED, actor="ann", reason="never again")
        assert [one.id for one in book.active()] == [before.id]
        await book.decide(before.id, S.REJECTED, actor="ann", reason="perhaps")
        await book.decide(before.id, actor="ann", reason="perhaps", event=Event.FORGIVEN)
    async with opened(tmp_path) as book:
        after = await book.whole(before.id)
        assert after.progress() == before.progress()
        assert (after.state, after.reason) == (S.REJECTED, "perhaps")


async def test_what_a_person_corrects_of_an_ended_candidate_is_kept(tmp_path: Path) -> None:
    async with opened(tmp_path) as book:
        before = await ended(book)
        for _ in range(3):
            await ended(book)
        whole = await book.whole(before.id)
        book.grow(before.id, figures=Figures(seen=60, answered=60, agreed=60, overruled=1))
        for _ in range(3):
            await ended(book)
        assert not is_outline(book.candidate(before.id)), "it is not saved yet"
        await book.save()
    async with opened(tmp_path) as book:
        after = await book.whole(before.id)
        assert after.figures.overruled == 1
        assert (after.evidence, after.mismatches) == (whole.evidence, whole.mismatches)


async def test_what_a_candidate_has_cost_is_charged_although_it_ended_long_before_its_model_answered(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as book:
        before = await ended(book)
        for _ in range(3):
            await ended(book)
        assert is_outline(book.candidate(before.id))
        book.grow(before.id, costs=Costs(tokens_in=100, usd=0.5))
        await ended(book)
        await book.save()
    async with opened(tmp_path) as book:
        assert book.candidate(before.id).costs == Costs(tokens_in=100, usd=0.5)
        assert await book.whole(before.id) == replace(before, costs=Costs(tokens_in=100, usd=0.5))


async def test_candidates_are_found_by_component_and_state_among_many(tmp_path: Path) -> None:
    async with opened(tmp_path) as book:
        for _ in range(3):
            await ended(book)
            await ended(book, "sort")
            await ended(book, "triage", "desk")
        open_one = await created(book)
        by_hand = [one.id for one in book.candidates() if (one.app_id, one.component_id) == ("shop", "triage")]
        assert [one.id for one in book.candidates("shop", "triage")] == by_hand
        assert len(by_hand) == 4
        assert book.open_candidate("shop", "triage") == open_one
        assert book.open_candidate("shop", "sort") is None
        assert book.in_service("shop", "triage") is None
        assert [one.id for one in book.candidates(state="discovered")] == [open_one.id]
        assert len(book.candidates("desk", state="rejected")) == 3
        assert book.states() == {
            ("shop", S.REJECTED): 6, ("desk", S.REJECTED): 3, ("shop", S.DISCOVERED): 1,
        }  # fmt: skip


async def ids_of_all_pages(world: World, limit: int, **wanted: str) -> list[str]:
    found: list[str] = []
    after: str | None = None
    while True:
        page = await world.oversight.candidates(**wanted, limit=limit, after=after)
        assert len(page.rows) == limit or page.cursor is None
        found += [one["candidateId"] for one in page.rows]
        after = page.cursor
        if after is None:
            return found


async def test_pages_of_candidates_leave_nothing_out_and_show_nothing_twice(world: World) -> None:
    made = []
    for at in range(7):
        one = await created(world.book, PARSE, APP)
        await world.book.decide(one.id, S.EXPIRED, actor="governor", reason="nothing came of it")
        made.append(one.id)
        if at % 2:
            other = await created(world.book, "other", APP)
            await world.book.decide(other.id, S.REJECTED, actor="governor", reason="no")
            made.append(other.id)
    newest_first = list(reversed(made))
    for limit in (1, 3, len(made), len(made) + 1):
        assert await ids_of_all_pages(world, limit) == newest_first
    assert len(await ids_of_all_pages(world, 2, state="expired")) == 7
    assert await ids_of_all_pages(world, 2, state="rejected") == [
        one["candidateId"] for one in (await world.oversight.candidates(component_id="other")).rows
    ]
    first = await world.oversight.candidates(limit=3)
    await created(world.book, PARSE, APP)  # what comes meanwhile is on no later page
    second = await world.oversight.candidates(limit=3, after=first.cursor)
    assert [one["candidateId"] for one in (*first.rows, *second.rows)] == newest_first[:6]
    with pytest.raises(ValidationFailed, match="cursor"):
        await world.oversight.candidates(after="c-none")


async def test_an_ended_candidate_is_shown_after_a_restart_as_before_it(world: World) -> None:
    candidate_id = await world.to_state("promoted")
    await world.oversight.act(candidate_id, "rollback", actor="ann", reason="no")
    (row,) = (await world.oversight.candidates()).rows
    whole = await world.oversight.candidate(candidate_id)
    why = await world.oversight.why(APP, PARSE)
    savings = await world.oversight.savings(APP)
    assert row["evidence"].startswith("proven < ")
    assert row["p50Ms"] is not None
    await world.restart(crash=False)
    assert is_outline(world.book.candidate(candidate_id))
    assert (await world.oversight.candidates()).rows == [row]
    assert (await world.oversight.why(APP, PARSE))["lines"][0] == why["lines"][0]  # the rest is of live traffic
    assert await world.oversight.savings(APP) == savings
    assert await world.oversight.candidate(candidate_id) == whole


async def to_outline(world: World, candidate_id: str) -> None:
    """Others end, until what it measured is no longer in memory."""
    while not is_outline(world.book.candidate(candidate_id)):
        await ended(world.book, "other", APP)


async def test_the_row_of_an_ended_candidate_says_what_was_decided_of_it_since_it_was_last_shown(world: World) -> None:
    candidate_id = (await ended(world.book, "other", APP)).id
    await to_outline(world, candidate_id)
    shown = [(await world.oversight.candidates()).rows[-1] for _ in range(2)]
    assert [(one["state"], one["reason"]) for one in shown] == [("rejected", "one was wrong")] * 2
    await world.oversight.act(candidate_id, "quarantine", actor="ann", reason="never again")
    await world.oversight.act(candidate_id, "clear-quarantine", actor="ann", reason="perhaps")
    await to_outline(world, candidate_id)
    for _ in range(2):
        row = (await world.oversight.candidates()).rows[-1]
        assert (row["state"], row["reason"]) == ("rejected", "perhaps")
        assert row == shown[0] | {one: row[one] for one in ("reason", "cause", "updatedAt")}


async def test_rows_are_those_of_each_however_few_are_kept(world: World) -> None:
    ids = [(await ended(world.book, "other", APP)).id for _ in range(12)]
    rows = CandidateRows(book=world.book, governor=world.governor, kept=2)
    for _ in range(2):
        for chosen in (ids, ids[:3], [*reversed(ids)]):
            texts = await rows.texts([world.book.candidate(one) for one in chosen])
            assert [json.loads(one)["candidateId"] for one in texts] == chosen


async def test_a_decision_that_is_refused_while_others_are_read_leaves_nothing_that_cannot_be_saved(
    tmp_path: Path,
) -> None:
    refusals: list[str] = []

    def fence() -> None:
        if refusals:
            raise NotLeading(refusals[0])

    clock = FakeClock()
    async with EvolutionStore(path=tmp_path / "evolution.db", clock=clock, fence=fence) as store:
        book = CandidateBook(store=store, clock=clock, meter=NullMeter(), kept_whole=1)
        await book.open()
        first, second, _ = [await ended(book) for _ in range(3)]
        refusals.append("another one leads")
        decided, _ = await asyncio.gather(
            book.decide(first.id, actor="ann", reason="a word on it"), book.whole(second.id), return_exceptions=True
        )
        assert isinstance(decided, NotLeading)
        await book.save()
        assert await book.whole(first.id) == first

"""Counts that a restart does not reset."""

import sqlite3
from pathlib import Path

import pytest

from uhlp.clock import FakeClock
from uhlp.errors import Unavailable
from uhlp.evolution.usage_store import DAYS_KEPT, EARLIER, NO_CANDIDATE, UsageStore
from uhlp.llm.usage import DAY_S, SERVED_BY_HANDLER, SERVED_BY_MODEL, UsageBook


def opened(folder: Path, clock: FakeClock) -> tuple[UsageBook, UsageStore]:
    book = UsageBook(clock=clock)
    return book, UsageStore(path=folder / "evolution.db", book=book)


def call(book: UsageBook, purpose: str = "coder", component_id: str = "parse") -> None:
    book.called("shop", component_id, purpose, tokens_in=100, tokens_out=20, usd=0.25, seconds=0.5)


async def test_the_day_goes_on_after_a_restart(tmp_path: Path) -> None:
    clock = FakeClock()
    book, store = opened(tmp_path, clock)
    async with store:
        call(book)
    book, store = opened(tmp_path, clock)
    async with store:
        assert book.of_evolution().usd == 0.25
        call(book)
    book, store = opened(tmp_path, clock)
    async with store:
        assert book.of_evolution().usd == 0.5
        assert [use.calls for _key, use in await store.rows()] == [2]


async def test_totals_are_of_all_days(tmp_path: Path) -> None:
    clock = FakeClock()
    book, store = opened(tmp_path, clock)
    async with store:
        call(book)
        clock.advance(DAY_S)
        call(book)
        assert [use.calls for _key, use in await store.rows(kind="coder")] == [1, 1]
        assert book.of_evolution().calls == 1


async def test_rows_are_found_by_application_component_and_kind(tmp_path: Path) -> None:
    book, store = opened(tmp_path, FakeClock())
    async with store:
        call(book, "coder")
        call(book, "audit")
        call(book, "audit", "other")
        assert len(await store.rows(app_id="shop", component_id="parse")) == 2
        assert len(await store.rows(kind="audit")) == 2
        assert await store.rows(app_id="nobody") == []


async def test_model_calls_are_read_without_the_rows_of_candidates(tmp_path: Path) -> None:
    book, store = opened(tmp_path, FakeClock())
    async with store:
        call(book, "coder")
        book.served("shop", "parse", SERVED_BY_MODEL, ok=True, tokens_in=0, tokens_out=0, usd=0.0, seconds=0.1)
        for at in range(40):
            book.served(
                "shop", "parse", SERVED_BY_HANDLER, candidate_id=f"c-{at}",
                ok=True, tokens_in=0, tokens_out=0, usd=0.0, seconds=0.1,
            )  # fmt: skip
        assert len(await store.rows(app_id="shop")) == 42
        without = await store.rows(app_id="shop", candidate_id=NO_CANDIDATE)
        assert [key.kind for key, _use in without] == ["coder", SERVED_BY_MODEL]
        assert [key.candidate_id for key, _use in await store.rows(app_id="shop", candidate_id="c-7")] == ["c-7"]
        assert await store.rows(app_id="other", candidate_id="c-7") == []


async def test_what_cannot_be_written_now_is_written_later(tmp_path: Path) -> None:
    book, store = opened(tmp_path, FakeClock())
    async with store:
        call(book)
        other = sqlite3.connect(tmp_path / "evolution.db", isolation_level=None)
        store._db.execute("PRAGMA busy_timeout = 1")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Unavailable, match="usage table"):
            await store.run_cycle()
        call(book)
        other.execute("COMMIT")
        other.close()
        assert [use.calls for _key, use in await store.rows()] == [2]


async def test_days_stay_apart_for_35_days_and_are_then_added_up_without_loss(tmp_path: Path) -> None:
    clock = FakeClock()
    book, store = opened(tmp_path, clock)
    async with store:
        for _day in range(50):
            call(book)
            call(book, "audit")
            await store.run_cycle()
            clock.advance(DAY_S)
        await store.run_cycle()
        found = await store.rows(kind="coder")
        today = book.day
    assert {key.day for key, _use in found} == {EARLIER, *range(today - DAYS_KEPT + 1, today)}
    assert [use.calls for key, use in found if key.day == EARLIER] == [50 - DAYS_KEPT + 1]
    clock.advance(60 * DAY_S)
    _book, store = opened(tmp_path, clock)
    async with store:
        assert [(key.day, use.calls, use.usd) for key, use in await store.rows(kind="coder")] == [(EARLIER, 50, 12.5)]

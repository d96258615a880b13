"""Counts of samples that nobody counts: they are what counting the rows would give, whatever happened to the rows."""

import sqlite3
from contextlib import closing

import pytest

from uhlp.clock import FakeClock
from uhlp.traffic.importing import ImportedRow
from uhlp.traffic.samples import SampleStore

COUNTED = (
    "SELECT count(*), total(ok AND split = 'train'), total(ok AND split = 'held_out'), total(NOT ok),"
    " total(source = 'import'), count(DISTINCT input_hash) FROM samples WHERE app_id = ? AND component_id = ?"
)
BY_HANDLER = "SELECT handler, count(*) FROM samples WHERE app_id = ? AND component_id = ? GROUP BY handler"


def open_store(folder):
    return SampleStore(folder / "samples.db", clock=FakeClock(), newest=100, reservoir=50, failures=10)


@pytest.fixture
async def store(tmp_path):
    store = open_store(tmp_path)
    yield store
    await store.close()


def serve(store, number, *, app="shop", component="triage"):
    store.record_served(
        app, component, input={"n": number % 40}, output={"label": number}, implementation="prompt@stable",
        handler=("llm", "jit")[number % 3 == 0], latency_ms=12.5, tokens_in=3, tokens_out=4, cost_usd=0.001,
        ok=number % 7 != 0, trace_id="t", spec_hash="s1",
    )  # fmt: skip


async def check(store, folder, app="shop", component="triage"):
    """Hold what the store says against the rows themselves; the number of samples."""
    told = await store.counts(app, component)
    with closing(sqlite3.connect(folder / "samples.db")) as db:
        counted = db.execute(COUNTED, (app, component)).fetchone()
        by_handler = dict(db.execute(BY_HANDLER, (app, component)).fetchall())
    assert counted == (told.total, told.train, told.held_out, told.failed, told.imported, told.distinct_inputs)
    assert by_handler == told.by_handler
    return told.total


async def test_nothing_is_counted_of_what_was_never_asked(store, tmp_path):
    assert await check(store, tmp_path) == 0


async def test_counts_follow_samples_that_come_and_go(store, tmp_path):
    seen = []
    for number in range(1_000):
        serve(store, number)
        serve(store, number, component="other")
        if number % 90 == 0:
            seen.append(await check(store, tmp_path))
    assert seen[-1] < 250, "nothing was deleted: this shows too little"
    rows = [ImportedRow(input={"n": at}, output={}, line=at) for at in range(5)]
    await store.import_samples("shop", "triage", rows, spec_hash="s1")
    assert (await store.counts("shop", "triage")).imported == 5
    await check(store, tmp_path)
    await check(store, tmp_path, component="other")


async def test_a_deleted_application_leaves_no_counts(store, tmp_path):
    for number in range(20):
        serve(store, number)
        serve(store, number, app="desk")
    await store.delete_application("shop")
    assert await check(store, tmp_path) == 0
    assert await check(store, tmp_path, app="desk") == 20
    with closing(sqlite3.connect(tmp_path / "samples.db")) as db:
        for table in ("sample_tallies", "input_tallies"):
            assert {app for (app,) in db.execute(f"SELECT app_id FROM {table}")} == {"desk"}


async def test_a_file_from_before_there_were_counts_is_counted_when_it_is_opened(tmp_path):
    store = open_store(tmp_path)
    for number in range(60):
        serve(store, number)
    await store.close()
    with closing(sqlite3.connect(tmp_path / "samples.db")) as db:
        db.executescript(
            "DROP TRIGGER sample_kept; DROP TRIGGER sample_deleted; DROP INDEX samples_by_input;"
            "DROP TABLE sample_tallies; DROP TABLE input_tallies;"
        )
    store = open_store(tmp_path)
    assert await check(store, tmp_path) == 60
    serve(store, 60)
    assert await check(store, tmp_path) == 61
    await store.close()


async def test_counts_are_there_after_a_restart(tmp_path):
    store = open_store(tmp_path)
    for number in range(60):
        serve(store, number)
    await store.close()
    store = open_store(tmp_path)
    assert await check(store, tmp_path) == 60
    await store.close()

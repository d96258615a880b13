import sqlite3
import stat

import pytest

from uhlp.clock import FakeClock
from uhlp.errors import Unavailable
from uhlp.execution.workflow.journal_table import (
    delete_old,
    delete_run,
    masked_steps,
    select_begun_by,
    select_open_runs,
    select_run,
    select_runs,
    select_steps,
)
from uhlp.execution.workflow.records import RunBegun, RunEnded, RunMoved, RunRecord, StepBegun, StepEnded, StepRecord
from uhlp.execution.workflow.run_history import MOST_STEPS, RunHistory
from uhlp.execution.workflow.run_journal import RunJournal


@pytest.fixture
async def journal(tmp_path):
    journal = RunJournal(tmp_path / "workflows.db", kept_value_bytes=200)
    await journal.open()
    yield journal
    await journal.aclose()


def run_of(run_id="r1", **fields):
    made = {
        "run_id": run_id, "app_id": "shop", "component_id": "order", "workflow_id": "order", "revision": "a" * 40,
        "source": "http", "source_details": None, "user_info": None, "session_id": None, "trace_id": "t1",
        "trace": None, "input": {"item": "lamp"}, "is_attended": True, "dedupe_key": None, "redact": (),
        "started": 100.0, "deadline": 130.0, **fields,
    }  # fmt: skip
    return RunRecord(**made)


def step_of(path="price", attempt=1, run_id="r1", **fields):
    made = {"step_id": path, "kind": "jit", "state": "running", "started": 101.0, "input": {"item": "lamp"}, **fields}
    return StepRecord(run_id=run_id, path=path, attempt=attempt, **made)


def ended(path="price", attempt=1, state="succeeded", run_id="r1", **fields):
    return StepEnded(run_id=run_id, path=path, attempt=attempt, state=state, ended=102.0, **fields)


async def test_what_was_flushed_is_read_back_after_the_process_died(journal, tmp_path):
    run = run_of(user_info={"userId": "u1"}, dedupe_key="queue:7", redact=("card",))
    journal.append(RunBegun(run))
    journal.append(StepBegun(step_of()))
    journal.append(ended(output=b'{"usd":3}', implementation="jit@v2", tokens_in=1, tokens_out=2, cost_usd=0.5))
    journal.append(StepBegun(step_of("charge")))
    await journal.flush()
    other = RunJournal(tmp_path / "workflows.db")  # the first one still has the file open, as a dead process had
    await other.open()
    assert await other.ask(select_open_runs) == [run]
    price, charge = await other.ask(lambda db: select_steps(db, "r1"))
    assert (price.state, price.output, price.implementation, price.cost_usd) == ("succeeded", {"usd": 3}, "jit@v2", 0.5)
    assert (charge.state, charge.ended) == ("running", None)
    await other.aclose()


async def test_entries_are_kept_in_order_and_a_question_sees_all_before_it(journal):
    journal.append(RunBegun(run_of()))
    for number in range(1_200):  # more than one transaction holds
        journal.append(StepBegun(step_of(f"items[{number}]/price")))
    paths = [step.path for step in await journal.ask(lambda db: select_steps(db, "r1"))]
    assert paths == [f"items[{number}]/price" for number in range(1_200)]


async def test_a_run_that_goes_on_is_whole_and_one_that_ended_is_masked(journal):
    journal.append(RunBegun(run_of(input={"card": "4111", "item": "lamp"}, redact=("card",))))
    journal.append(StepBegun(step_of(input={"card": "4111"}), redact=("email",)))
    journal.append(ended(output=b'{"card":"4111","email":"a@b.c","usd":3}'))
    (raw,) = await journal.ask(lambda db: select_steps(db, "r1"))
    assert raw.output == {"card": "4111", "email": "a@b.c", "usd": 3}
    run = await journal.ask(lambda db: select_run(db, "shop", "r1"))
    (shown,) = await journal.ask(lambda db: masked_steps(db, run, limit=10))
    masked = {"card": "[redacted]", "email": "[redacted]", "usd": 3}
    assert (shown.input, shown.output) == ({"card": "[redacted]"}, masked)
    journal.append(RunEnded(run_id="r1", state="succeeded", ended=103.0, result={"card": "4111", "ok": True}))
    (kept,) = await journal.ask(lambda db: select_steps(db, "r1"))
    assert kept.output == masked
    run = await journal.ask(lambda db: select_run(db, "shop", "r1"))
    assert run.input == {"card": "[redacted]", "item": "lamp"}
    assert (run.state, run.result) == ("succeeded", {"card": "[redacted]", "ok": True})


async def test_no_byte_of_a_masked_value_is_left_in_the_file(journal, tmp_path):
    secret = "4111-1111-1111-1111"
    journal.append(RunBegun(run_of(input={"card": secret}, redact=("card",))))
    journal.append(StepBegun(step_of(input={"card": secret})))
    journal.append(ended(output=b'{"card":"%s"}' % secret.encode()))
    await journal.flush()
    journal.append(RunEnded(run_id="r1", state="failed", ended=103.0, result={"card": secret}))
    await journal.flush()
    await journal.aclose()
    assert b"lamp" not in (tmp_path / "workflows.db").read_bytes()
    assert secret.encode() not in (tmp_path / "workflows.db").read_bytes()


async def test_a_large_value_is_dropped_when_the_run_ends(journal):
    journal.append(RunBegun(run_of()))
    journal.append(StepBegun(step_of()))
    journal.append(ended(output=b'"%s"' % (b"x" * 300)))
    journal.append(RunEnded(run_id="r1", state="succeeded", ended=103.0))
    (kept,) = await journal.ask(lambda db: select_steps(db, "r1"))
    assert kept.output == {"omittedBytes": 302}


async def test_a_large_result_is_kept_for_the_caller_who_comes_for_it(journal):
    for run_id, fields in (("async", {}), ("attended", {"is_attended": True}), ("queued", {"source": "queue"})):
        journal.append(RunBegun(run_of(run_id, **{"is_attended": False, **fields}, redact=("card",))))
        journal.append(
            RunEnded(run_id=run_id, state="succeeded", ended=103.0, result={"card": "4111", "text": "x" * 300})
        )
    listed = await journal.ask(lambda db: select_runs(db, "shop", component_id=None, state=None, limit=3))
    omitted = {"omittedBytes": 325}
    assert {run.run_id: run.result for run in listed} == {
        "async": {"card": "[redacted]", "text": "x" * 300}, "attended": omitted, "queued": omitted,
    }  # fmt: skip


async def test_a_large_input_of_a_step_is_not_kept_at_all(journal):
    journal.append(RunBegun(run_of()))
    journal.append(StepBegun(step_of(input={"item": "x" * 300})))
    journal.append(StepBegun(step_of("charge", input={"item": "x" * 100})))
    large, small = await journal.ask(lambda db: select_steps(db, "r1"))
    assert (large.input, small.input) == ({"omittedBytes": 311}, {"item": "x" * 100})


async def test_steps_that_had_not_ended_are_cancelled_with_their_run(journal):
    journal.append(RunBegun(run_of()))
    journal.append(StepBegun(step_of(state="waiting", wake_at=500.0, signal="paid", correlation="o1")))
    journal.append(RunMoved(run_id="r1", state="waiting"))
    assert (await journal.ask(select_open_runs))[0].state == "waiting"
    journal.append(RunEnded(run_id="r1", state="cancelled", ended=103.0))
    (kept,) = await journal.ask(lambda db: select_steps(db, "r1"))
    assert (kept.state, kept.ended, kept.signal) == ("cancelled", 103.0, "paid")
    journal.append(RunMoved(run_id="r1", state="running"))  # comes too late
    assert await journal.ask(select_open_runs) == []


async def test_one_thing_begins_one_run(journal):
    journal.append(RunBegun(run_of("r1", dedupe_key="queue:7")))
    journal.append(RunBegun(run_of("r2", dedupe_key="queue:7")))
    found = await journal.ask(lambda db: select_begun_by(db, "shop", "queue:7"))
    assert found is not None
    assert found.run_id == "r1"


async def test_runs_are_listed_newest_first_by_component_and_state(journal):
    for number in range(4):
        journal.append(RunBegun(run_of(f"r{number}", component_id="order" if number % 2 else "refund")))
    journal.append(RunEnded(run_id="r3", state="failed", ended=103.0, error={"code": "X", "message": "no"}))
    listed = await journal.ask(lambda db: select_runs(db, "shop", component_id=None, state=None, limit=3))
    assert [run.run_id for run in listed] == ["r3", "r2", "r1"]
    failed = await journal.ask(lambda db: select_runs(db, "shop", component_id="order", state="failed", limit=3))
    assert [(run.run_id, run.error) for run in failed] == [("r3", {"code": "X", "message": "no"})]


async def test_old_runs_and_too_many_of_them_are_forgotten_and_open_ones_stay(journal):
    for number in range(6):
        journal.append(RunBegun(run_of(f"r{number}")))
        journal.append(StepBegun(step_of(run_id=f"r{number}")))
        if number != 1:
            journal.append(RunEnded(run_id=f"r{number}", state="succeeded", ended=100.0 + number))
    assert await journal.ask(lambda db: delete_old(db, before=101.0, keep_runs=3)) == 2
    left = await journal.ask(lambda db: select_runs(db, "shop", component_id=None, state=None, limit=10))
    assert [run.run_id for run in left] == ["r5", "r4", "r3", "r1"]
    assert await journal.ask(lambda db: select_steps(db, "r0")) == []


async def test_a_disk_that_refuses_is_told_and_what_it_refused_is_written_later(journal, tmp_path):
    await journal.ask(lambda db: db.execute("PRAGMA busy_timeout = 1"))
    other = sqlite3.connect(tmp_path / "workflows.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    journal.append(RunBegun(run_of()))
    with pytest.raises(Unavailable, match="not written"):
        await journal.flush()
    other.execute("ROLLBACK")
    other.close()
    await journal.flush()
    assert len(await journal.ask(select_open_runs)) == 1


async def test_so_many_entries_wait_for_a_disk_that_refuses_and_no_more(tmp_path):
    journal = RunJournal(tmp_path / "workflows.db", most_waiting=10)
    await journal.open()
    await journal.ask(lambda db: db.execute("PRAGMA busy_timeout = 1"))
    other = sqlite3.connect(tmp_path / "workflows.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for number in range(11):
        journal.append(RunBegun(run_of(f"r{number}")))
        with pytest.raises(Unavailable, match="not written"):
            await journal.flush()
    with pytest.raises(Unavailable, match="not written"):
        journal.append(RunBegun(run_of("one too many")))
    other.execute("ROLLBACK")
    other.close()
    await journal.flush()
    assert len(await journal.ask(select_open_runs)) == 11
    await journal.aclose()


async def test_an_entry_that_cannot_be_written_holds_up_no_other(journal):
    journal.append(RunBegun(run_of("r1")))
    journal.append(StepBegun(step_of("odd", input=object())))
    journal.append(StepBegun(step_of("huge", tokens_in=2**70)))
    journal.append(RunBegun(run_of("r2")))
    await journal.flush()
    assert [run.run_id for run in await journal.ask(select_open_runs)] == ["r1", "r2"]
    assert await journal.ask(lambda db: select_steps(db, "r1")) == []


async def test_a_closed_journal_says_so(journal):
    await journal.aclose()
    with pytest.raises(Unavailable, match="closed"):
        journal.append(RunBegun(run_of()))


async def test_the_file_is_private(journal, tmp_path):
    assert stat.S_IMODE((tmp_path / "workflows.db").stat().st_mode) == 0o600


async def test_what_is_asked_for_is_done_as_a_whole_or_not_at_all(journal):
    journal.append(RunBegun(run_of()))
    journal.append(StepBegun(step_of()))

    def half(db):
        db.execute("DELETE FROM steps")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await journal.ask(half)
    assert len(await journal.ask(lambda db: select_steps(db, "r1"))) == 1
    await journal.ask(lambda db: delete_run(db, "r1"))
    assert await journal.ask(select_open_runs) == []


async def test_a_timeline_shows_so_many_steps_and_the_usage_of_all(journal):
    journal.append(RunBegun(run_of()))
    for number in range(MOST_STEPS + 3):
        journal.append(StepBegun(step_of(f"s{number}")))
        journal.append(ended(f"s{number}", tokens_in=1, tokens_out=2, cost_usd=0.5))
    shown = await RunHistory(journal=journal, clock=FakeClock()).timeline("shop", "r1")
    assert (len(shown["steps"]), shown["areStepsLeftOut"]) == (MOST_STEPS, True)
    all_of_them = MOST_STEPS + 3
    assert shown["usage"] == {"tokensIn": all_of_them, "tokensOut": 2 * all_of_them, "costUsd": all_of_them / 2}

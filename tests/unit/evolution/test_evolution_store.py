"""The evolution store on a real file: transactions, restarts, tampering."""

import asyncio
import resource
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.evolution.settings_set import put_setting
from uhlp.clock import FakeClock
from uhlp.errors import CandidateNotFound, LedgerDamaged, StateConflict, Unavailable
from uhlp.evolution.candidate import Candidate, CandidateState, Costs
from uhlp.evolution.decisions import create, decide
from uhlp.evolution.ledger import Event, LedgerEntry, StoredRow, genesis, verify_rows
from uhlp.evolution.records import Change, RegressionCase, digest_of
from uhlp.evolution.statistics import EvidenceAccount
from uhlp.evolution.store import EvolutionStore

S = CandidateState


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "evolution.db"


@pytest.fixture
async def store(path: Path, clock: FakeClock) -> AsyncIterator[EvolutionStore]:
    async with EvolutionStore(path=path, clock=clock) as opened:
        yield opened


async def discover(store: EvolutionStore, candidate_id: str = "c-1", component_id: str = "triage") -> Candidate:
    candidate, entry = create(
        candidate_id,
        app_id="shop",
        component_id=component_id,
        proposer="coder",
        spec_hash="spec",
        attempt=1,
        ts=100.0,
        actor="oracle",
        reason="the rule was true",
    )
    await store.append(entry, candidate)
    return candidate


async def move(store: EvolutionStore, candidate: Candidate, *states: CandidateState, **changes: Any) -> Candidate:
    for state in states:
        candidate, entry = decide(candidate, state, ts=candidate.updated_at + 1, actor="g", reason="r", **changes)
        await store.append(entry, candidate)
    return candidate


def with_evidence(candidate: Candidate, *losses: float) -> Candidate:
    account = EvidenceAccount.from_dict(candidate.evidence) if candidate.evidence else EvidenceAccount()
    for loss in losses:
        account.observe(loss)
    return replace(candidate, evidence=account.to_dict())


async def test_a_decision_is_there_after_a_restart(path: Path, clock: FakeClock) -> None:
    async with EvolutionStore(path=path, clock=clock) as store:
        candidate = await move(store, await discover(store), S.SYNTHESIZED, code_sha="abc", costs=Costs(1, 2, 0.5))
        head = await store.head()
    async with EvolutionStore(path=path, clock=clock) as store:
        assert await store.candidate("c-1") == candidate
        assert await store.head() == head
        assert await store.check_fold() == []
        assert (await store.verify(head)).ok


async def test_candidates_are_found_by_application_state_and_component(store: EvolutionStore) -> None:
    first = await move(store, await discover(store), S.REJECTED)
    second = await discover(store, "c-2")
    other = await discover(store, "c-3", "lines")
    assert await store.candidates() == [first, second, other]
    assert await store.candidates("shop", S.DISCOVERED) == [second, other]
    assert await store.candidates("elsewhere") == []
    assert await store.candidates("shop", component_id="triage") == [first, second]
    with pytest.raises(CandidateNotFound):
        await store.candidate("c-9")


async def test_a_component_has_one_open_candidate(store: EvolutionStore) -> None:
    await discover(store)
    with pytest.raises(StateConflict, match="another open candidate"):
        await discover(store, "c-2")
    assert (await store.head())[0] == 1
    assert len(await store.candidates()) == 1


async def test_a_promotion_supersedes_the_one_before_in_one_transaction(store: EvolutionStore) -> None:
    to_canary = (S.SYNTHESIZED, S.VERIFIED, S.SHADOW, S.CANARY)
    old = await move(store, await discover(store), *to_canary, S.PROMOTED)
    new = await move(store, await discover(store, "c-2"), *to_canary)
    promoted = decide(new, S.PROMOTED, ts=300.0, actor="g", reason="r")
    with pytest.raises(StateConflict, match="another promoted candidate"):
        await store.append(promoted[1], promoted[0])
    superseded = decide(old, S.SUPERSEDED, ts=300.0, actor="g", reason="a better handler")
    await store.append_all([Change(superseded[1], superseded[0]), Change(promoted[1], promoted[0])])
    assert await store.promoted("shop", "triage") == promoted[0]
    assert await store.check_fold() == []


async def test_a_decision_on_a_stale_candidate_writes_nothing(store: EvolutionStore) -> None:
    stale = await discover(store)
    await move(store, stale, S.SYNTHESIZED)
    with pytest.raises(StateConflict, match="moved on"):
        await move(store, stale, S.REJECTED)
    noted, entry = decide(stale, ts=1.0, actor="g", reason="r", paused=True)
    with pytest.raises(StateConflict, match="moved on"):
        await store.append(replace(entry, from_state=S.SYNTHESIZED), noted)
    assert (await store.head())[0] == 2
    assert (await store.verify()).ok


async def test_an_entry_about_a_candidate_needs_that_candidate(store: EvolutionStore) -> None:
    _, entry = decide(await discover(store), S.SYNTHESIZED, ts=1.0, actor="g", reason="r")
    with pytest.raises(ValueError, match="comes with that candidate"):
        await store.append(entry)
    assert (await store.head())[0] == 1


async def test_clean_evidence_is_saved_at_most_every_few_seconds(
    store: EvolutionStore, path: Path, clock: FakeClock
) -> None:
    candidate = with_evidence(await discover(store), 0.0)
    assert not await store.update_evidence(candidate)
    assert (await store.candidate("c-1")).evidence["n"] == 1
    clock.advance(5)
    candidate = with_evidence(candidate, 0.0)
    assert await store.update_evidence(candidate)
    async with EvolutionStore(path=path, clock=clock) as other:
        assert (await other.candidate("c-1")).evidence["n"] == 2
    assert (await store.head())[0] == 1
    assert await store.check_fold() == []


async def test_a_wrong_answer_is_saved_at_once(store: EvolutionStore, path: Path, clock: FakeClock) -> None:
    candidate = with_evidence(await discover(store), 1.0)
    assert await store.update_evidence(candidate)
    async with EvolutionStore(path=path, clock=clock) as other:
        assert (await other.candidate("c-1")).evidence["k"] == 1


async def test_unsaved_evidence_is_written_by_flush_close_and_the_next_decision(path: Path, clock: FakeClock) -> None:
    async with EvolutionStore(path=path, clock=clock) as store:
        candidate = with_evidence(await discover(store), 0.0)
        await store.update_evidence(candidate)
        await store.flush()
        candidate = with_evidence(candidate, 0.0)
        await store.update_evidence(candidate)
    async with EvolutionStore(path=path, clock=clock) as store:
        assert (await store.candidate("c-1")).evidence["n"] == 2
        candidate = with_evidence(candidate, 0.0)
        await store.update_evidence(candidate)
        moved = await move(store, candidate, S.SYNTHESIZED)
        assert moved.evidence["n"] == 3
    async with EvolutionStore(path=path, clock=clock) as store:
        assert await store.candidate("c-1") == moved


async def test_attempts_are_counted_per_component_and_specification(store: EvolutionStore) -> None:
    await move(store, await move(store, await discover(store), S.SYNTHESIZED, code_sha="bad"), S.REJECTED)
    attempts = await store.attempts("shop", "triage", "spec")
    assert (attempts.attempt, attempts.failures, attempts.barred) == (1, 1, {"bad"})
    assert (await store.attempts("shop", "triage", "changed spec")).attempt == 0
    assert (await store.attempts("shop", "lines", "spec")).attempt == 0


async def test_entries_are_read_in_pages(store: EvolutionStore) -> None:
    await move(store, await discover(store), S.SYNTHESIZED, S.REJECTED)
    await discover(store, "c-2")
    await store.pause(actor="owner", reason="holiday", app_id="other")
    assert [one.seq for one in await store.entries(limit=2)] == [1, 2]
    assert [one.seq for one in await store.entries(after=2)] == [3, 4, 5]
    assert [one.seq for one in await store.entries("shop")] == [1, 2, 3, 4]
    assert [one.entry.to_state for one in await store.entries(candidate_id="c-1")] == [
        "discovered",
        "synthesized",
        "rejected",
    ]


async def test_pauses_hold_for_what_they_enclose_and_survive_restarts(path: Path, clock: FakeClock) -> None:
    async with EvolutionStore(path=path, clock=clock) as store:
        await store.pause(actor="owner", reason="looking", app_id="shop", component_id="triage")
        assert store.is_paused("shop", "triage")
        assert not store.is_paused("shop", "lines")
        await store.pause(actor="owner", reason="still looking", app_id="shop")
        await store.resume(actor="owner", reason="done", app_id="shop", component_id="triage")
        assert store.is_paused("shop", "triage")
        assert not store.is_paused("other")
    async with EvolutionStore(path=path, clock=clock) as store:
        assert store.pauses() == {("shop", None)}
        await store.pause(actor="owner", reason="freeze")
        assert store.is_paused("other", "any")
        assert await store.check_fold() == []
        assert [one.entry.event for one in await store.entries()][-2:] == [Event.RESUMED, Event.PAUSED]
        with pytest.raises(ValueError, match="within an application"):
            await store.pause(actor="owner", reason="r", component_id="triage")


async def test_settings_are_decisions(store: EvolutionStore) -> None:
    await put_setting(store, "evolution", {"epsilon": 0.02}, actor="owner", reason="stricter")
    await put_setting(store, "optimization.rules", [1], actor="owner", reason="new rule")
    await put_setting(store, "optimization.rules", None, actor="owner", reason="no rule")
    assert await store.settings() == {"evolution": {"epsilon": 0.02}}
    assert [one.entry.reason for one in await store.entries()] == ["stricter", "new rule", "no rule"]
    assert await store.check_fold() == []


async def test_failing_inputs_are_kept_as_payloads_and_can_be_deleted(store: EvolutionStore) -> None:
    case = {"input": {"text": "refund", "amount": 1.0}, "expected": "billing", "got": "other"}
    digest = digest_of(case)
    candidate, entry = decide(
        await discover(store), S.REJECTED, ts=2.0, actor="g", reason="replay found it wrong", payloads=[digest]
    )
    regression = RegressionCase("shop", "triage", "spec", digest, "train", "c-1", "replay", 2.0, case)
    await store.append(entry, candidate, regressions=[regression])
    assert await store.regressions("shop", "triage", "spec") == [regression]
    assert await store.regressions("shop", "triage") == [regression]
    assert await store.regressions("shop", "triage", "changed spec") == []
    assert isinstance((await store.payload(digest, "shop"))["input"]["amount"], float)
    assert b"refund" not in (await store.entries())[-1].entry.to_dict().__repr__().encode()
    await store.delete_payloads("shop")
    assert await store.payload(digest, "shop") is None
    assert await store.regressions("shop", "triage") == []
    assert (await store.verify()).ok


async def test_deeply_nested_payloads_come_back(store: EvolutionStore) -> None:
    value: Any = "deep"
    for _ in range(64):
        value = [value]
    case = {"input": value, "expected": value, "got": None}
    candidate, entry = decide(await discover(store), S.REJECTED, ts=2.0, actor="g", reason="r")
    await store.append(entry, candidate, payloads={digest_of(case): case})
    assert await store.payload(digest_of(case), "shop") == case


async def filled(path: Path, clock: FakeClock) -> tuple[int, str]:
    """A ledger of four entries, in the database file alone."""
    async with EvolutionStore(path=path, clock=clock) as store:
        await move(store, await discover(store), S.SYNTHESIZED, S.REJECTED, code_sha="abc")
        await put_setting(store, "evolution", {"epsilon": 0.02}, actor="owner", reason="stricter")
        head = await store.head()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA journal_mode = DELETE")
    return head


async def test_an_empty_ledger_has_the_genesis_of_its_instance(store: EvolutionStore, path: Path) -> None:
    with sqlite3.connect(path) as db:
        (instance_id,) = db.execute("SELECT id FROM instance").fetchone()
    assert await store.head() == (0, genesis(instance_id).hex())
    assert (await store.verify()).ok


def stored_rows(path: Path) -> list[StoredRow]:
    columns = ("body", "hash", "app_id", "component_id", "candidate_id", "spec_hash")
    as_bytes = ", ".join(f"CAST({name} AS BLOB)" for name in columns)
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as db:
        found = db.execute(f"SELECT seq, {as_bytes} FROM ledger ORDER BY seq").fetchall()
    return [StoredRow(seq, body or b"", digest or b"", tuple(rest)) for seq, body, digest, *rest in found]


def contents(path: Path) -> bytes:
    return path.read_bytes()


def overwrite(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def flipped(value: bytes, position: int) -> bytes:
    return value[:position] + bytes([value[position] ^ 1 << (position % 8)]) + value[position + 1 :]


async def test_changing_any_byte_of_any_entry_is_found(path: Path, clock: FakeClock) -> None:
    await filled(path, clock)
    rows = stored_rows(path)
    with sqlite3.connect(path) as db:
        (instance_id,) = db.execute("SELECT id FROM instance").fetchone()
    assert verify_rows(instance_id, rows).ok
    for i, row in enumerate(rows):
        damaged = [replace(row, body=flipped(row.body, at)) for at in range(len(row.body))]
        damaged += [replace(row, hash=flipped(row.hash, at)) for at in range(len(row.hash))]
        for one in damaged:
            report = verify_rows(instance_id, [*rows[:i], one, *rows[i + 1 :]])
            assert (report.ok, report.first_bad and report.first_bad.seq) == (False, row.seq)


async def test_any_byte_of_the_rows_in_the_file_itself_is_part_of_the_chain(path: Path, clock: FakeClock) -> None:
    await filled(path, clock)
    original, rows = contents(path), stored_rows(path)
    with closing(sqlite3.connect(path)) as db:
        (instance_id,) = db.execute("SELECT id FROM instance").fetchone()
    for row in rows:
        stored = row.body + row.hash + b"".join(one or b"" for one in row.columns)
        start = original.index(row.body + row.hash)
        assert original[start : start + len(stored)] == stored
        for position in range(start, start + len(stored)):
            overwrite(path, flipped(original, position))
            report = verify_rows(instance_id, stored_rows(path))
            assert (report.ok, report.first_bad and report.first_bad.seq) == (False, row.seq), position - start


async def test_bytes_changed_in_the_file_itself_are_found(path: Path, clock: FakeClock) -> None:
    await filled(path, clock)
    original = contents(path)
    for row in stored_rows(path):
        start = original.index(row.body + row.hash)
        length = len(row.body + row.hash + b"".join(one or b"" for one in row.columns))
        for position in {*range(start, start + length, 17), *range(start + length - 40, start + length)}:
            overwrite(path, flipped(original, position))
            async with EvolutionStore(path=path, clock=clock) as store:
                report = await store.verify()
            assert (report.ok, report.first_bad and report.first_bad.seq) == (False, row.seq), position - start


@pytest.mark.parametrize(
    ("change", "bad", "why"),
    [
        ("DELETE FROM ledger WHERE seq = 2", 2, "missing"),
        ("DELETE FROM ledger WHERE seq = 4", 4, "anchor"),
        ("UPDATE ledger SET seq = 9 WHERE seq = 4", 4, "renumbered"),
        ("UPDATE ledger SET candidate_id = 'c-2' WHERE seq = 3", 3, "search column"),
        ("UPDATE ledger SET spec_hash = NULL WHERE seq = 1", 1, "search column"),
        ("UPDATE ledger SET body = (SELECT body FROM ledger WHERE seq = 1) WHERE seq = 2", 2, "changed"),
        ("UPDATE instance SET id = 'another'", 1, "changed"),
    ],
)
async def test_what_was_done_to_the_ledger_is_named(
    path: Path, clock: FakeClock, change: str, bad: int, why: str
) -> None:
    head = await filled(path, clock)
    with sqlite3.connect(path) as db:
        db.execute(change)
    async with EvolutionStore(path=path, clock=clock) as store:
        report = await store.verify(head)
    assert report.first_bad is not None
    assert (report.ok, report.first_bad.seq, report.entries) == (False, bad, bad - 1)
    assert why in report.first_bad.why


async def test_another_history_than_the_anchored_one_is_found(store: EvolutionStore) -> None:
    await discover(store)
    report = await store.verify((1, "00" * 32))
    assert report.first_bad is not None
    assert "anchored" in report.first_bad.why


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("UPDATE candidates SET decided = CAST(replace(decided, 'rejected', 'promoted') AS BLOB)", "c-1"),
        ("UPDATE candidates SET state = 'promoted'", "c-1"),
        ("UPDATE candidates SET decided = 'no JSON'", "c-1"),
        ("DELETE FROM candidates", "c-1"),
        ("DELETE FROM ledger WHERE candidate_id = 'c-1'", "c-1"),
        ("DELETE FROM ledger WHERE seq = 2", "c-1"),
        ("DELETE FROM settings", "settings"),
        ("INSERT INTO pauses VALUES (NULL, NULL)", "pauses"),
    ],
)
async def test_tables_that_are_not_the_fold_of_the_ledger_are_named(
    path: Path, clock: FakeClock, change: str, what: str
) -> None:
    await filled(path, clock)
    with sqlite3.connect(path) as db:
        db.execute(change)
    async with EvolutionStore(path=path, clock=clock) as store:
        assert what in {problem.what for problem in await store.check_fold()}


@pytest.mark.parametrize(
    "change",
    [
        'CAST(replace(body, \'"to":"\', \'"to":"x\') AS BLOB)',
        "CAST(replace(body, '{', '[') AS BLOB)",
        "'[]'",
        "'{}'",
        "x'00'",
    ],
)
async def test_an_entry_that_somebody_changed_is_named_and_stops_no_server(
    path: Path, clock: FakeClock, change: str
) -> None:
    await filled(path, clock)
    with sqlite3.connect(path) as db:
        db.execute(f"UPDATE ledger SET body = {change} WHERE seq = 2")
    async with EvolutionStore(path=path, clock=clock) as store:
        assert (await store.check_fold())[0].what == "ledger entry 2"
        report = await store.verify()
        assert report.first_bad is not None
        assert report.first_bad.seq == 2


async def test_reading_an_entry_that_is_none_any_more_names_it(path: Path, clock: FakeClock) -> None:
    await filled(path, clock)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE ledger SET body = CAST(replace(body, '{', '[') AS BLOB) WHERE seq = 2")
    async with EvolutionStore(path=path, clock=clock) as store:
        with pytest.raises(LedgerDamaged, match="Entry 2 of the ledger"):
            await store.entries()
        assert len(await store.readable_entries()) == 3


async def test_a_store_that_is_not_open_says_so(path: Path, clock: FakeClock) -> None:
    with pytest.raises(RuntimeError, match="not open"):
        await EvolutionStore(path=path, clock=clock).head()


def test_entries_keep_the_names_of_the_wire() -> None:
    entry = LedgerEntry(ts=1.0, actor="owner", event=Event.NOTED, reason="r", app_id="shop", from_state="shadow")
    values = entry.to_dict()
    assert (values["app"], values["from"], values["codeSha"]) == ("shop", "shadow", None)
    assert LedgerEntry.from_dict({"seq": 1, **values}) == entry


async def test_a_full_disk_is_named_and_loses_no_evidence(store: EvolutionStore, path: Path) -> None:
    candidate = await discover(store)
    better = replace(candidate, evidence={**candidate.evidence, "k": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(Unavailable, match=r"the evolution database .*evolution.db fails: "):
            await store.update_evidence(better)
        with pytest.raises(Unavailable):
            await store.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (await store.candidate(candidate.id)).evidence["k"] == 1
    await store.flush()
    async with EvolutionStore(path=path, clock=FakeClock()) as another:
        assert (await another.candidate(candidate.id)).evidence["k"] == 1


async def test_what_a_full_disk_refuses_is_refused_in_its_own_words(store: EvolutionStore) -> None:
    candidate = await discover(store)
    full = "PRAGMA max_page_count = 1"  # no page more than there are

    def leave_no_room() -> None:
        assert store._database._connection is not None
        store._database._connection.execute(full)

    await store._run(leave_no_room)
    long = {"payload": "x" * 100_000}
    with pytest.raises(Unavailable, match="disk is full"):
        await store.update_evidence(candidate, payloads=long)


async def test_evidence_that_waited_does_not_take_the_place_of_what_a_decision_has_written(
    store: EvolutionStore,
) -> None:
    candidate = await discover(store)
    assert not await store.update_evidence(replace(candidate, executions=1))  # it was saved just now: it waits
    decided, entry = decide(
        replace(candidate, executions=2), S.SYNTHESIZED, ts=candidate.updated_at + 1, actor="g", reason="r"
    )
    await asyncio.gather(store.append(entry, decided), store.flush())
    assert (await store.candidate(candidate.id)).executions == 2

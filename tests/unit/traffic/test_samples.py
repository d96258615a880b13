import resource

import pytest

from uhlp.clock import FakeClock
from uhlp.errors import Unavailable
from uhlp.traffic.importing import ImportedRow
from uhlp.traffic.samples import SampleStore
from uhlp.traffic.split import input_hash, split_of


@pytest.fixture
async def store(tmp_path):
    store = SampleStore(tmp_path / "samples.db", clock=FakeClock(), newest=100, reservoir=50, failures=10)
    yield store
    await store.close()


def serve(store, number, *, app="shop", ok=True, handler="llm", redact=(), value=None):
    store.record_served(
        app, "triage", input=value or {"n": number}, output={"label": number}, implementation="prompt@stable",
        handler=handler, latency_ms=12.5, tokens_in=3, tokens_out=4, cost_usd=0.001, ok=ok, trace_id=f"t{number}",
        spec_hash="s1", redact=redact,
    )  # fmt: skip


async def test_what_was_served_is_read_back_newest_first(store):
    for number in range(3):
        serve(store, number)
    first, *_, last = await store.samples("shop", "triage")
    assert (first.input, last.input) == ({"n": 2}, {"n": 0})
    assert (first.latency_ms, first.tokens_in, first.cost_usd, first.source, first.ok) == (12.5, 3, 0.001, "live", True)
    assert first.split == split_of(first.input_hash)
    assert first.input_hash == input_hash({"n": 2})


async def test_filters_choose_half_handler_and_specification(store):
    for number in range(40):
        serve(store, number, handler="jit" if number % 4 == 0 else "llm")
    train = await store.samples("shop", "triage", split="train")
    held_out = await store.samples("shop", "triage", split="held_out")
    assert train
    assert held_out
    assert len(train) + len(held_out) == 40
    assert len(await store.samples("shop", "triage", handler="jit")) == 10
    assert await store.samples("shop", "triage", spec_hash="other") == []
    assert len(await store.samples("shop", "triage", limit=5)) == 5


async def test_failures_are_left_out_unless_asked_for(store):
    serve(store, 1)
    serve(store, 2, ok=False)
    assert [sample.input["n"] for sample in await store.samples("shop", "triage")] == [1]
    assert [sample.input["n"] for sample in await store.samples("shop", "triage", ok=None)] == [2, 1]


async def test_keeps_the_newest_a_reservoir_of_all_and_failures(store):
    for number in range(2_000):
        serve(store, number, ok=number % 100 != 0)
    numbers = {sample.input["n"] for sample in await store.samples("shop", "triage", ok=None)}
    assert set(range(1_900, 2_000)) <= numbers
    assert set(range(1_100, 2_000, 100)) <= numbers
    old = [number for number in numbers if number < 1_890]
    assert 40 <= len(old) <= 75
    assert min(old) < 700


async def test_the_reservoir_favours_no_time(tmp_path):
    store = SampleStore(tmp_path / "s.db", clock=FakeClock(), newest=10, reservoir=300)
    for number in range(4_000):
        serve(store, number)
    early = sum(sample.input["n"] < 2_000 for sample in await store.samples("shop", "triage"))
    await store.close()
    assert 110 < early < 200


async def test_recording_never_waits_and_counts_what_it_drops(tmp_path):
    store = SampleStore(tmp_path / "s.db", clock=FakeClock(), queue_size=1)
    for number in range(3_000):
        serve(store, number)
    kept = len(await store.samples("shop", "triage"))
    await store.close()
    assert store.dropped > 0
    assert kept + store.dropped == 3_000


async def test_redaction_happens_before_the_file_but_after_the_split(store, tmp_path):
    serve(store, 1, value={"email": "ann@example.org", "text": "hi"}, redact=["email"])
    (sample,) = await store.samples("shop", "triage")
    assert sample.input == {"email": "[redacted]", "text": "hi"}
    assert sample.input_hash == input_hash({"email": "ann@example.org", "text": "hi"})
    files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"ann@example.org" not in files


async def test_imported_rows_become_samples_of_the_model(store):
    rows = [ImportedRow({"text": f"t{n}"}, "x", n) for n in range(30)]
    assert await store.import_samples("shop", "triage", rows, spec_hash="s1") == 30
    counts = await store.counts("shop", "triage")
    assert (counts.total, counts.imported, counts.train + counts.held_out, counts.by_handler) == (
        30,
        30,
        30,
        {"llm": 30},
    )
    (newest, *_) = await store.samples("shop", "triage")
    assert (newest.source, newest.latency_ms) == ("import", None)


async def test_an_import_that_the_full_disk_refuses_says_so_and_keeps_nothing(store):
    await store.flush()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(Unavailable, match=r"the samples in .*samples.db fail: "):
            await store.import_samples("shop", "triage", [ImportedRow({"text": "t"}, "x", 1)], spec_hash="s1")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (await store.counts("shop", "triage")).total == 0
    assert await store.import_samples("shop", "triage", [ImportedRow({"text": "t"}, "x", 1)], spec_hash="s1") == 1


async def test_nobody_else_on_the_machine_reads_the_samples(store, tmp_path):
    serve(store, 1)
    await store.flush()
    assert {file.stat().st_mode & 0o077 for file in tmp_path.glob("samples.db*")} == {0}


async def test_a_deleted_application_leaves_nothing(store):
    serve(store, 1)
    serve(store, 2, app="other")
    assert await store.delete_application("shop") == 1
    assert (await store.counts("shop", "triage")).total == 0
    assert (await store.counts("other", "triage")).total == 1
    assert [app_id for app_id, _component in store._retention._added] == ["other"]


async def test_samples_survive_a_restart(tmp_path):
    path = tmp_path / "s.db"
    first = SampleStore(path, clock=FakeClock())
    serve(first, 1)
    await first.close()
    second = SampleStore(path, clock=FakeClock())
    (sample,) = await second.samples("shop", "triage")
    second.record(sample)  # the same id cannot be kept twice: counted, not raised
    await second.flush()
    await second.close()
    assert second.dropped == 1


async def test_asking_a_closed_store_is_an_error(tmp_path):
    store = SampleStore(tmp_path / "s.db", clock=FakeClock())
    await store.close()
    with pytest.raises(RuntimeError, match="closed"):
        await store.counts("a", "b")

"""What people said is right, beside the samples and longer than they."""

from pathlib import Path
from typing import Any

from uhlp.clock import FakeClock
from uhlp.traffic.adjudications import QUESTIONS_KEPT, Adjudication, Question
from uhlp.traffic.samples import SampleStore
from uhlp.traffic.split import input_hash


def said(number: int, expected: Any = "billing", *, app: str = "shop", ts: float = 1.0) -> Adjudication:
    value = {"n": number}
    return Adjudication(app, "triage", input_hash(value), value, expected, ("sales",), "ann", "I know", ts)


def asked(number: int, *, app: str = "shop") -> Question:
    value = {"n": number}
    return Question(
        app, "triage", input_hash(value), "c-1", "shadow", "label", value, "a", ("b", "c", "d"), float(number)
    )


def store_in(path: Path, **limits: int) -> SampleStore:
    return SampleStore(path / "samples.db", clock=FakeClock(), **limits)


def serve(store: SampleStore, number: int) -> None:
    store.record_served(
        "shop", "triage", input={"n": number}, output="x", implementation="prompt@stable", handler="llm",
        latency_ms=1.0, tokens_in=0, tokens_out=0, cost_usd=None, ok=True, trace_id="t", spec_hash=f"s{number}",
    )  # fmt: skip


async def test_a_word_survives_restarts_and_a_later_one_replaces_it(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    await store.adjudications.adjudicate(said(1))
    await store.adjudications.adjudicate(said(1, "refund", ts=2.0))
    await store.close()
    again = store_in(tmp_path)
    (kept,) = again.adjudications.all_of("shop", "triage")
    assert kept == said(1, "refund", ts=2.0)
    assert again.adjudications.of("shop", "triage", input_hash({"n": 1})) == kept
    assert again.adjudications.of("shop", "other", input_hash({"n": 1})) is None
    await again.close()


async def test_it_stays_when_the_sample_rolls_over_and_the_specification_changes(tmp_path: Path) -> None:
    store = store_in(tmp_path, newest=10, reservoir=1, failures=1)
    for number in (1, 2):
        serve(store, number)
        await store.adjudications.adjudicate(said(number))
    first = await store.samples("shop", "triage")
    for number in range(3, 200):
        serve(store, number)
    gone = [sample for sample in first if await store.sample("shop", sample.id) is None]
    assert gone, "one of the two may be the sample of all that is kept for ever"
    for sample in gone:
        assert store.adjudications.of("shop", "triage", sample.input_hash) is not None
    await store.close()


async def test_a_question_waits_over_restarts_and_ends_with_its_answer(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    await store.adjudications.ask(asked(1))
    await store.adjudications.ask(asked(2))
    await store.close()
    again = store_in(tmp_path)
    assert again.adjudications.questions("shop", "triage") == [asked(2), asked(1)]
    await again.adjudications.adjudicate(said(2))
    await again.close()
    third = store_in(tmp_path)
    assert third.adjudications.questions("shop", "triage") == [asked(1)]
    await third.close()


async def test_of_too_many_questions_the_newest_are_kept(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for number in range(QUESTIONS_KEPT + 5):
        await store.adjudications.ask(asked(number))
    await store.adjudications.ask(asked(7))  # asked once more: the newest of all
    await store.close()
    again = store_in(tmp_path)
    numbers = {one.input["n"] for one in again.adjudications.questions("shop", "triage")}
    assert numbers == {7, *range(5, QUESTIONS_KEPT + 5)}
    await again.close()


async def test_only_deleting_the_applications_state_removes_them(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for app in ("shop", "other"):
        await store.adjudications.adjudicate(said(1, app=app))
        await store.adjudications.ask(asked(2, app=app))
    await store.delete_application("shop")
    assert store.adjudications.all_of("shop", "triage") == store.adjudications.questions("shop", "triage") == []
    await store.close()
    again = store_in(tmp_path)
    assert again.adjudications.all_of("shop", "triage") == again.adjudications.questions("shop", "triage") == []
    assert len(again.adjudications.all_of("other", "triage")) == len(again.adjudications.questions("other", "triage"))
    await again.close()

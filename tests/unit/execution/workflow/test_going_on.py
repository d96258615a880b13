"""Runs that wait, that are parked, and that a dead server left behind."""

import asyncio
from typing import Any

import pytest

from tests.unit.execution.workflow.workflow_parts import (
    Loop,
    Parallel,
    Parts,
    Retries,
    ScriptedComponents,
    Transition,
    WaitForCallback,
    WaitForTime,
    app_of,
    ask,
    block,
    expression,
    mapping,
    running,
    sequence,
    step,
)
from uhlp.clock import FakeClock
from uhlp.errors import (
    AppNotFound,
    ExecutionNotFound,
    HandlerFailed,
    ModelProviderUnavailable,
    PayloadTooLarge,
    StateConflict,
    StepInterrupted,
    TooManyRuns,
    Unavailable,
    WorkflowFailed,
)
from uhlp.execution.workflow.journal_table import select_run, select_runs, select_steps
from uhlp.execution.workflow.run_journal import RunJournal
from uhlp.execution.workflow.run_walks import PUT_OFF_S
from uhlp.execution.workflow.workflow_runs import MOST_INPUT_BYTES
from uhlp.rfc3339 import rfc3339

PAUSED = sequence(
    ("first", ask("work", n=1)),
    ("pause", WaitForTime(mapping(60_000))),
    ("paid", WaitForCallback("paid", expression("trigger.input.item"), 3_600.0)),
    ("last", ask("work", told="=steps.paid.output")),
)


def echo(asked: Any) -> Any:
    return asked.input


async def states(parts: Parts, run_id: str) -> list[tuple[str, str]]:
    steps = await parts.journal.ask(lambda db: select_steps(db, run_id))
    return [(one.path, one.state) for one in steps]


async def run_of(parts: Parts, run_id: str) -> Any:
    return await parts.journal.ask(lambda db: select_run(db, "shop", run_id))


async def is_state(parts: Parts, run_id: str, state: str) -> None:
    async with asyncio.timeout(30):
        while (await run_of(parts, run_id)).state != state:
            await parts.runs.run_cycle()


async def waits_at(parts: Parts, run_id: str, path: str) -> None:
    async with asyncio.timeout(30):
        while (path, "waiting") not in await states(parts, run_id):
            await parts.runs.run_cycle()


async def test_a_run_that_nobody_attends_waits_without_a_task_and_goes_on_by_time_and_callback(tmp_path):
    components = ScriptedComponents(work=echo)
    async with running(Parts(tmp_path / "w.db", app_of(PAUSED), components=components)) as parts:
        before = len(asyncio.all_tasks())
        run_id = await parts.runs.start(parts.call())
        await is_state(parts, run_id, "waiting")
        assert len(asyncio.all_tasks()) == before
        assert await parts.runs.signal("shop", "paid", "lamp", {}) is False  # nobody waits for it yet
        parts.clock.advance(60.1)
        await waits_at(parts, run_id, "paid")
        assert await parts.runs.signal("shop", "paid", "table", {}) is False
        assert await parts.runs.signal("other", "paid", "lamp", {}) is False
        assert await parts.runs.signal("shop", "paid", "lamp", {"usd": 3}) == 1
        await is_state(parts, run_id, "succeeded")
        assert (await run_of(parts, run_id)).result == {"told": {"usd": 3}}
        assert components.order == ["work", "work"]


async def test_a_callback_that_brings_more_than_may_be_kept_wakes_nobody(tmp_path):
    waiting = sequence(("paid", WaitForCallback("paid", expression("trigger.input.item"), 3_600.0)))
    limits = {"max_output_bytes": 10_000, "max_run_bytes": 12_000}
    async with running(Parts(tmp_path / "w.db", app_of(waiting), components=ScriptedComponents(), **limits)) as parts:
        runs = [await parts.runs.start(parts.call())]
        await is_state(parts, runs[0], "waiting")
        with pytest.raises(PayloadTooLarge, match="1 waiting"):
            await parts.runs.signal("shop", "paid", "lamp", {"x": "y" * 10_000})
        runs.append(await parts.runs.start(parts.call()))
        await is_state(parts, runs[1], "waiting")
        with pytest.raises(PayloadTooLarge, match="2 waiting"):
            await parts.runs.signal("shop", "paid", "lamp", {"x": "y" * 6_000})
        assert await states(parts, runs[0]) == [("paid", "waiting")]
        assert await parts.runs.signal("shop", "paid", "lamp", {"x": "y" * 5_000})
        for run_id in runs:
            await is_state(parts, run_id, "succeeded")


async def test_what_a_run_held_before_a_wait_counts_after_it(tmp_path):
    steps = [(f"work{n}", ask("work")) if n % 2 else (f"pause{n}", WaitForTime(mapping(1_000))) for n in range(1, 8)]
    components = ScriptedComponents(work="x" * 4_000)
    parts = Parts(tmp_path / "w.db", app_of(sequence(*steps)), components=components, max_run_bytes=10_000)
    async with running(parts):
        run_id = await parts.runs.start(parts.call())
        for asked in (2, 3):
            await is_state(parts, run_id, "waiting")
            parts.clock.advance(1.1)
            await parts.until(lambda asked=asked: len(components.asked) == asked)
        await is_state(parts, run_id, "failed")
        assert (await run_of(parts, run_id)).error["code"] == "PAYLOAD_TOO_LARGE"
        assert components.order == ["work"] * 3


async def test_a_wait_until_before_all_dates_is_over_at_once_and_can_be_shown(tmp_path):
    root = sequence(("past", WaitForTime(until=expression("trigger.input.when"))))
    async with running(Parts(tmp_path / "w.db", app_of(root), components=ScriptedComponents())) as parts:
        result = await parts.runs.answer(parts.call({"when": -1e18}))
        (shown,) = (await parts.runs.history.timeline("shop", result.execution_id))["steps"]
        assert (shown["state"], shown["waitsFor"]["until"]) == ("succeeded", rfc3339(parts.clock.now()))


async def test_open_runs_that_nobody_attends_hold_so_much_input_and_no_more(tmp_path):
    waiting = sequence(("paid", WaitForCallback("paid", expression("trigger.input.item"), 3_600.0)))
    large = {"item": "lamp", "text": "x" * (MOST_INPUT_BYTES // 3)}
    for number in range(2):  # the second server takes up what the first has left
        async with running(Parts(tmp_path / "w.db", app_of(waiting), components=ScriptedComponents())) as parts:
            if number == 0:
                runs = [await parts.runs.start(parts.call(large)) for _ in range(2)]
            with pytest.raises(TooManyRuns, match="input"):
                await parts.runs.start(parts.call(large))
            await is_state(parts, runs[0], "waiting")
    async with running(Parts(tmp_path / "w.db", app_of(waiting), components=ScriptedComponents())) as parts:
        await is_state(parts, runs[0], "waiting")
        assert await parts.runs.signal("shop", "paid", "lamp", {})
        for run_id in runs:
            await is_state(parts, run_id, "succeeded")
        await parts.runs.start(parts.call(large))


async def test_a_run_that_is_attended_waits_in_its_callers_own_task(tmp_path):
    components = ScriptedComponents(work=echo)
    async with running(Parts(tmp_path / "w.db", app_of(PAUSED), components=components)) as parts:
        answered = asyncio.create_task(parts.runs.answer(parts.call()))
        await parts.until(lambda: parts.runs.until_next_cycle_s() > 50)
        await parts.until(lambda: len(components.asked) == 1)
        parts.clock.advance(60.1)
        await parts.runs.run_cycle()

        async def signalled() -> bool:
            return bool(await parts.runs.signal("shop", "paid", "lamp", "yes"))

        async with asyncio.timeout(30):
            while not await signalled():
                await parts.runs.run_cycle()
        assert (await answered).data == {"told": "yes"}


async def test_a_callback_that_does_not_come_fails_the_wait(tmp_path):
    components = ScriptedComponents(work=echo)
    root = block(
        step("paid", WaitForCallback("paid", expression("7"), 30.0), on_failure=(Transition("late"),)),
        step("late", ask("work", why="=steps.paid.error.code")),
    )
    async with running(Parts(tmp_path / "w.db", app_of(root), components=components)) as parts:
        run_id = await parts.runs.start(parts.call())
        await is_state(parts, run_id, "waiting")
        parts.clock.advance(31)
        await is_state(parts, run_id, "succeeded")
        assert (await run_of(parts, run_id)).result == {"why": "DEADLINE_EXCEEDED"}
        assert await parts.runs.signal("shop", "paid", "7", {}) is False


async def test_branches_that_all_wait_are_parked_and_each_goes_on_by_itself(tmp_path):
    components = ScriptedComponents(work=echo)
    branches = {
        name: sequence(
            (f"paid_{name}", WaitForCallback(name, expression("1"), 100.0)),
            (f"work_{name}", ask("work", told=f"=steps.paid_{name}.output")),
        )
        for name in "ab"
    }
    root = sequence(("both", Parallel(branches, "all", 9)))
    async with running(Parts(tmp_path / "w.db", app_of(root), components=components)) as parts:
        run_id = await parts.runs.start(parts.call())
        await is_state(parts, run_id, "waiting")
        assert await parts.runs.signal("shop", "b", "1", "B") == 1
        await parts.until(lambda: len(components.asked) == 1)
        await is_state(parts, run_id, "waiting")
        assert await parts.runs.signal("shop", "a", "1", "A") == 1
        await is_state(parts, run_id, "succeeded")
        assert (await run_of(parts, run_id)).result == {"a": {"told": "A"}, "b": {"told": "B"}}
        assert len(components.asked) == 2


async def test_a_parked_run_notices_when_the_time_of_what_it_waits_in_is_over(tmp_path):
    components = ScriptedComponents(work=echo)
    body = sequence(("paid", WaitForCallback("paid", expression("1"), 3_600.0)))
    root = block(
        step("once", Loop(1, body, over=expression("[1]")), timeout_s=30.0, on_failure=(Transition("late"),)),
        step("late", ask("work", why="=steps.once.error.code")),
    )
    async with running(Parts(tmp_path / "w.db", app_of(root), components=components)) as parts:
        run_id = await parts.runs.start(parts.call())
        await is_state(parts, run_id, "waiting")
        assert parts.runs.until_next_cycle_s() <= 30.0
        parts.clock.advance(31)
        await is_state(parts, run_id, "succeeded")
        assert (await run_of(parts, run_id)).result == {"why": "DEADLINE_EXCEEDED"}
        assert await parts.runs.signal("shop", "paid", "1", {}) is False


async def test_a_branch_that_has_lost_takes_no_callback(tmp_path):
    gate = asyncio.Event()

    async def slow(asked):
        await gate.wait()
        return "late"

    components = ScriptedComponents(work=echo, slow=slow)
    branches = {
        "waits": sequence(("paid", WaitForCallback("paid", expression("1"), 3_600.0))),
        "works": sequence(("quick", ask("work"))),
    }
    root = sequence(("first", Parallel(branches, "any", 9)), ("slow", ask("slow")))
    async with running(Parts(tmp_path / "w.db", app_of(root), components=components)) as parts:
        run_id = await parts.runs.start(parts.call())
        await parts.until(lambda: len(components.asked) == 2)
        assert await parts.runs.signal("shop", "paid", "1", {}) is False
        assert ("first.waits/paid", "cancelled") in await states(parts, run_id)
    gate.set()
    next_server = Parts(tmp_path / "w.db", app_of(root), components=components, clock=parts.clock)
    await next_server.runs.open()
    assert await next_server.runs.signal("shop", "paid", "1", {}) is False
    await next_server.runs.aclose()
    async with running(Parts(tmp_path / "w.db", app_of(root), components=components, clock=parts.clock)) as parts:
        await is_state(parts, run_id, "succeeded")


async def test_a_wait_whose_end_the_journal_refuses_ends_when_it_takes_it(tmp_path):
    class Refusing(RunJournal):
        refuses = False

        def append(self, entry):
            if self.refuses:
                raise Unavailable
            super().append(entry)

    root = sequence(("pause", WaitForTime(mapping(1_000))), ("paid", WaitForCallback("paid", expression("1"), 3_600.0)))
    journal = Refusing(tmp_path / "w.db")
    async with running(
        Parts(tmp_path / "w.db", app_of(root), components=ScriptedComponents(), journal=journal)
    ) as parts:
        run_id = await parts.runs.start(parts.call())
        await is_state(parts, run_id, "waiting")
        parts.clock.advance(2)
        journal.refuses = True
        with pytest.raises(Unavailable):
            await parts.runs.run_cycle()
        journal.refuses = False
        async with asyncio.timeout(30):
            while ("paid", "waiting") not in await states(parts, run_id):
                await parts.runs.run_cycle()
        journal.refuses = True
        with pytest.raises(Unavailable):
            await parts.runs.signal("shop", "paid", "1", "yes")
        journal.refuses = False
        assert await parts.runs.signal("shop", "paid", "1", "yes")
        await is_state(parts, run_id, "succeeded")


async def test_a_waiting_run_goes_on_in_the_next_server_by_a_callback_that_comes_at_once(tmp_path):
    components = ScriptedComponents(work=echo)
    app, path = app_of(PAUSED), tmp_path / "w.db"
    async with running(Parts(path, app, components=components)) as parts:
        run_id = await parts.runs.start(parts.call())
        await is_state(parts, run_id, "waiting")
        clock = parts.clock
        clock.advance(61)
        await parts.runs.run_cycle()
        await is_state(parts, run_id, "waiting")
    parts = Parts(path, app, components=components, clock=clock)
    await parts.runs.open()
    assert await parts.runs.signal("shop", "paid", "lamp", "yes") == 1  # before anything else has run
    await parts.runs.aclose()
    async with running(Parts(path, app, components=components, clock=clock)) as parts:
        await is_state(parts, run_id, "succeeded")
        assert (await run_of(parts, run_id)).result == {"told": "yes"}
        assert components.order == ["work", "work"]


async def test_a_server_that_ends_lets_steps_finish_and_parks_their_runs(tmp_path):
    gate, reached = asyncio.Event(), asyncio.Event()

    async def slow(asked):
        reached.set()
        await gate.wait()
        return "done"

    components = ScriptedComponents(work=slow)
    app, path = app_of(sequence(("one", ask("work")), ("two", ask("work")))), tmp_path / "w.db"
    async with running(Parts(path, app, components=components)) as parts:
        run_id = await parts.runs.start(parts.call())
        await asyncio.wait_for(reached.wait(), 30)
        asyncio.get_running_loop().call_later(0.02, gate.set)
    assert len(components.asked) == 1
    async with running(Parts(path, app, components=components)) as parts:
        await is_state(parts, run_id, "succeeded")
        assert len(components.asked) == 2
        assert await states(parts, run_id) == [("one", "succeeded"), ("two", "succeeded")]


async def test_an_attended_run_whose_server_ends_goes_on_in_the_next(tmp_path):
    reached = asyncio.Event()

    async def never(asked):
        reached.set()
        await asyncio.Event().wait()

    app, path = app_of(sequence(("one", ask("work")))), tmp_path / "w.db"
    async with running(Parts(path, app, components=ScriptedComponents(work=never))) as parts:
        asking = asyncio.create_task(parts.runs.answer(parts.call()))
        await asyncio.wait_for(reached.wait(), 30)
        parts.draining.set()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    async with running(Parts(path, app, components=ScriptedComponents(work="done"))) as parts:
        (run,) = await parts.journal.ask(lambda db: select_runs(db, "shop", component_id=None, state=None, limit=9))
        await is_state(parts, run.run_id, "succeeded")


async def test_a_run_keeps_its_revision_and_fails_when_that_is_gone(tmp_path):
    path, components = tmp_path / "w.db", ScriptedComponents(old="old", new="new")
    before = app_of(sequence(("pause", WaitForTime(mapping(1000))), ("old", ask("old"))), revision="a" * 40)
    after = app_of(sequence(("new", ask("new"))), revision="b" * 40)
    async with running(Parts(path, before, components=components)) as parts:
        run_ids = [await parts.runs.start(parts.call()) for _ in range(2)]
        for run_id in run_ids:
            await is_state(parts, run_id, "waiting")
        clock = parts.clock
    async with running(Parts(path, before, after, components=components, clock=clock)) as parts:
        clock.advance(2)
        await is_state(parts, run_ids[0], "succeeded")
        assert (await run_of(parts, run_ids[0])).result == "old"
    gone = await _left_behind(tmp_path / "gone.db", before)
    async with running(Parts(tmp_path / "gone.db", after, components=components)) as parts:
        await is_state(parts, gone, "failed")
        assert (await run_of(parts, gone)).error["code"] == "INTERNAL_ERROR"


async def _left_behind(path, app, **answers: Any) -> str:
    parts = Parts(path, app, components=ScriptedComponents(**answers))
    async with running(parts):
        run_id = await parts.runs.start(parts.call())
        await is_state(parts, run_id, "waiting")
    return run_id


async def test_a_run_whose_time_was_over_while_no_server_ran_is_cancelled(tmp_path):
    path, app = tmp_path / "w.db", app_of(PAUSED)
    parts = Parts(path, app, components=ScriptedComponents(work=echo), longest_run_s=100)
    async with running(parts):
        run_id = await parts.runs.start(parts.call())
        await is_state(parts, run_id, "waiting")
    parts.clock.advance(1_000)
    async with running(Parts(path, app, components=ScriptedComponents(work=echo), clock=parts.clock)) as parts:
        await is_state(parts, run_id, "cancelled")
        assert (await run_of(parts, run_id)).error["code"] == "DEADLINE_EXCEEDED"


async def test_what_a_queue_delivers_twice_begins_one_run(tmp_path):
    components = ScriptedComponents(work=echo)
    app, path = app_of(sequence(("one", ask("work", n="=trigger.input.n")))), tmp_path / "w.db"
    async with running(Parts(path, app, components=components)) as parts:
        message = {"source": "queue", "source_details": {"messageId": "m1"}}
        first, second = await asyncio.gather(*(parts.runs.answer(parts.call({"n": 1}, **message)) for _ in range(2)))
        again = await parts.runs.answer(parts.call({"n": 1}, **message))
        assert first.data == second.data == again.data == {"n": 1}
        assert first.execution_id == second.execution_id == again.execution_id
        assert len(components.asked) == 1


async def test_what_a_queue_delivers_again_after_a_failure_is_tried_again(tmp_path):
    answers = iter([HandlerFailed(), "good"])
    components = ScriptedComponents(work=lambda asked: next(answers))
    async with running(
        Parts(tmp_path / "w.db", app_of(sequence(("one", ask("work")))), components=components)
    ) as parts:
        message = {"source": "queue", "source_details": {"messageId": "m1"}}
        with pytest.raises(HandlerFailed):
            await parts.runs.answer(parts.call(**message))
        assert (await parts.runs.answer(parts.call(**message))).data == "good"


async def test_a_failure_after_something_may_have_been_written_is_told_as_final_to_a_queue(tmp_path):
    components = ScriptedComponents(work=ModelProviderUnavailable())
    app = app_of(sequence(("one", ask("work"))), effects="write")
    async with running(Parts(tmp_path / "w.db", app, components=components)) as parts:
        with pytest.raises(WorkflowFailed) as raised:
            await parts.runs.answer(parts.call(source="queue", source_details={"messageId": "m1"}))
        assert raised.value.details["failure"] == "MODEL_PROVIDER_UNAVAILABLE"
        with pytest.raises(ModelProviderUnavailable):
            await parts.runs.answer(parts.call())


async def test_an_application_that_goes_takes_its_runs_with_it(tmp_path):
    async with running(Parts(tmp_path / "w.db", app_of(PAUSED), components=ScriptedComponents(work=echo))) as parts:
        run_id = await parts.runs.start(parts.call())
        await is_state(parts, run_id, "waiting")
        assert await parts.runs.delete_application("shop") == 1
        assert await parts.runs.signal("shop", "paid", "lamp", {}) is False
        assert parts.runs.open_runs == 0
        with pytest.raises(ExecutionNotFound):
            await parts.runs.history.timeline("shop", run_id)


async def test_ended_runs_are_kept_for_a_time(tmp_path):
    parts = Parts(
        tmp_path / "w.db", app_of(sequence(("one", ask("work")))), components=ScriptedComponents(work=1), keep_s=50
    )
    async with running(parts):
        ended = await parts.runs.answer(parts.call())
        await parts.runs.run_cycle()
        shown = await parts.runs.history.timeline("shop", ended.execution_id)
        assert (shown["state"], shown["result"], [one["path"] for one in shown["steps"]]) == ("succeeded", 1, ["one"])
        parts.clock.advance(61)
        await parts.runs.run_cycle()
        with pytest.raises(ExecutionNotFound):
            await parts.runs.history.timeline("shop", ended.execution_id)


async def test_a_run_that_is_cancelled_at_any_moment_of_its_beginning_ends(tmp_path):
    async def never(asked):
        await asyncio.Event().wait()

    root = sequence(("slow", ask("never")))
    async with running(Parts(tmp_path / "w.db", app_of(root), components=ScriptedComponents(never=never))) as parts:
        for moment in range(12):
            starting = asyncio.ensure_future(parts.runs.start(parts.call()))
            for _ in range(1 + moment):
                await asyncio.sleep(0)
            await asyncio.wait_for(parts.runs.delete_application("shop"), 20)
            await starting
            assert parts.runs.open_runs == 0


async def test_an_operator_ends_a_run_that_works_and_one_that_waits(tmp_path):
    reached = asyncio.Event()

    async def never(asked):
        reached.set()
        await asyncio.Event().wait()

    components = ScriptedComponents(work=never)
    async with running(
        Parts(tmp_path / "w.db", app_of(sequence(("one", ask("work")))), components=components)
    ) as parts:
        run_id = await parts.runs.start(parts.call())
        await asyncio.wait_for(reached.wait(), 30)
        await parts.runs.cancel("shop", run_id, why="a test")
        await is_state(parts, run_id, "cancelled")
        assert (await run_of(parts, run_id)).error["message"] == "a test"
    async with running(Parts(tmp_path / "v.db", app_of(PAUSED), components=ScriptedComponents(work=echo))) as parts:
        run_id = await parts.runs.start(parts.call())
        await is_state(parts, run_id, "waiting")
        await parts.runs.cancel("shop", run_id, why="a test")
        await is_state(parts, run_id, "cancelled")
        with pytest.raises(StateConflict):
            await parts.runs.cancel("shop", run_id, why="again")
        with pytest.raises(ExecutionNotFound):
            await parts.runs.cancel("other", run_id, why="not theirs")


class DyingJournal(RunJournal):
    """A process that is killed: of what it appends only the first `lives` entries ever reach the disk."""

    def __init__(self, path, lives: int) -> None:
        super().__init__(path)
        self.lives = lives
        self.is_dead = False

    def append(self, entry: Any) -> None:
        if self.lives <= 0:
            self.is_dead = True
        else:
            self.lives -= 1
            super().append(entry)

    async def flush(self) -> None:
        if self.is_dead:
            await asyncio.Event().wait()  # nothing that waits for the disk goes on
        await super().flush()


EVERYTHING = block(
    step("price", ask("work", is_for="price"), "charge"),
    step("charge", ask("flaky", is_for="charge"), "pause", retries=Retries(max_attempts=3, initial_s=0.0)),
    step("pause", WaitForTime(mapping(1)), "items"),
    step(
        "items",
        Loop(5, sequence(("pack", ask("work", is_for="='pack ' + item"))), over=expression("trigger.input.items")),
        "both",
    ),
    step(
        "both",
        Parallel(
            {
                "left": sequence(("mail", ask("work", is_for="mail")), ("log", ask("work", is_for="log"))),
                "right": sequence(("bad", ask("bad", is_for="bad")), on_failure=(Transition(None),)),
            },
            "all", 2,
        ),
        "end",
    ),
    step("end", ask("work", is_for="end", items="=steps.items.output", both="=steps.both.output")),
)  # fmt: skip


async def _lived(path, lives: int | None, asked: list[Any], clock: Any) -> Any:
    """One life of a server over `path`: the ended run, or None when it was killed after `lives` entries."""
    failures = {"left": 1 if not any(one.component_id == "flaky" for one in asked) else 0}

    def flaky(one):
        if failures["left"]:
            failures["left"] -= 1
            return ModelProviderUnavailable()
        return "charged"

    components = ScriptedComponents(work=echo, flaky=flaky, bad=HandlerFailed("bad"))
    components.asked = asked
    journal = None if lives is None else DyingJournal(path, lives)
    parts = Parts(path, app_of(EVERYTHING), components=components, clock=clock, journal=journal, park_within_s=0.0)
    await parts.runs.open()
    drives = asyncio.create_task(parts.runs.run_walks())
    runs = await parts.journal.ask(lambda db: select_runs(db, "shop", component_id=None, state=None, limit=9))
    starting = None
    if not runs:
        starting = asyncio.create_task(parts.runs.start(parts.call({"items": ["a", "b"]})))
    try:
        async with asyncio.timeout(30):
            while True:
                clock.advance(0.01)
                await parts.runs.run_cycle()
                await asyncio.sleep(0)
                if journal is not None and journal.is_dead and not parts.runs.open_runs:
                    return None
                runs = await parts.journal.ask(
                    lambda db: select_runs(db, "shop", component_id=None, state=None, limit=9)
                )
                if runs and runs[0].state in ("succeeded", "failed"):
                    return runs[0]
                if journal is not None and journal.is_dead and await _stands_still(asked):
                    return None
    finally:
        await _killed(parts, journal, *(task for task in (drives, starting) if task is not None))


async def _killed(parts: Parts, journal: DyingJournal | None, *tasks: "asyncio.Task[Any]") -> None:
    """What is left of a process that is gone: the file, into which it wrote nothing at its end."""
    if journal is not None:
        journal.lives = 0
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await parts.runs.aclose()


async def _stands_still(asked: list[Any]) -> bool:
    before = len(asked)
    for _ in range(20):
        await asyncio.sleep(0.001)
    return len(asked) == before


async def test_killed_at_any_write_a_run_goes_on_and_does_no_finished_step_again(tmp_path):
    whole: list[Any] = []
    wanted = await _lived(tmp_path / "whole.db", None, whole, FakeClock())
    assert wanted.state == "succeeded"
    entries = 40
    died = 0
    for lives in range(1, entries):
        path, asked, clock = tmp_path / f"{lives}.db", list[Any](), FakeClock()
        ended = await _lived(path, lives, asked, clock)
        died += ended is None
        finished = await _finished(path)
        before = len(asked)
        ended = ended or await _lived(path, None, asked, clock)
        assert (ended.state, ended.result) == ("succeeded", wanted.result), lives
        again = [_name(one) for one in asked[before:]]
        assert not finished & set(again), lives
        attempts = [_name(one) for one in asked]
        assert all(attempts.count(name) <= attempts_of(whole, name) + 1 for name in attempts), lives
    assert died > 20


def attempts_of(asked: list[Any], name: str) -> int:
    return [_name(one) for one in asked].count(name)


def _name(asked: Any) -> str:
    return str(asked.input["is_for"])


async def _finished(path) -> set[str]:
    """What the steps that the journal calls finished were for."""
    journal = RunJournal(path)
    await journal.open()
    runs = await journal.ask(lambda db: select_runs(db, "shop", component_id=None, state=None, limit=9))
    steps = [one for run in runs for one in await journal.ask(lambda db, run=run: select_steps(db, run.run_id))]
    await journal.aclose()
    return {one.input["is_for"] for one in steps if one.state in ("succeeded", "failed") and one.input is not None}


async def test_a_step_that_two_servers_did_not_survive_is_not_begun_a_third_time(tmp_path):
    reached: list[Any] = []

    async def never(asked):
        reached.append(asked)
        await asyncio.Event().wait()

    root = block(
        step("deadly", ask("deadly"), retries=Retries(max_attempts=9), on_failure=(Transition("other"),)),
        step("other", ask("other", why="=steps.deadly.error.code")),
    )
    app, path = app_of(root), tmp_path / "w.db"
    run_id = ""
    for life in range(2):
        components, journal = ScriptedComponents(deadly=never, other=echo), DyingJournal(path, 1_000)
        parts = Parts(path, app, components=components, journal=journal, park_within_s=0.0)
        await parts.runs.open()
        drives = asyncio.create_task(parts.runs.run_walks())
        run_id = run_id or await parts.runs.start(parts.call())
        await parts.until(lambda life=life: len(reached) == life + 1)
        await _killed(parts, journal, drives)
    async with running(Parts(path, app, components=ScriptedComponents(deadly=never, other=echo))) as parts:
        await is_state(parts, run_id, "succeeded")
        assert (await run_of(parts, run_id)).result == {"why": StepInterrupted.code}
        assert len(reached) == 2
        assert (await states(parts, run_id))[:2] == [("deadly", "interrupted"), ("deadly", "failed")]


async def test_runs_of_one_revision_have_it_compiled_once_after_a_restart(tmp_path):
    before = app_of(PAUSED, revision="a" * 40)
    after = app_of(sequence(("new", ask("work"))), revision="b" * 40)
    async with running(Parts(tmp_path / "w.db", before, components=ScriptedComponents(work=echo))) as parts:
        run_ids = [await parts.runs.start(parts.call()) for _ in range(5)]
        for run_id in run_ids:
            await is_state(parts, run_id, "waiting")
    parts.clock.advance(61)
    next_server = Parts(tmp_path / "w.db", before, after, components=ScriptedComponents(work=echo), clock=parts.clock)
    async with running(next_server) as parts:
        async with asyncio.timeout(30):
            while [await states(parts, one) for one in run_ids] != 5 * [
                [("first", "succeeded"), ("pause", "succeeded"), ("paid", "waiting")]
            ]:
                await parts.runs.run_cycle()
        assert parts.registry.compiled == ["a" * 40]


async def test_a_run_whose_application_cannot_be_read_now_goes_on_when_it_can(tmp_path):
    for refusal in (Unavailable("the repository is locked"), AppNotFound()):
        path, app = tmp_path / f"{refusal.code}.db", app_of(PAUSED)
        run_id = await _left_behind(path, app, work=echo)
        parts = Parts(path, app, components=ScriptedComponents(work=echo))
        parts.registry.refusal = refusal
        async with running(parts):
            parts.clock.advance(61)
            await parts.until(lambda parts=parts: parts.registry.refused)
            parts.registry.refusal = None
            parts.clock.advance(PUT_OFF_S)
            async with asyncio.timeout(30):
                while ("paid", "waiting") not in await states(parts, run_id):
                    await parts.runs.run_cycle()


async def test_a_run_goes_on_when_something_else_that_it_waited_for_was_cancelled(tmp_path):
    path, app = tmp_path / "w.db", app_of(PAUSED)
    run_id = await _left_behind(path, app, work=echo)
    parts = Parts(path, app, components=ScriptedComponents(work=echo))
    parts.registry.refusal = asyncio.CancelledError()
    async with running(parts):
        parts.clock.advance(61)
        await parts.until(lambda: parts.registry.refused)
        parts.registry.refusal = None
        parts.clock.advance(PUT_OFF_S)
        await waits_at(parts, run_id, "paid")


async def test_a_run_is_not_said_to_be_cancelled_before_the_journal_has_it(tmp_path):
    class FullDisk(RunJournal):
        is_full = False

        async def flush(self) -> None:
            if self.is_full:
                raise Unavailable("the disk is full")
            await super().flush()

    journal = FullDisk(tmp_path / "w.db")
    components = ScriptedComponents(work=echo)
    async with running(Parts(tmp_path / "w.db", app_of(PAUSED), components=components, journal=journal)) as parts:
        run_id = await parts.runs.start(parts.call())
        await is_state(parts, run_id, "waiting")
        journal.is_full = True
        with pytest.raises(Unavailable, match="full"):
            await parts.runs.cancel("shop", run_id, why="enough")
        journal.is_full = False


async def test_a_journal_that_fails_ends_the_run_before_the_step_is_done(tmp_path):
    class FullDisk(RunJournal):
        is_full = False

        async def flush(self) -> None:
            if self.is_full:
                raise Unavailable("the disk is full")
            await super().flush()

    components = ScriptedComponents(work=echo)
    journal = FullDisk(tmp_path / "w.db")
    root = sequence(("one", ask("work")), on_failure=(Transition(None),), retries=Retries(max_attempts=5))
    async with running(Parts(tmp_path / "w.db", app_of(root), components=components, journal=journal)) as parts:
        journal.is_full = True
        with pytest.raises(Unavailable, match="full"):
            await parts.runs.answer(parts.call())
        assert components.asked == []
        assert parts.runs.open_runs == 0
        with pytest.raises(Unavailable, match="full"):
            await parts.runs.ping()
        journal.is_full = False
        await parts.runs.ping()

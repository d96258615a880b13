"""EvalRuns: evaluations that somebody asked for are worked off in turn, shown on the way, and kept."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from uhlp.clock import FakeClock, SystemClock
from uhlp.errors import Conflict, NotFound, TooManyRequests, ValidationFailed
from uhlp.evals import Dataset, EvalLoop, EvalRequest, EvalResult, Evaluation, EvaluatorSpec, Exact, Sample
from uhlp.evals.component_datasets import Origin
from uhlp.evals.eval_record import EvalOrder, EvalRecord, compared
from uhlp.evals.eval_runs import AT_ONCE, EvalRuns
from uhlp.loops import LoopGroup, PeriodicLoop
from uhlp.mailbox import InMemoryMailbox
from uhlp.models.main_loop import MainLoopRequest, MainLoopResult
from uhlp.state.framework_values import FrameworkValues
from uhlp.state.sqlite_runtime_store import SqliteRuntimeStore
from uhlp.traffic.redaction import Redaction

APP, COMPONENT = "desk", "double"
ORDER = EvalOrder(component_id=COMPONENT)


def samples(size: int) -> Dataset:
    return Dataset(samples=tuple(Sample(id=str(n), input={"n": n}, expected=n * 2) for n in range(size)))


class Desk:
    """What is known of the one component."""

    def __init__(self) -> None:
        self.dataset = samples(4)
        self.redact: tuple[str, ...] = ()

    def evaluator_of(self, ns: str, component_id: str) -> EvaluatorSpec:
        return Exact()

    async def dataset_of(
        self, ns: str, component_id: str, *, origin: Origin = "all", limit: int | None = None
    ) -> Dataset:
        return self.dataset.first(limit or 100)

    def redaction_of(self, ns: str, component_id: str) -> Redaction:
        return Redaction(self.redact)


class Doubling:
    """Doubles, but for what is wrong; `may_answer` holds it up."""

    def __init__(self) -> None:
        self.wrong: set[int] = set()
        self.raises: set[int] = set()
        self.hangs_from: int | None = None
        self.may_go_on = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.is_asked = asyncio.Event()
        self.asked_of: list[str] = []
        self.has_to_wait: set[str] = set()

    async def execute(self, request: MainLoopRequest) -> MainLoopResult:
        self.is_asked.set()
        self.asked_of.append(request.app_id)
        if not self.has_to_wait or request.app_id in self.has_to_wait:
            await self.may_answer.wait()
        number = request.input["n"]
        if self.hangs_from is not None and number >= self.hangs_from:
            await self.may_go_on.wait()
        if number in self.raises:
            raise ZeroDivisionError("the user's own loop")
        output = {"card": "4711"} if number in self.wrong else number * 2
        return MainLoopResult(request_id=request.request_id, output=output, latency_ms=float(number))


class Parts:
    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.folder, self._stack = folder, stack
        self.desk, self.loop, self.clock = Desk(), Doubling(), FakeClock()
        self.store = SqliteRuntimeStore(folder / "runtime.db")
        stack.push_async_callback(self.store.aclose)
        requests: InMemoryMailbox[EvalRequest, EvalResult] = InMemoryMailbox(
            name="eval-requests", body=EvalRequest, reply=EvalResult
        )
        stack.push_async_callback(requests.aclose)
        self.evaluation = Evaluation(requests=requests)
        self.evals = EvalLoop(loop=self.loop, requests=requests, retries=0)
        self.runs = self.opened()

    def opened(self) -> EvalRuns:
        """The runs of a server on this store."""
        return EvalRuns(
            evaluation=self.evaluation,
            datasets=self.desk,  # type: ignore[arg-type]
            values=FrameworkValues(self.store),
            clock=self.clock,
        )

    async def start(self) -> LoopGroup:
        working = [
            PeriodicLoop(f"evaluations-{n}", self.runs.run_cycle, 0.0, SystemClock(), waits_for_work=True)
            for n in range(AT_ONCE)
        ]
        return await self._stack.enter_async_context(LoopGroup([self.evals, self.evaluation, *working]))

    async def ended(self, record: EvalRecord) -> EvalRecord:
        """Followed as the command line does it, but without a pause: no state on the way may look like an end."""
        async with asyncio.timeout(20):
            while (found := await self.runs.get(record.app_id, record.id)).state in ("queued", "running"):  # noqa: ASYNC110
                await asyncio.sleep(0)
        return found


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    async with AsyncExitStack() as stack:
        yield Parts(tmp_path, stack)


async def test_an_evaluation_is_done_and_kept_with_what_came_of_each_sample(parts: Parts) -> None:
    parts.loop.wrong = {3}
    await parts.start()
    done = await parts.ended(await parts.runs.order(APP, ORDER))
    assert (done.state, done.figures.passed, done.figures.failed, done.figures.p50_ms) == ("done", 3, 1, 2.0)
    assert [one.score for one in done.verdicts] == [1.0, 1.0, 1.0, 0.0]
    assert "4711" in done.verdicts[3].reason
    assert (await parts.opened().get(APP, done.id)).verdicts == done.verdicts


async def test_what_a_component_redacts_is_shown_nowhere(parts: Parts) -> None:
    parts.loop.wrong, parts.desk.redact = {3}, ("card",)
    await parts.start()
    done = await parts.ended(await parts.runs.order(APP, ORDER))
    assert done.verdicts[3].output == '{"card":"[redacted]"}'
    assert "4711" not in done.model_dump_json()


async def test_two_evaluations_are_compared_sample_by_sample(parts: Parts) -> None:
    await parts.start()
    before = await parts.ended(await parts.runs.order(APP, ORDER))
    parts.loop.wrong = {1}
    after = await parts.ended(await parts.runs.order(APP, ORDER))
    found = compared(before, after)
    assert (found["samples"], found["better"], found["worse"]) == (4, 0, 1)
    assert [(one["id"], one["before"], one["after"]) for one in found["flips"]] == [("1", 1.0, 0.0)]


async def test_a_loop_that_raises_is_an_error_and_no_failure(parts: Parts) -> None:
    parts.loop.raises = {2}
    await parts.start()
    done = await parts.ended(await parts.runs.order(APP, ORDER))
    assert (done.state, done.figures.passed, done.figures.failed, done.figures.errored) == ("done", 3, 0, 1)
    assert "MAIN_LOOP_FAILED" in next(one.reason for one in done.verdicts if one.id == "2")


async def test_a_server_that_stops_leaves_what_it_had_not_ended_interrupted(parts: Parts) -> None:
    group = await parts.start()
    parts.loop.may_answer.clear()
    running, waiting = await parts.runs.order(APP, ORDER), await parts.runs.order(APP, ORDER)
    async with asyncio.timeout(20):
        await parts.loop.is_asked.wait()
    await group.stop()
    states = {one.id: one.state for one in await parts.opened().all_of(APP, COMPONENT)}
    assert states == {running.id: "interrupted", waiting.id: "interrupted"}


async def test_an_evaluation_that_hangs_is_cancelled_with_what_it_has_found(parts: Parts) -> None:
    parts.desk.dataset = samples(40)
    await parts.start()
    parts.loop.hangs_from = 3
    record = await parts.runs.order(APP, ORDER)
    async with asyncio.timeout(20):
        while (await parts.runs.get(APP, record.id)).done < 3:  # noqa: ASYNC110
            await asyncio.sleep(0)
    await parts.runs.cancel(APP, record.id)
    ended = await parts.ended(record)
    assert (ended.state, ended.figures.passed, ended.figures.is_complete) == ("cancelled", 3, False)
    assert ended.ended_at is not None
    parts.loop.may_go_on.set()
    parts.desk.dataset = samples(2)
    assert (await parts.ended(await parts.runs.order(APP, ORDER))).state == "done", "the next one has its turn"


async def test_an_evaluation_that_waits_is_cancelled_at_once_and_never_begun(parts: Parts) -> None:
    await parts.start()
    parts.loop.may_answer.clear()
    running, waiting = await parts.runs.order(APP, ORDER), await parts.runs.order(APP, ORDER)
    assert (await parts.runs.cancel(APP, waiting.id)).state == "cancelled"
    parts.loop.may_answer.set()
    assert (await parts.ended(running)).state == "done"
    assert (await parts.ended(await parts.runs.order(APP, ORDER))).state == "done"
    assert (await parts.runs.get(APP, waiting.id)).figures.n == 0
    for over in (running, waiting):
        with pytest.raises(Conflict, match="is over"):
            await parts.runs.cancel(APP, over.id)
    with pytest.raises(NotFound):
        await parts.runs.cancel("shop", running.id)


async def test_what_cannot_be_evaluated_is_refused(parts: Parts) -> None:
    with pytest.raises(NotFound):
        await parts.runs.get(APP, "e-nothing")
    parts.desk.dataset = Dataset()
    with pytest.raises(ValidationFailed, match=r"evals/double\.jsonl"):
        await parts.runs.order(APP, ORDER)
    parts.desk.dataset = samples(1)
    for _ in range(20):
        await parts.runs.order(APP, ORDER)
    with pytest.raises(TooManyRequests, match=f"20 evaluations of {APP}"):
        await parts.runs.order(APP, ORDER)
    for number in range(180):
        await parts.runs.order(f"another{number % 9}", ORDER)
    with pytest.raises(TooManyRequests, match="200 evaluations of all applications"):
        await parts.runs.order("quiet", ORDER)


async def test_nobody_waits_for_all_that_another_application_has_asked_for(parts: Parts) -> None:
    parts.loop.may_answer.clear()
    parts.loop.has_to_wait = {APP}
    parts.desk.dataset = samples(3)  # one of the EvalLoop's workers is left
    await parts.start()
    flood = [await parts.runs.order(APP, ORDER) for _ in range(2 * AT_ONCE)]
    other = await parts.ended(await parts.runs.order("another", EvalOrder(component_id=COMPONENT, repeats=2)))
    assert (other.state, other.figures.passed) == ("done", 6)
    assert [one.state for one in await parts.runs.all_of(APP)].count("running") == 1
    parts.loop.may_answer.set()
    assert {(await parts.ended(one)).state for one in flood} == {"done"}


async def test_a_list_of_evaluations_is_without_what_came_of_each_sample(parts: Parts) -> None:
    await parts.start()
    done = await parts.ended(await parts.runs.order(APP, ORDER))
    (listed,) = await parts.runs.all_of(APP)
    assert (listed.figures, listed.verdicts) == (done.figures, ())


async def test_an_application_that_is_gone_leaves_no_evaluations(parts: Parts) -> None:
    await parts.start()
    await parts.ended(await parts.runs.order(APP, ORDER))
    await parts.runs.forget(APP)
    assert await parts.runs.all_of(APP) == []


async def test_what_runs_and_waits_of_an_application_that_goes_is_given_up(parts: Parts) -> None:
    parts.loop.may_answer.clear()
    await parts.start()
    for _ in range(3):
        await parts.runs.order(APP, ORDER)
    async with asyncio.timeout(20):
        await parts.loop.is_asked.wait()
    await parts.runs.forget(APP)
    parts.loop.may_answer.set()
    other = await parts.ended(await parts.runs.order("another", ORDER))
    assert other.state == "done"
    assert parts.loop.asked_of.count(APP) <= len(parts.desk.dataset)
    assert await parts.opened().all_of(APP) == []

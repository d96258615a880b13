"""Evaluation and EvalLoop over a real mailbox: what is asked is counted once, whatever happens on the way."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from tests.unit.evals.sends_twice import SendsTwice
from uhlp.clock import FakeClock, SystemClock
from uhlp.errors import EvalIncomplete
from uhlp.evals.dataset import Dataset, Sample
from uhlp.evals.eval_loop import EvalLoop
from uhlp.evals.eval_request import EvalRequest, EvalResult
from uhlp.evals.evaluation import Evaluation
from uhlp.evals.evaluators import Evaluators, Exact, OfFunction
from uhlp.loops import LoopGroup, PeriodicLoop
from uhlp.mailbox.sqlite_mailbox import InMemoryMailbox
from uhlp.models.experiment import Experiment
from uhlp.models.main_loop import MainLoopFault, MainLoopRequest, MainLoopResult

Answer = Callable[[MainLoopRequest], MainLoopResult]
BASE, OTHER = Experiment(name="baseline"), Experiment(name="shorter", overrides_tag="opt-1")


def doubled(request: MainLoopRequest) -> MainLoopResult:
    tag = request.experiment.overrides_tag if request.experiment else "served"
    return MainLoopResult(request_id=request.request_id, output=request.input["n"] * 2, tokens_in=7, prompt_digest=tag)


def dataset(size: int) -> Dataset:
    return Dataset(samples=tuple(Sample(id=str(n), input={"n": n}, expected=n * 2) for n in range(size)))


class ScriptedLoop:
    """Answers by a function; counts what it was asked."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[MainLoopRequest] = []
        self.most_at_once = self._now = 0
        self.enough, self.has_enough = 4, asyncio.Event()

    async def execute(self, request: MainLoopRequest) -> MainLoopResult:
        self.asked.append(request)
        if len(self.asked) >= self.enough:
            self.has_enough.set()
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        await asyncio.sleep(0)
        self._now -= 1
        return self.answer(request)


class Parts:
    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.requests: InMemoryMailbox[EvalRequest, EvalResult] = InMemoryMailbox(
            name="eval-requests", body=EvalRequest, reply=EvalResult
        )
        self.replies: InMemoryMailbox[EvalResult, None] = InMemoryMailbox(
            name="reply:here", body=EvalResult, beside=self.requests
        )
        self.evaluation = Evaluation(requests=self.requests, replies=self.replies, clock=SystemClock(), window=4)

    async def start(self, answer: Answer, *, retries: int = 2, evaluators: Evaluators | None = None) -> ScriptedLoop:
        loop, clock = ScriptedLoop(answer), SystemClock()
        evals = EvalLoop(loop=loop, requests=self.requests, evaluators=evaluators, clock=clock, retries=retries)
        names = [f"eval-{one}" for one in range(evals.concurrency)]
        loops = [PeriodicLoop(name, evals.run_cycle, 0.0, clock, waits_for_work=True) for name in names]
        replies = PeriodicLoop("replies", self.evaluation.run_cycle, 0.0, clock, waits_for_work=True)
        await self._stack.enter_async_context(LoopGroup([*loops, replies]))
        return loop


@pytest.fixture
async def parts() -> AsyncIterator[Parts]:
    async with AsyncExitStack() as stack:
        made = Parts(stack)
        stack.push_async_callback(made.requests.aclose)
        yield made


async def evaluate(parts: Parts, data: Dataset, **how):
    how = {"evaluator": Exact(), "deadline_s": 20.0, **how}
    return await parts.evaluation.evaluate(data, app_id="desk", component_id="sort", **how)


async def test_every_sample_is_run_in_every_arm_and_scored(parts: Parts) -> None:
    loop = await parts.start(doubled)
    base, other = await evaluate(parts, dataset(10), arms=[BASE, OTHER], repeats=3)
    assert (base.n, base.passed, base.missing, base.errored) == (30, 30, 0, 0)
    assert (base.prompt_digests, other.prompt_digests) == ({"stable"}, {"opt-1"})
    assert base.tokens_in == 210
    assert [len(runs) for runs in other.by_sample().values()] == [3] * 10
    assert loop.most_at_once <= 4
    first = [request.experiment.name for request in loop.asked[:12] if request.experiment]
    assert 4 <= first.count("baseline") <= 8  # interleaved
    assert len({request.request_id for request in loop.asked}) == 60
    base.gate()


async def test_a_wrong_answer_is_a_failure_and_an_outage_an_error(parts: Parts) -> None:
    def answer(request: MainLoopRequest) -> MainLoopResult:
        if request.input["n"] == 3:
            fault = MainLoopFault(code="MODEL_PROVIDER_UNAVAILABLE", message="down", is_retryable=False)
            return MainLoopResult(request_id=request.request_id, fault=fault)
        return MainLoopResult(request_id=request.request_id, output=0)

    await parts.start(answer)
    (report,) = await evaluate(parts, dataset(4))
    assert (report.passed, report.failed, report.errored) == (1, 2, 1)
    assert report.pass_rate == pytest.approx(1 / 3)
    with pytest.raises(EvalIncomplete, match="errors"):
        report.gate()


async def test_what_may_go_better_is_tried_again(parts: Parts) -> None:
    tries: dict[int, int] = {}

    def answer(request: MainLoopRequest) -> MainLoopResult:
        number = request.input["n"]
        tries[number] = tries.get(number, 0) + 1
        if tries[number] <= number:
            fault = MainLoopFault(code="BUSY", message="busy", is_retryable=True)
            return MainLoopResult(request_id=request.request_id, fault=fault)
        return doubled(request)

    await parts.start(answer, retries=1)
    (report,) = await evaluate(parts, dataset(3))
    assert (report.passed, report.errored) == (2, 1)
    assert tries == {0: 1, 1: 2, 2: 2}


async def test_an_answer_of_no_use_is_a_failure_and_is_not_asked_for_until_it_is_of_use(parts: Parts) -> None:
    def answer(request: MainLoopRequest) -> MainLoopResult:
        fault = MainLoopFault(code="BAD_MODEL_ANSWER", message="not JSON", is_retryable=True, is_own=True)
        return MainLoopResult(request_id=request.request_id, fault=fault, tokens_in=7)

    loop = await parts.start(answer, retries=2)
    (report,) = await evaluate(parts, dataset(3))
    assert (report.failed, report.errored, len(loop.asked)) == (3, 0, 3)
    assert {one.score.reason for one in report.results if one.score} == {"not JSON"}
    report.gate()


async def test_a_score_function_that_raises_is_an_error_of_its_own(parts: Parts) -> None:
    await parts.start(doubled, evaluators=Evaluators(functions={"bad": lambda sample, output: 1 / 0}))
    (report,) = await evaluate(parts, dataset(2), evaluator=OfFunction(name="bad"))
    assert {one.fault.code for one in report.results if one.fault} == {"EVALUATOR_FAILED"}


async def test_a_reply_that_comes_twice_is_counted_once(parts: Parts) -> None:
    parts.evaluation = Evaluation(requests=SendsTwice(parts.requests), replies=parts.replies, clock=SystemClock())
    loop = await parts.start(doubled)
    (report,) = await evaluate(parts, dataset(5))
    assert report.n == 5
    assert len(loop.asked) > 5


async def test_what_nobody_answers_in_time_is_missing(parts: Parts) -> None:
    (report,) = await evaluate(parts, dataset(5), deadline_s=0.05)
    assert (report.n, report.missing, report.complete) == (0, 5, False)
    with pytest.raises(EvalIncomplete, match="no result"):
        report.gate()


async def test_a_spent_budget_ends_the_run_with_what_there_is(parts: Parts) -> None:
    await parts.start(doubled)
    spent = 0

    async def goes_on(result: EvalResult) -> bool:
        nonlocal spent
        spent += result.tokens_in
        return spent < 21

    (report,) = await evaluate(parts, dataset(50), goes_on=goes_on)
    assert report.n == 3
    assert report.missing == 47


async def test_what_is_under_way_when_a_budget_is_spent_is_waited_for_and_told(parts: Parts) -> None:
    loop = ScriptedLoop(doubled)
    told: list[EvalResult] = []

    async def goes_on(result: EvalResult) -> bool:
        told.append(result)
        return False

    evals = EvalLoop(loop=loop, requests=parts.requests, is_unwanted=parts.evaluation.is_unwanted, concurrency=2)
    clock = SystemClock()
    cycles = [PeriodicLoop(f"eval-{n}", evals.run_cycle, 0.0, clock, waits_for_work=True) for n in range(2)]
    replies = PeriodicLoop("replies", parts.evaluation.run_cycle, 0.0, clock, waits_for_work=True)
    async with LoopGroup([*cycles, replies]):
        (report,) = await evaluate(parts, dataset(50), goes_on=goes_on, settles_within_s=30.0)
    assert len(told) == report.n == len(loop.asked)
    assert report.n <= 4, "the window"


async def test_what_another_process_has_dropped_is_not_waited_for_longer_than_said(parts: Parts) -> None:
    (report,) = await evaluate(parts, dataset(2), deadline_s=0.05, settles_within_s=0.05)
    assert (report.n, report.missing) == (0, 2)


async def test_what_nobody_waits_for_any_more_is_not_run(parts: Parts) -> None:
    (report,) = await evaluate(parts, dataset(9), deadline_s=0.5)  # time enough to send them
    assert report.missing == 9
    assert (await parts.requests.counts()).ready == 4  # the window
    loop = ScriptedLoop(doubled)
    evals = EvalLoop(loop=loop, requests=parts.requests, is_unwanted=parts.evaluation.is_unwanted)
    await evals.run(max_iterations=4)
    assert loop.asked == []
    assert (await parts.requests.counts()).ready == 0


async def test_a_process_that_is_gone_is_waited_for_until_its_deadline(parts: Parts) -> None:
    clock, loop = FakeClock(), ScriptedLoop(doubled)
    evals = EvalLoop(loop=loop, requests=parts.requests, clock=clock)
    for sample in dataset(2):
        request = EvalRequest(
            app_id="desk", component_id="sort", sample=sample, evaluator=Exact(), expires_at=clock.now() + 10.0
        )
        await parts.requests.send(request, reply_to="reply:gone")
    await evals.run(max_iterations=1)
    clock.advance(11.0)
    await evals.run(max_iterations=1)
    assert len(loop.asked) == 1
    assert (await parts.requests.counts()).ready == 0


async def test_no_more_is_run_than_was_said(parts: Parts) -> None:
    loop = await parts.start(doubled)
    (report,) = await evaluate(parts, dataset(9), most_runs=6)
    assert (report.n, report.missing, len(loop.asked)) == (6, 3, 6)


async def test_an_empty_dataset_decides_nothing(parts: Parts) -> None:
    (report,) = await evaluate(parts, Dataset())
    with pytest.raises(EvalIncomplete, match="empty"):
        report.gate()


async def test_a_loop_by_itself_runs_so_many_cycles_and_is_shut_down(parts: Parts) -> None:
    loop = ScriptedLoop(doubled)
    evals = EvalLoop(loop=loop, requests=parts.requests, clock=SystemClock(), concurrency=2)
    for sample in dataset(4):
        await parts.requests.send(
            EvalRequest(app_id="desk", component_id="sort", sample=sample, evaluator=Exact()), reply_to="reply:here"
        )
    await evals.run(max_iterations=3)
    assert len(loop.asked) == 3
    running = asyncio.create_task(evals.run())
    async with asyncio.timeout(30):
        await loop.has_enough.wait()
        assert await evals.shutdown(timeout=5.0)
        await running

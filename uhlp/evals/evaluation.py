"""Evaluation: submits a dataset to EvalLoops, wherever they run, and collects what they answer."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from uuid import uuid4

from uhlp.clock import Clock, SystemClock
from uhlp.errors import LeaseLost, MailboxClosed
from uhlp.evals.dataset import Dataset
from uhlp.evals.eval_report import EvalReport
from uhlp.evals.eval_request import EvalRequest, EvalResult
from uhlp.evals.evaluators import EvaluatorSpec
from uhlp.loops import PeriodicLoop
from uhlp.mailbox.mailbox import Mailbox
from uhlp.mailbox.patience import Patience
from uhlp.models.experiment import Experiment

_RECEIVED_AT_ONCE = 10
_Key = tuple[int, str, int]
_Arrived = EvalResult | _Key
"""A reply, or which request was dropped."""
GoesOn = Callable[[EvalResult], Awaitable[bool]]


async def _always(result: EvalResult) -> bool:
    return True


class Evaluation:
    """One a process: `replies` is this process's reply queue, beside `requests` when none is given, and a loop drives
    `run_cycle`, which hands replies out.

    At most `window` runs of one evaluation are under way. A reply that comes twice, or for an evaluation that has
    ended, is dropped.
    """

    def __init__(
        self,
        *,
        requests: Mailbox[EvalRequest, EvalResult],
        replies: Mailbox[EvalResult, None] | None = None,
        clock: Clock = SystemClock(),  # noqa: B008  it has no state
        window: int = 16,
    ) -> None:
        self._requests = requests
        self._replies = replies or requests.reply_box(EvalResult)
        self._clock = clock
        self._window = window
        self._waiting: dict[str, asyncio.Queue[_Arrived]] = {}
        self._ending: set[str] = set()
        self._limits: dict[str, asyncio.Timeout] = {}
        self._patience = Patience()

    async def evaluate(
        self,
        dataset: Dataset,
        *,
        app_id: str,
        component_id: str,
        evaluator: EvaluatorSpec,
        arms: Sequence[Experiment | None] = (None,),
        repeats: int = 1,
        first_attempt: int = 0,
        deadline_s: float = 600.0,
        sample_deadline_s: float | None = None,
        most_runs: int | None = None,
        goes_on: GoesOn = _always,
        settles_within_s: float = 0.0,
        run_id: str | None = None,
    ) -> list[EvalReport]:
        """Run every sample `repeats` times in every arm, interleaved, and score it; a report an arm.

        Ends after `deadline_s` seconds, after `most_runs`, or when `goes_on` says no to a result (a budget is spent),
        with what there is: the reports say what is missing. Of the requests under way then, at most `window`, those
        that nobody has begun are dropped: by this process at once (`is_unwanted`), by others after the deadline. Those
        that are begun cost what they cost: for `settles_within_s` they are waited for, and given to `goes_on` too.
        `run_id`, never used before, is the name by which `end` ends it.
        """
        run_id = run_id or uuid4().hex
        runs = [
            (arm, sample, first_attempt + attempt)
            for sample in dataset
            for attempt in range(repeats)
            for arm in range(len(arms))
        ]
        expires_at = self._clock.now() + deadline_s
        found: dict[_Key, EvalResult] = {}
        under_way: set[_Key] = set()
        arrived = self._waiting[run_id] = asyncio.Queue()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(deadline_s) as self._limits[run_id]:
                    requests = (
                        EvalRequest(
                            app_id=app_id,
                            component_id=component_id,
                            sample=sample,
                            evaluator=evaluator,
                            experiment=arms[arm],
                            run_id=run_id,
                            arm=arm,
                            attempt=attempt,
                            deadline_s=sample_deadline_s,
                            expires_at=expires_at,
                        )
                        for arm, sample, attempt in runs[:most_runs]
                    )
                    await self._exchange(requests, arrived, under_way, found, goes_on)
            self._ending.add(run_id)
            with suppress(TimeoutError):
                async with asyncio.timeout(settles_within_s):
                    await self._settle(arrived, under_way, found, goes_on)
        finally:
            del self._waiting[run_id]
            self._ending.discard(run_id)
            self._limits.pop(run_id, None)
        in_order = [found[key] for arm, sample, attempt in runs if (key := (arm, sample.id, attempt)) in found]
        return [
            EvalReport(arm=arm, asked=len(dataset) * repeats, results=tuple(one for one in in_order if one.arm == arm))
            for arm in range(len(arms))
        ]

    def end(self, run_id: str) -> None:
        """End an evaluation of this process now, as its deadline would; nothing when it is not under way."""
        limit = self._limits.get(run_id)
        if limit is not None and not limit.expired():
            limit.reschedule(asyncio.get_running_loop().time())

    def is_unwanted(self, request: EvalRequest, reply_to: str | None) -> bool:
        """Whether an evaluation of this process asked it and has ended meanwhile, or is about to: which is told then,
        that it waits for no reply."""
        if reply_to != self._replies.name:
            return False
        arrived = self._waiting.get(request.run_id)
        if arrived is not None and request.run_id in self._ending:
            arrived.put_nowait(_key_of(request))
        return arrived is None or request.run_id in self._ending

    def loops(self) -> list[PeriodicLoop]:
        """What a LoopGroup drives, which takes this as it is."""
        return [PeriodicLoop(self._replies.name, self.run_cycle, 0.0, self._clock, waits_for_work=True)]

    async def run_cycle(self) -> None:
        """Hand out the next replies."""
        with self._patience.wait_s() as wait_s, suppress(MailboxClosed):
            for message in await self._replies.receive(max_messages=_RECEIVED_AT_ONCE, wait_time_seconds=wait_s):
                waiting = self._waiting.get(message.body.run_id)
                if waiting is not None:
                    waiting.put_nowait(message.body)
                with suppress(LeaseLost):
                    await message.acknowledge()

    async def _exchange(
        self,
        requests: Iterator[EvalRequest],
        arrived: "asyncio.Queue[_Arrived]",
        under_way: set[_Key],
        found: dict[_Key, EvalResult],
        goes_on: GoesOn,
    ) -> None:
        """Keep `window` requests under way until all are answered."""
        is_over = False
        while True:
            while not is_over and len(under_way) < self._window:
                request = next(requests, None)
                if request is None:
                    is_over = True
                    break
                under_way.add(_key_of(request))
                await self._requests.send(request, reply_to=self._replies.name)
            if not under_way:
                return
            result = _taken(await arrived.get(), under_way, found)
            if result is not None and not await goes_on(result):
                return

    async def _settle(
        self,
        arrived: "asyncio.Queue[_Arrived]",
        under_way: set[_Key],
        found: dict[_Key, EvalResult],
        goes_on: GoesOn,
    ) -> None:
        """Take the results of those that were begun."""
        while under_way:
            result = _taken(await arrived.get(), under_way, found)
            if result is not None:
                await goes_on(result)


def _key_of(request: EvalRequest) -> _Key:
    return request.arm, request.sample.id, request.attempt


def _taken(arrived: "_Arrived", under_way: set[_Key], found: dict[_Key, EvalResult]) -> EvalResult | None:
    """The result that has arrived; None when it is delivered twice, or when the run was dropped."""
    if not isinstance(arrived, EvalResult):
        under_way.discard(arrived)
        return None
    key = (arrived.arm, arrived.sample_id, arrived.attempt)
    if key not in under_way:
        return None
    under_way.remove(key)
    found[key] = arrived
    return arrived

"""Evaluation: submits a dataset to EvalLoops, wherever they run, and collects what they answer (design 04 "Evals")."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from uuid import uuid4

from uhlp.clock import Clock
from uhlp.errors import LeaseLost, MailboxClosed
from uhlp.evals.dataset import Dataset, Sample
from uhlp.evals.eval_report import EvalReport
from uhlp.evals.eval_request import EvalRequest, EvalResult
from uhlp.evals.evaluators import EvaluatorSpec
from uhlp.mailbox.mailbox import Mailbox
from uhlp.models.experiment import Experiment

_RECEIVED_AT_ONCE = 10
_WAIT_S = 20.0
_Key = tuple[int, str, int]


class Evaluation:
    """One a process: `replies` is this process's reply queue, and a loop drives `run_cycle`, which hands replies out.

    At most `window` runs of one evaluation are under way. A reply that comes twice, or for an evaluation that has
    ended, is dropped.
    """

    def __init__(
        self,
        *,
        requests: Mailbox[EvalRequest, EvalResult],
        replies: Mailbox[EvalResult, None],
        clock: Clock,
        window: int = 16,
    ) -> None:
        self._requests = requests
        self._replies = replies
        self._clock = clock
        self._window = window
        self._waiting: dict[str, asyncio.Queue[EvalResult]] = {}

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
        goes_on: Callable[[EvalResult], bool] = lambda result: True,
    ) -> list[EvalReport]:
        """Run every sample `repeats` times in every arm, interleaved, and score it; a report an arm.

        Ends after `deadline_s` seconds, or when `goes_on` says no to a result (a budget is spent), with what there is:
        the reports say what is missing.
        """
        run_id = uuid4().hex
        runs = [
            (arm, sample, first_attempt + attempt)
            for sample in dataset
            for attempt in range(repeats)
            for arm in range(len(arms))
        ]
        found: dict[_Key, EvalResult] = {}
        arrived = self._waiting[run_id] = asyncio.Queue()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(deadline_s):
                    requests = self._requests_of(runs, run_id, arms, app_id, component_id, evaluator, sample_deadline_s)
                    await self._exchange(requests, arrived, found, goes_on)
        finally:
            del self._waiting[run_id]
        in_order = [found[key] for arm, sample, attempt in runs if (key := (arm, sample.id, attempt)) in found]
        return [
            EvalReport(arm=arm, asked=len(dataset) * repeats, results=tuple(one for one in in_order if one.arm == arm))
            for arm in range(len(arms))
        ]

    async def run_cycle(self) -> None:
        """Hand out the next replies."""
        with suppress(MailboxClosed):
            for message in await self._replies.receive(max_messages=_RECEIVED_AT_ONCE, wait_time_seconds=_WAIT_S):
                waiting = self._waiting.get(message.body.run_id)
                if waiting is not None:
                    waiting.put_nowait(message.body)
                with suppress(LeaseLost):
                    await message.acknowledge()

    async def _exchange(
        self,
        requests: Iterator[EvalRequest],
        arrived: "asyncio.Queue[EvalResult]",
        found: dict[_Key, EvalResult],
        goes_on: Callable[[EvalResult], bool],
    ) -> None:
        """Keep `window` requests under way until all are answered."""
        under_way: set[_Key] = set()
        is_over = False
        while True:
            while not is_over and len(under_way) < self._window:
                request = next(requests, None)
                if request is None:
                    is_over = True
                    break
                under_way.add((request.arm, request.sample.id, request.attempt))
                await self._requests.send(request, reply_to=self._replies.name)
            if not under_way:
                return
            result = await arrived.get()
            key = (result.arm, result.sample_id, result.attempt)
            if key not in under_way:  # delivered twice
                continue
            under_way.remove(key)
            found[key] = result
            if not goes_on(result):
                return

    @staticmethod
    def _requests_of(
        runs: Sequence[tuple[int, Sample, int]],
        run_id: str,
        arms: Sequence[Experiment | None],
        app_id: str,
        component_id: str,
        evaluator: EvaluatorSpec,
        sample_deadline_s: float | None,
    ) -> Iterator[EvalRequest]:
        for arm, sample, attempt in runs:
            yield EvalRequest(
                app_id=app_id,
                component_id=component_id,
                sample=sample,
                evaluator=evaluator,
                experiment=arms[arm],
                run_id=run_id,
                arm=arm,
                attempt=attempt,
                deadline_s=sample_deadline_s,
            )

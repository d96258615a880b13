"""EvalLoop: runs samples through a component and scores what it answers (seed 004)."""

from collections.abc import Callable
from typing import Protocol

import structlog

from uhlp.clock import Clock, SystemClock
from uhlp.errors import UhlpError
from uhlp.evals.eval_request import EvalRequest, EvalResult
from uhlp.evals.evaluators import Evaluators
from uhlp.evals.score import all_or_nothing
from uhlp.mailbox.mailbox import Mailbox
from uhlp.mailbox.mailbox_loop import MailboxLoop
from uhlp.mailbox.mailbox_worker import MailboxWorker, Retry
from uhlp.mailbox.message import Message
from uhlp.models.main_loop import MainLoopFault, MainLoopRequest, MainLoopResult

log = structlog.get_logger(__name__)

_FIRST_RETRY_S = 0.5


class Loop(Protocol):
    """Answers one request: the MainLoop."""

    async def execute(self, request: MainLoopRequest) -> MainLoopResult: ...


class EvalLoop(MailboxLoop[EvalRequest, EvalResult]):
    """Answers EvalRequests. What may go better another time is tried `retries` times more; then it is an error, as is
    an evaluator that cannot say. An answer of no use is an answer: it scores 0, and is not asked for again until it is
    of use. `deadline_s` bounds one run where its request says nothing. Requests whose results
    nobody waits for are dropped: `is_unwanted` is given a request and where its reply would go.
    """

    def __init__(
        self,
        *,
        loop: Loop,
        requests: Mailbox[EvalRequest, EvalResult],
        evaluators: Evaluators | None = None,
        clock: Clock = SystemClock(),  # noqa: B008  it has no state
        concurrency: int = 4,
        retries: int = 2,
        deadline_s: float = 60.0,
        is_unwanted: Callable[[EvalRequest, str | None], bool] = lambda request, reply_to: False,
    ) -> None:
        worker = MailboxWorker(requests, self._handle, clock=clock, visibility_s=30.0)
        super().__init__(worker, clock=clock, concurrency=concurrency)
        self._loop = loop
        self._evaluators = evaluators or Evaluators()
        self._clock = clock
        self._retries = retries
        self._deadline_s = deadline_s
        self._is_unwanted = is_unwanted

    async def score(self, request: EvalRequest) -> EvalResult:
        """Run and score one sample, once."""
        ran = await self._ran(request)
        result = EvalResult(
            request_id=request.request_id,
            run_id=request.run_id,
            arm=request.arm,
            sample_id=request.sample.id,
            attempt=request.attempt,
            fault=ran.fault,
            output=ran.output,
            implementation=ran.implementation,
            prompt_digest=ran.prompt_digest,
            latency_ms=ran.latency_ms,
            tokens_in=ran.tokens_in,
            tokens_out=ran.tokens_out,
            cost_usd=ran.cost_usd,
        )
        if ran.fault is not None and ran.fault.is_own:
            return result.model_copy(update={"fault": None, "score": all_or_nothing(False, ran.fault.message)})
        if not ran.is_ok:
            return result
        try:
            evaluator = self._evaluators.of(request.evaluator, app_id=request.app_id, component_id=request.component_id)
            score = await evaluator.score(request.sample, ran.output)
        except UhlpError as error:
            fault = MainLoopFault(code=error.code, message=error.message, is_retryable=error.retryable)
            return result.model_copy(update={"fault": fault})
        except Exception as error:  # a score function is the user's own code
            log.warning("evaluator_failed", evaluator=request.evaluator.kind, error=type(error).__name__)
            fault = MainLoopFault(code="EVALUATOR_FAILED", message=f"{type(error).__name__}: {error}"[:1_000])
            return result.model_copy(update={"fault": fault})
        return result.model_copy(update={"score": score})

    async def _ran(self, request: EvalRequest) -> MainLoopResult:
        try:
            return await self._loop.execute(
                MainLoopRequest(
                    app_id=request.app_id,
                    component_id=request.component_id,
                    input=request.sample.input,
                    experiment=request.experiment,
                    deadline_s=request.deadline_s or self._deadline_s,
                    request_id=request.request_id,
                )
            )
        except Exception as error:  # a loop may be the user's own code; whoever asked is told all the same
            log.warning("main_loop_failed", app_id=request.app_id, error=type(error).__name__)
            message = f"{type(error).__name__}: {error}"[:1_000]
            fault = MainLoopFault(code="MAIN_LOOP_FAILED", message=message, is_retryable=True)
            return MainLoopResult(request_id=request.request_id, fault=fault)

    async def _handle(self, message: Message[EvalRequest, EvalResult]) -> None:
        request = message.body
        is_late = request.expires_at is not None and self._clock.now() >= request.expires_at
        if self._is_unwanted(request, message.reply_to) or is_late:
            return
        result = await self.score(request)
        if result.fault is not None and result.fault.is_retryable and message.delivery_count <= self._retries:
            raise Retry(_FIRST_RETRY_S * 2.0 ** (message.delivery_count - 1), result.fault.code)
        await message.reply(result)

"""Observer: shadows and audits, off the request path.

Shadow: the model, or the handler in service, has answered and a candidate's handler runs beside it. Audit: the handler
has answered, the reference is asked behind it. Both end as one comparison in the governor's account. Between them: the
handler has answered, in a class that is not trusted, and the model's answer was used; that is a shadow which has run
already. Prompts are held against prompts (`prompt_observer`).
"""

from random import Random
from uuid import uuid4

import structlog

from uhlp.evolution.audit_debt import AuditDebt
from uhlp.evolution.comparison import Stage, compare
from uhlp.evolution.config import ConfigInForce
from uhlp.evolution.entry_order import Place
from uhlp.evolution.governor import SafetyGovernor
from uhlp.evolution.live_evidence import LiveEvidence
from uhlp.evolution.measuring import BudgetSpent
from uhlp.evolution.observation import ObservationQueue, Served, comparator_of, recorded_calls
from uhlp.evolution.prompt_observer import Pair, PromptObserver
from uhlp.evolution.questions import Questions
from uhlp.evolution.reference import Dispute, MeasurementFailed, Reference
from uhlp.evolution.rollouts import LiveHandler
from uhlp.evolution.tampering import forbidden_calls_of
from uhlp.execution import ExecutionCall, ExecutionResult, Executor, run_with_second_try
from uhlp.traffic.split import input_hash

log = structlog.get_logger(__name__)

_NOT_ASKED = object()
"""Stands where the model's answer will: nobody has asked it yet."""


class Observer:
    """Works off the observation queue; several of its cycles may run side by side."""

    def __init__(
        self,
        *,
        queue: ObservationQueue,
        executor: Executor,
        reference: Reference,
        questions: Questions,
        governor: SafetyGovernor,
        audit_debt: AuditDebt,
        random: Random,
        config: ConfigInForce,
    ) -> None:
        self._audit_debt = audit_debt
        self._queue = queue
        self._executor = executor
        self._reference = reference
        self._questions = questions
        self._governor = governor
        self._random = random
        self._prompts = PromptObserver(
            executor=executor, reference=reference, governor=governor, audit_debt=audit_debt, config=config
        )

    async def run_cycle(self) -> None:
        """Take one served request and measure what it can show of every handler that takes part."""
        served = await self._queue.take()
        watch = _Watch(served, self._random.random())
        for live in (served.live, served.prompt, *served.beside):
            if live is not None:
                await self._measure(watch, live)

    async def _measure(self, watch: "_Watch", live: LiveHandler) -> None:
        evidence = self._governor.evidence_of(live.candidate_id)
        if evidence is None:
            return  # decided since
        try:
            await self._compare_with_answer(watch, live, evidence)
        except BudgetSpent as spent:  # no error of measuring: what could not be asked is kept
            log.info("measuring_waits", candidate=live.candidate_id, why=str(spent))
        except MeasurementFailed as failure:
            await self._governor.record_measuring_error(live.candidate_id, str(failure))
        else:
            await self._ask_again(evidence)
        if evidence.canary is not None and evidence.canary.alarm is not None:
            await self._governor.evaluate_candidate(live.candidate_id)

    async def _compare_with_answer(self, watch: "_Watch", live: LiveHandler, evidence: LiveEvidence) -> None:
        served, place = watch.served, evidence.order.take()
        try:
            if live.is_prompt:
                await self._prompts.measure(served, live, evidence, place, draw=watch.draw)
            elif live is not served.live or served.handler_result is None:
                await self._shadow(watch, live, evidence, place)
            elif served.is_withheld:
                await self._take_in(watch, live, evidence, served.handler_result, place, is_live=True)
            else:
                await self._audit(watch, live, evidence, served.handler_result, place)
        finally:
            await self._free(live, place)

    async def _free(self, live: LiveHandler, place: Place) -> None:
        """Nobody waits behind a comparison that is not going on."""
        if not (place.is_settled or place.is_kept):
            await self._governor.release(live.candidate_id, place)

    async def _shadow(self, watch: "_Watch", live: LiveHandler, evidence: LiveEvidence, place: Place) -> None:
        """Run the handler beside the answer. Where the model has answered that costs nothing; where another handler
        was asked, only a share of the requests is looked at, of those that it left to the model as of the others: the
        evidence is about all of them alike.
        """
        served = watch.served
        definition = served.component.definition
        if definition.effective_effects == "write":
            return
        if served.live is not None and watch.draw >= max(served.live.audit_share, live.audit_share):
            return
        if not watch.has_answer and (served.live is None or served.model_result is not None):
            return  # the model was asked and did not answer: nothing to hold the handler against
        if not watch.has_answer:
            watch.answer = await self._first_answer(served, evidence)
        result = await run_with_second_try(
            self._executor,
            ExecutionCall(
                app=served.app,
                component=served.component,
                implementation=live.implementation,
                input=served.input,
                request_id=f"shadow-{uuid4().hex}",
                trace_id=uuid4().hex,
                timeout_s=live.timeout_s or definition.timeout_ms / 1000 / 4,
                source="internal",
                purpose="shadow",
                group="trial",
                recorded=recorded_calls(served),
            ),
        )
        if result.is_refusal:  # the machine is busy, or begins: that holds the candidate, and needs no person
            evidence.unanswered += 1
            return
        if result.unrecorded and not forbidden_calls_of(result):
            return  # it asked a tool what the answer's own execution did not ask: there is nothing to compare
        await self._take_in(watch, live, evidence, result, place, is_live=False)

    async def _take_in(
        self, watch: "_Watch", live: LiveHandler, evidence: LiveEvidence, handler: ExecutionResult, place: Place, *,
        is_live: bool,
    ) -> None:  # fmt: skip
        """The handler ran and its answer was not used: count the run, and compare it with the model's."""
        answer = handler.data if handler.outcome == "ok" else watch.answer
        place.standing = standing = evidence.standing(answer)
        if handler.outcome == "ok":
            evidence.note_answer(answer)
        if is_live and standing == "trusted":  # its class was not when the request was answered
            place.standing = "unproven"
        await self._governor.record_execution(live.candidate_id, handler, is_live=is_live)
        is_hopeless = handler.outcome == "ok" and standing == "excluded"
        if watch.has_answer and handler.outcome != "deoptimize" and not is_hopeless:
            await self._compare(watch.served, live, "shadow", watch.answer, handler, place)

    async def _audit(
        self, watch: "_Watch", live: LiveHandler, evidence: LiveEvidence, handler: ExecutionResult, place: Place
    ) -> None:
        if handler.is_refusal:
            return
        if handler.outcome == "ok":
            evidence.note_answer(handler.data)
        # failures are sampled like answers, or the account would see every failure and few successes
        is_audited = handler.outcome != "deoptimize" and watch.draw < live.audit_share
        if handler.outcome == "failed" and watch.has_answer and not is_audited:
            await self._keep_failure(watch.served, live, watch.answer, handler)
        await self._governor.record_execution(live.candidate_id, handler, is_live=True)
        if not is_audited:
            return
        if not watch.has_answer:
            served = watch.served
            known = self._reference.known(served.app, served.component, input_hash(served.input))
            watch.answer = known.expected if known else await self._model_answer(served, live, evidence, handler)
        if handler.outcome != "ok":  # an answer was used: whatever has become of its class since, it is evidence
            place.standing = evidence.standing(watch.answer)
        await self._compare(watch.served, live, "audit", watch.answer, handler, place)

    async def _first_answer(self, served: Served, evidence: LiveEvidence) -> object:
        """What a candidate is held against where a handler has answered: what is known, else the model."""
        known = self._reference.known(served.app, served.component, input_hash(served.input))
        if known is not None:
            return known.expected
        return await self._reference.model_answer(
            served.app, served.component, served.input, spending=evidence.spending
        )

    async def _model_answer(
        self, served: Served, live: LiveHandler, evidence: LiveEvidence, handler: ExecutionResult, *,
        is_owed: bool = False,
    ) -> object:  # fmt: skip
        """The model's answer to what the handler has answered. What cannot be paid is kept, to be made up; an audit
        that `is_owed` is kept until it was."""
        try:
            if self._audit_debt.cannot_pay(served.app):
                self._audit_debt.owe(served.app, served.component)
                raise BudgetSpent("an audit is due, and the budget for it is spent")
            return await self._reference.model_answer(
                served.app, served.component, served.input, spending=evidence.spending, purpose="audit"
            )
        except MeasurementFailed as failure:
            if is_owed or isinstance(failure, BudgetSpent):
                evidence.keep_unasked((served, live, "audit", _NOT_ASKED, handler, None))
            raise

    async def _keep_failure(self, served: Served, live: LiveHandler, answer: object, handler: ExecutionResult) -> None:
        """An input that the handler failed on is no evidence here, and a test of the next attempt all the same."""
        evidence = self._governor.evidence_of(live.candidate_id)
        if evidence is not None:
            dispute = Dispute(
                app=served.app, component=served.component, value=served.input, first=answer, got=None,
                comparator=comparator_of(served.component), spending=evidence.spending,
            )  # fmt: skip
            failure = await compare(self._reference, dispute, stage="audit", handler_result=handler)
            self._governor.keep_mismatch(live.candidate_id, failure)

    async def _compare(
        self, served: Served, live: LiveHandler, stage: Stage, first: object, handler: ExecutionResult, place: Place
    ) -> None:
        """One comparison into the account. A disagreement that nobody can judge now is kept, with its place, and asked
        about later."""
        candidate_id = live.candidate_id
        evidence = self._governor.evidence_of(candidate_id)
        if evidence is None:
            return  # decided since
        dispute = Dispute(
            app=served.app, component=served.component, value=served.input, first=first, got=handler.data,
            comparator=comparator_of(served.component), spending=evidence.spending,
        )  # fmt: skip
        try:
            comparison = await compare(self._reference, dispute, stage=stage, handler_result=handler)
        except MeasurementFailed:
            evidence.keep_unasked((served, live, stage, first, handler, place), place)
            raise
        if comparison.outcome == "ambiguous":
            await self._questions.ask(candidate_id, served.app, served.component, comparison)
        await self._governor.record(candidate_id, comparison, place)

    async def _ask_again(self, evidence: LiveEvidence) -> None:
        """Measuring works (again): take one of the comparisons that could not be judged."""
        if evidence.unasked and isinstance(evidence.unasked[0], Pair):
            await self._settle_again(evidence.unasked[0], evidence)
        elif evidence.unasked and not self._audit_debt.cannot_pay(evidence.unasked[0][0].app):
            served, live, stage, first, handler, place = evidence.unasked.popleft()
            place = place or evidence.order.take()  # an audit that nobody was asked about begins now
            place.is_kept = False
            try:
                if first is _NOT_ASKED:
                    first = await self._model_answer(served, live, evidence, handler, is_owed=True)
                await self._compare(served, live, stage, first, handler, place)
            except MeasurementFailed:
                pass  # it is kept once more
            finally:
                await self._free(live, place)

    async def _settle_again(self, pair: Pair, evidence: LiveEvidence) -> None:
        """The same for a prompt's."""
        if self._audit_debt.cannot_pay(pair.served.app):
            return
        evidence.unasked.popleft()
        pair.place.is_kept = False
        try:
            await self._prompts.settle(pair, evidence)
        except MeasurementFailed:
            pass  # it is kept once more
        finally:
            await self._free(pair.live, pair.place)


class _Watch:
    """One served request under observation: one draw decides for all handlers whether it is looked at, and the model
    is asked at most once.
    """

    def __init__(self, served: Served, draw: float) -> None:
        self.served = served
        self.draw = draw
        model = served.model_result
        self.answer: object = model.data if model is not None and model.outcome == "ok" else _NOT_ASKED

    @property
    def has_answer(self) -> bool:
        return self.answer is not _NOT_ASKED

"""Observer: shadows and audits, off the request path.

Shadow: the model has answered, the candidate's handler runs beside it. Audit: the handler has answered, the reference
is asked behind it. Both end as one comparison in the governor's account. Between them: the handler has answered, in a
class that is not trusted, and the model's answer was used; that is a shadow which has run already.
"""

import contextlib
from random import Random
from uuid import uuid4

import structlog

from uhlp.evals.comparator import Comparator
from uhlp.evolution.audit_debt import AuditDebt
from uhlp.evolution.comparison import Stage, compare
from uhlp.evolution.governor import SafetyGovernor
from uhlp.evolution.live_evidence import LiveEvidence, Standing
from uhlp.evolution.measuring import BudgetSpent
from uhlp.evolution.observation import ObservationQueue, Served
from uhlp.evolution.questions import Questions
from uhlp.evolution.reference import Dispute, MeasurementFailed, Reference
from uhlp.execution import ExecutionCall, ExecutionResult, Executor
from uhlp.registry.snapshot import ComponentSnapshot
from uhlp.traffic.split import input_hash

log = structlog.get_logger(__name__)

_NOT_ASKED = object()
"""Stands where the model's answer will: the audit could not be paid."""


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
    ) -> None:
        self._audit_debt = audit_debt
        self._queue = queue
        self._executor = executor
        self._reference = reference
        self._questions = questions
        self._governor = governor
        self._random = random

    async def run_cycle(self) -> None:
        """Take one served request and measure what it can show."""
        served = await self._queue.take()
        evidence = self._governor.evidence_of(served.live.candidate_id)
        if evidence is None:
            return  # decided since
        try:
            if served.handler_result is None:
                await self._shadow(served, evidence)
            elif served.is_withheld:
                await self._take_in(served, evidence, served.handler_result, is_live=True)
            else:
                await self._audit(served, evidence, served.handler_result)
        except BudgetSpent as spent:  # no error of measuring: what could not be asked is kept
            log.info("measuring_waits", candidate=served.live.candidate_id, why=str(spent))
        except MeasurementFailed as failure:
            await self._governor.record_measuring_error(served.live.candidate_id, str(failure))
        else:
            await self._ask_again(evidence)

    async def _shadow(self, served: Served, evidence: LiveEvidence) -> None:
        model = served.model_result
        definition = served.component.definition
        if model is None or model.outcome != "ok" or definition.effective_effects != "none":
            return
        result = await self._executor.run(
            ExecutionCall(
                app=served.app,
                component=served.component,
                implementation=served.live.implementation,
                input=served.input,
                request_id=f"shadow-{uuid4().hex}",
                trace_id=uuid4().hex,
                timeout_s=served.live.timeout_s or definition.timeout_ms / 1000 / 4,
                source="internal",
                purpose="shadow",
                group="trial",
            )
        )
        if result.is_refusal:
            raise MeasurementFailed(result.error.message if result.error else "no sandbox")
        await self._take_in(served, evidence, result, is_live=False)

    async def _take_in(
        self, served: Served, evidence: LiveEvidence, handler: ExecutionResult, *, is_live: bool
    ) -> None:
        """The handler ran and the model's answer was used: count the run, and compare the two for nothing."""
        standing: Standing = evidence.note_answer(handler.data) if handler.outcome == "ok" else "trusted"
        await self._governor.record_execution(served.live.candidate_id, handler, is_live=is_live)
        model = served.model_result
        if model is not None and model.outcome == "ok" and handler.outcome != "deoptimize" and standing != "excluded":
            await self._compare(served, "shadow", model.data, handler)

    async def _audit(self, served: Served, evidence: LiveEvidence, handler: ExecutionResult) -> None:
        if handler.is_refusal:
            return
        if handler.outcome == "ok":
            evidence.note_answer(handler.data)
        await self._governor.record_execution(served.live.candidate_id, handler, is_live=True)
        if handler.outcome == "deoptimize" or self._random.random() >= served.live.audit_share:
            return  # failures are sampled like answers, or the account would see every failure and few successes
        if served.model_result is not None and served.model_result.outcome == "ok":
            first = served.model_result.data
        else:
            known = self._reference.known(served.app, served.component, input_hash(served.input))
            first = known.expected if known is not None else await self._model_answer(served, evidence, handler)
        await self._compare(served, "audit", first, handler)

    async def _model_answer(
        self, served: Served, evidence: LiveEvidence, handler: ExecutionResult, *, is_owed: bool = False
    ) -> object:
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
                evidence.unasked.append((served, "audit", _NOT_ASKED, handler))
            raise

    async def _compare(self, served: Served, stage: Stage, first: object, handler: ExecutionResult) -> None:
        """One comparison into the account. A disagreement that nobody can judge now is kept and asked about later."""
        candidate_id = served.live.candidate_id
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
            evidence.unasked.append((served, stage, first, handler))
            raise
        if comparison.outcome == "ambiguous":
            await self._questions.ask(candidate_id, served.app, served.component, comparison)
        await self._governor.record(candidate_id, comparison)

    async def _ask_again(self, evidence: LiveEvidence) -> None:
        """Measuring works (again): take one of the comparisons that could not be judged."""
        if evidence.unasked and not self._audit_debt.cannot_pay(evidence.unasked[0][0].app):
            served, stage, first, handler = evidence.unasked.popleft()
            with contextlib.suppress(MeasurementFailed):  # it is kept once more
                if first is _NOT_ASKED:
                    first = await self._model_answer(served, evidence, handler, is_owed=True)
                await self._compare(served, stage, first, handler)


def comparator_of(component: ComponentSnapshot) -> Comparator:
    """The component's comparator, as its definition declares it."""
    return Comparator(component.definition.optimization.comparator)

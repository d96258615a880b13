"""EvalRuns: evaluations that somebody asked for: worked off in turn, and kept."""

from uuid import uuid4

from pydantic import TypeAdapter, ValidationError

from uhlp.clock import Clock
from uhlp.errors import Conflict, NotFound, TooManyRequests, UhlpError, ValidationFailed
from uhlp.evals.component_datasets import ComponentDatasets
from uhlp.evals.dataset import Dataset
from uhlp.evals.eval_record import EvalFigures, EvalOrder, EvalRecord, SampleVerdict, figures_of, verdicts_of
from uhlp.evals.eval_request import EvalResult
from uhlp.evals.evaluation import Evaluation
from uhlp.evals.evaluators import EvaluatorSpec
from uhlp.evals.turns import Turns
from uhlp.mailbox.cancelling import to_its_end
from uhlp.models.experiment import Experiment
from uhlp.state.framework_values import FrameworkValues

AT_ONCE = 4
"""Evaluations of as many applications; they share the EvalLoop's workers sample by sample."""

_KEY, _VERDICTS = "evals:", "eval-verdicts:"
_KEPT_S = 90 * 86_400.0
_MOST_OF_AN_APPLICATION, _MOST_WAITING = 20, 200
_MOST_KEPT = 200
_AS_VERDICTS = TypeAdapter(tuple[SampleVerdict, ...])


class EvalRuns:
    """Records stand in the runtime store, and apart from them the verdicts of their samples, which are long. A server
    that stops leaves what it had not ended `interrupted`. Several `run_cycle`s may run side by side: of each
    application one evaluation is run at a time.
    """

    def __init__(
        self, *, evaluation: Evaluation, datasets: ComponentDatasets, values: FrameworkValues, clock: Clock
    ) -> None:
        self._evaluation = evaluation
        self._datasets = datasets
        self._values = values
        self._clock = clock
        self._turns: Turns[tuple[Dataset, EvaluatorSpec]] = Turns()
        self._live: dict[str, EvalRecord] = {}
        self._cancelled: set[str] = set()

    async def order(self, app_id: str, order: EvalOrder) -> EvalRecord:
        """Queue an evaluation. ValidationFailed: there is nothing to evaluate by; TooManyRequests: too many wait."""
        evaluator = order.evaluator or self._datasets.evaluator_of(app_id, order.component_id)
        dataset = order.samples
        if dataset is None:
            dataset = await self._datasets.dataset_of(
                app_id, order.component_id, origin=order.origin, limit=order.limit
            )
        if not len(dataset):
            raise ValidationFailed(
                f"{order.component_id} has no samples of this kind: write evals/{order.component_id}.jsonl, "
                "adjudicate samples, or let it answer requests first."
            )
        record = EvalRecord(
            id=f"e-{uuid4().hex[:12]}",
            app_id=app_id,
            order=order.model_copy(update={"samples": None}),
            created_at=self._clock.now(),
            dataset_digest=dataset.digest,
            figures=EvalFigures(asked=len(dataset) * order.repeats),
        )
        own = sum(one.app_id == app_id for one in self._live.values())
        if own >= _MOST_OF_AN_APPLICATION:
            raise TooManyRequests(f"{own} evaluations of {app_id} wait already.", retry_after_s=60.0)
        if len(self._live) >= _MOST_WAITING:
            raise TooManyRequests(f"{_MOST_WAITING} evaluations of all applications wait already.", retry_after_s=60.0)
        self._live[record.id] = record
        try:
            await self._keep(record)
        except BaseException:
            del self._live[record.id]
            raise
        self._turns.put(app_id, record.id, (dataset, evaluator))
        return record

    async def run_cycle(self) -> None:
        """Work on the next evaluation."""
        app_id, record_id, work = await self._turns.take()
        try:
            await self._run(record_id, *work)
        finally:
            self._turns.over(app_id)
        await self._forget_the_oldest(app_id)

    async def _run(self, record_id: str, dataset: Dataset, evaluator: EvaluatorSpec) -> None:
        record = self._live[record_id].model_copy(update={"state": "running"})
        self._live[record_id] = record
        try:
            record = await self._evaluated(record, dataset, evaluator)
        except UhlpError as error:
            record = record.model_copy(update={"state": "failed", "error": error.message})
        except BaseException:
            record = record.model_copy(update={"state": "interrupted"})
            raise
        finally:
            await to_its_end(self._end(record))
            self._cancelled.discard(record_id)

    async def cancel(self, app_id: str, record_id: str) -> EvalRecord:
        """End an evaluation: one that waits is over with this; one that runs ends at once, with what it has found.

        Raises NotFound; Conflict when it is over.
        """
        record = await self.get(app_id, record_id)
        if record_id not in self._live:
            raise Conflict(f"The evaluation {record_id} is over: {record.state}.")
        if record.state == "queued":
            self._turns.withdraw(app_id, record_id)
            await to_its_end(self._end(record.model_copy(update={"state": "cancelled"})))
        else:
            self._cancelled.add(record_id)
            self._evaluation.end(record_id)
        return await self.get(app_id, record_id)

    async def get(self, app_id: str, record_id: str) -> EvalRecord:
        """Raises NotFound."""
        live = self._live.get(record_id)
        if live is not None and live.app_id == app_id:
            return live
        record = await self._read(f"{_KEY}{app_id}:{record_id}")
        if record is None:
            raise NotFound(f"{app_id} has no evaluation {record_id}.")
        verdicts = await self._values.get(f"{_VERDICTS}{app_id}:{record_id}")
        if not verdicts.found:
            return record
        return record.model_copy(update={"verdicts": _AS_VERDICTS.validate_python(verdicts.value)})

    async def all_of(self, app_id: str, component_id: str | None = None) -> list[EvalRecord]:
        """Newest first, without the samples' verdicts."""
        found = [await self._read(key) for key in await self._values.keys(f"{_KEY}{app_id}:")]
        records = [self._live.get(one.id, one) for one in found if one is not None]
        wanted = [one for one in records if component_id in (None, one.order.component_id)]
        return sorted(wanted, key=lambda one: one.created_at, reverse=True)

    async def forget(self, app_id: str) -> None:
        """Remove the evaluations of an application that is gone; one that runs ends at once."""
        for record in [one for one in self._live.values() if one.app_id == app_id]:
            del self._live[record.id]
            self._turns.withdraw(app_id, record.id)
            self._evaluation.end(record.id)
        for kept in (_KEY, _VERDICTS):
            await self._values.delete_prefix(f"{kept}{app_id}:")

    async def _evaluated(self, record: EvalRecord, dataset: Dataset, evaluator: EvaluatorSpec) -> EvalRecord:
        order = record.order
        arm = None if order.served else Experiment(name="eval", overrides_tag=order.tag, flags=order.flags)

        async def goes_on(result: EvalResult) -> bool:
            live = self._live.get(record.id)
            if live is not None:
                self._live[record.id] = live.model_copy(update={"done": live.done + 1})
            return live is not None

        (report,) = await self._evaluation.evaluate(
            dataset,
            app_id=record.app_id,
            component_id=order.component_id,
            evaluator=evaluator,
            arms=(arm,),
            repeats=order.repeats,
            deadline_s=order.deadline_s,
            goes_on=goes_on,
            run_id=record.id,
        )
        redaction = self._datasets.redaction_of(record.app_id, order.component_id)
        return record.model_copy(
            update={
                "state": "cancelled" if record.id in self._cancelled else "done",
                "done": report.n,
                "figures": figures_of(report),
                "verdicts": tuple(verdicts_of(report, redaction)),
                "prompt_digests": tuple(sorted(report.prompt_digests)),
            }
        )

    async def _end(self, record: EvalRecord) -> None:
        """Keep how it ended; until that is done it is shown from memory."""
        if record.id not in self._live:  # its application is gone
            return
        try:
            await self._keep(record.model_copy(update={"ended_at": self._clock.now()}))
        finally:
            self._live.pop(record.id, None)

    async def _keep(self, record: EvalRecord) -> None:
        place = f"{record.app_id}:{record.id}"
        if record.verdicts:
            verdicts = _AS_VERDICTS.dump_python(record.verdicts, mode="json", by_alias=True)
            await self._values.set(_VERDICTS + place, verdicts, ttl_seconds=_KEPT_S)
        short = record.model_copy(update={"verdicts": ()})
        await self._values.set(_KEY + place, short.model_dump(mode="json", by_alias=True), ttl_seconds=_KEPT_S)

    async def _read(self, key: str) -> EvalRecord | None:
        value = await self._values.get(key)
        if not value.found:
            return None
        try:
            record = EvalRecord.model_validate(value.value)
        except ValidationError:  # kept by another version of this server
            return None
        if record.state in ("queued", "running") and record.id not in self._live:
            return record.model_copy(update={"state": "interrupted"})
        return record

    async def _forget_the_oldest(self, app_id: str) -> None:
        for record in (await self.all_of(app_id))[_MOST_KEPT:]:
            for kept in (_KEY, _VERDICTS):
                await self._values.delete(f"{kept}{app_id}:{record.id}")

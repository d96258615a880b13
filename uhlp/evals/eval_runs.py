"""EvalRuns: evaluations that somebody asked for: worked off one after the other, and kept."""

import asyncio
from uuid import uuid4

from pydantic import ValidationError

from uhlp.clock import Clock
from uhlp.errors import Conflict, NotFound, TooManyRequests, UhlpError, ValidationFailed
from uhlp.evals.component_datasets import ComponentDatasets
from uhlp.evals.dataset import Dataset
from uhlp.evals.eval_record import EvalFigures, EvalOrder, EvalRecord, figures_of, verdicts_of
from uhlp.evals.eval_request import EvalResult
from uhlp.evals.evaluation import Evaluation
from uhlp.evals.evaluators import EvaluatorSpec
from uhlp.mailbox.cancelling import to_its_end
from uhlp.models.experiment import Experiment
from uhlp.state.framework_values import FrameworkValues

_KEY = "evals:"
_KEPT_S = 90 * 86_400.0
_MOST_WAITING = 100
_MOST_KEPT = 200


class EvalRuns:
    """Records stand in the runtime store. A server that stops leaves what it had not ended `interrupted`."""

    def __init__(
        self, *, evaluation: Evaluation, datasets: ComponentDatasets, values: FrameworkValues, clock: Clock
    ) -> None:
        self._evaluation = evaluation
        self._datasets = datasets
        self._values = values
        self._clock = clock
        self._queue: asyncio.Queue[tuple[str, str, Dataset, EvaluatorSpec]] = asyncio.Queue()
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
        if len(self._live) >= _MOST_WAITING:
            raise TooManyRequests(f"{_MOST_WAITING} evaluations wait already.", retry_after_s=60.0)
        self._live[record.id] = record
        try:
            await self._keep(record)
        except BaseException:
            del self._live[record.id]
            raise
        self._queue.put_nowait((app_id, record.id, dataset, evaluator))
        return record

    async def run_cycle(self) -> None:
        """Work on the next evaluation."""
        app_id, record_id, dataset, evaluator = await self._queue.get()
        if record_id in self._cancelled:
            self._cancelled.discard(record_id)
            return
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
        await self._forget_the_oldest(app_id)

    async def cancel(self, app_id: str, record_id: str) -> EvalRecord:
        """End an evaluation: one that waits is over with this; one that runs ends at once, with what it has found.

        Raises NotFound; Conflict when it is over.
        """
        record = await self.get(app_id, record_id)
        if record_id not in self._live:
            raise Conflict(f"The evaluation {record_id} is over: {record.state}.")
        if record_id not in self._cancelled:
            self._cancelled.add(record_id)
            if record.state == "queued":
                await to_its_end(self._end(record.model_copy(update={"state": "cancelled"})))
            else:
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
        return record

    async def all_of(self, app_id: str, component_id: str | None = None) -> list[EvalRecord]:
        """Newest first, without the samples' verdicts."""
        found = [await self._read(key) for key in await self._values.keys(f"{_KEY}{app_id}:")]
        records = [self._live.get(one.id, one) for one in found if one is not None]
        wanted = [one for one in records if component_id in (None, one.order.component_id)]
        return sorted(wanted, key=lambda one: one.created_at, reverse=True)

    async def forget(self, app_id: str) -> None:
        """Remove the evaluations of an application that is gone."""
        await self._values.delete_prefix(f"{_KEY}{app_id}:")

    async def _evaluated(self, record: EvalRecord, dataset: Dataset, evaluator: EvaluatorSpec) -> EvalRecord:
        order = record.order
        arm = None if order.served else Experiment(name="eval", overrides_tag=order.tag, flags=order.flags)

        async def goes_on(result: EvalResult) -> bool:
            live = self._live[record.id]
            self._live[record.id] = live.model_copy(update={"done": live.done + 1})
            return True

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
        try:
            await self._keep(record.model_copy(update={"ended_at": self._clock.now()}))
        finally:
            self._live.pop(record.id, None)

    async def _keep(self, record: EvalRecord) -> None:
        await self._values.set(
            f"{_KEY}{record.app_id}:{record.id}", record.model_dump(mode="json", by_alias=True), ttl_seconds=_KEPT_S
        )

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
            await self._values.delete(f"{_KEY}{app_id}:{record.id}")

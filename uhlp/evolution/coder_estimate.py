"""What a coder model would make of a log: its handler through the same gates, then asked on the held-out half."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import uuid4

from uhlp.evals.comparator import Comparator
from uhlp.evals.replay import replay
from uhlp.evolution.config import ConfigInForce
from uhlp.evolution.measuring import Spending
from uhlp.evolution.refinement import Refinement
from uhlp.evolution.statistics import clopper_pearson_upper
from uhlp.evolution.verification import DraftReport, Verifier, handler_of, handler_timeout_s
from uhlp.execution import Executor
from uhlp.jsonschemas import compile_validator, schema_of
from uhlp.models.definition import AppDefinition, ComponentDefinition, HandlerType
from uhlp.optimization.estimate import Answer, EstimateReport, halves_of, score
from uhlp.optimization.proposer import Proposal, ProposalFailed, ProposalTask, Proposer, TrainSample
from uhlp.registry.route_table import RouteTable
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot
from uhlp.traffic.importing import ImportedRow
from uhlp.traffic.samples import Sample
from uhlp.traffic.split import input_hash, split_of

APP_ID = "estimate"
COMPONENT_ID = "log"


class CoderEstimate:
    """Drafts, tests and replays a coder's handler for a log; no model answers for the log itself."""

    def __init__(self, *, coder: Proposer, verifier: Verifier, executor: Executor, config: ConfigInForce) -> None:
        self._coder = coder
        self._verifier = verifier
        self._executor = executor
        self._config = config

    async def run(self, rows: Sequence[ImportedRow], *, description: str = "") -> EstimateReport:
        """Figures of the held-out half. The report's `reason` says why there is no handler."""
        taught, held_out = halves_of(rows)
        blank = EstimateReport(rows=len(rows), train=len(taught), held_out=len(held_out))
        app = _stand_in(rows)
        component = app.components[COMPONENT_ID]
        comparator = Comparator({})
        train = [_sample(row) for row in taught]
        task = ProposalTask(
            app_id=APP_ID,
            component_id=COMPONENT_ID,
            description=description,
            prompt_text="(not known: only recorded calls are)",
            input_schema=component.input_schema,
            output_schema=component.output_schema,
            train=tuple(TrainSample(row.input, row.output) for row in taught),
            rounds_left=1 + self._config.now.verify.repair_rounds,
        )

        async def examine(draft: Proposal) -> DraftReport:
            return await self._verifier.examine(
                app, component, draft, train, comparator, epsilon=self._config.now.epsilon, spending=Spending()
            )

        try:
            proposal = await self._coder.propose(task)
        except ProposalFailed as failure:
            return replace(blank, reason=failure.reason)
        drafted = await Refinement(self._coder, task, proposal).run(examine)
        cost = {
            "usd": drafted.proposal.cost_usd,
            "tokensIn": drafted.proposal.tokens_in,
            "tokensOut": drafted.proposal.tokens_out,
            "drafts": len(drafted.drafts),
        }
        blank = replace(blank, code=drafted.proposal.code, cost=cost)
        if drafted.report.stage is not None:
            return replace(blank, reason=f"refused by {drafted.report.stage}: {drafted.report.reason}")
        report = await replay(
            self._executor, app, component, handler_of(drafted.proposal.code), [_sample(row) for row in held_out],
            comparator, timeout_s=handler_timeout_s(component),
        )  # fmt: skip
        answers = [
            Answer(one.outcome in ("agrees", "differs", "failed"), one.got if one.is_answer else one.why)
            for one in report.results
        ]
        names = [row.output if isinstance(row.output, str) else "(all)" for row in held_out]
        return score(held_out, answers, names, blank, comparator, clopper_pearson_upper)


def _stand_in(rows: Sequence[ImportedRow]) -> AppSnapshot:
    """An application of one component that has no prompt: the log is all that is known of it."""
    input_schema, output_schema = schema_of([row.input for row in rows]), schema_of([row.output for row in rows])
    component = ComponentSnapshot(
        definition=ComponentDefinition(component_id=COMPONENT_ID, handler_type=HandlerType.LLM),
        input_schema=input_schema,
        output_schema=output_schema,
        input_validator=None,
        output_validator=compile_validator(output_schema),
        prompt=None,
        prompt_artifact=None,
        handler_artifact=None,
        handler_version=None,
        handler_function="handle",
        spec_hash="",
        configuration={},
        properties_types={},
        golden=(),
    )
    definition = AppDefinition(app_id=APP_ID)
    return AppSnapshot(APP_ID, "", definition, {COMPONENT_ID: component}, RouteTable(), {})


def _sample(row: ImportedRow) -> Sample:
    hashed = input_hash(row.input)
    return Sample(
        id=uuid4().hex, app_id=APP_ID, component_id=COMPONENT_ID, ts=0.0, input=row.input, output=row.output,
        implementation="import", handler="llm", latency_ms=None, tokens_in=0, tokens_out=0, cost_usd=None, ok=True,
        trace_id="", source="import", spec_hash="", input_hash=hashed, split=split_of(hashed),
    )  # fmt: skip

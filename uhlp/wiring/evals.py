"""Evaluations, overrides and shorter prompts, put together."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import uuid4

from uhlp.evals.component_datasets import ComponentDatasets
from uhlp.evals.eval_loop import EvalLoop
from uhlp.evals.eval_request import EvalRequest, EvalResult
from uhlp.evals.eval_runs import EvalRuns
from uhlp.evals.evaluation import Evaluation
from uhlp.evals.evaluators import Evaluators
from uhlp.evals.judge_model import JudgePoints
from uhlp.mailbox.mailbox import Mailbox
from uhlp.models.definition import LlmConfig
from uhlp.optimization.compress import OptimizeLoop, OptimizeRequest, OptimizeResult
from uhlp.optimization.compress.deterministic_strategy import DeterministicStrategy
from uhlp.optimization.compress.llm_compress_strategy import LLMCompressStrategy
from uhlp.optimization.compress.optimize_run import OptimizeRuns
from uhlp.prompts.overrides import PromptOverridesStore
from uhlp.prompts.overrides.documents_by_tag import DocumentsByTag
from uhlp.prompts.overrides.git_documents import GitDocuments
from uhlp.prompts.overrides.override_documents import OverrideDocuments
from uhlp.prompts.overrides.runtime_documents import RuntimeDocuments
from uhlp.prompts.overrides.s3_documents import S3Documents
from uhlp.registry.registered_prompts import RegisteredPrompts
from uhlp.routing.component_requests import ComponentRequests
from uhlp.routing.main_loop import MainLoop
from uhlp.wiring.foundation import Foundation

_EVAL_REQUESTS, _OPTIMIZE_REQUESTS = "eval-requests", "optimize-requests"
_PROMPTS_AT_ONCE = 3
"""Of as many applications; they share the EvalLoop's workers sample by sample."""


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """What evolution needs of them: it asks for runs and writes overrides, and never runs anything itself."""

    overrides: PromptOverridesStore
    datasets: ComponentDatasets
    optimize_runs: OptimizeRuns
    optimize_requests: Mailbox[OptimizeRequest, OptimizeResult]


def make_prompts(ground: Foundation) -> Prompts:
    """They stand before evolution, the loops behind routing."""
    return Prompts(
        overrides=PromptOverridesStore(documents=_documents(ground), clock=ground.clock),
        datasets=ComponentDatasets(registry=ground.registry, samples=ground.samples),
        optimize_runs=OptimizeRuns(values=ground.state.framework),
        optimize_requests=ground.mailboxes.open(
            _OPTIMIZE_REQUESTS, OptimizeRequest, reply=OptimizeResult, max_deliveries=10
        ),
    )


@dataclass(frozen=True, kw_only=True)
class Evals:
    """The parts that loops drive and that the HTTP edge shows."""

    overrides: PromptOverridesStore
    prompts: RegisteredPrompts
    datasets: ComponentDatasets
    main_loop: MainLoop
    evaluation: Evaluation
    eval_loop: EvalLoop
    eval_runs: EvalRuns
    optimize_loop: OptimizeLoop
    optimize_runs: OptimizeRuns
    optimize_requests: Mailbox[OptimizeRequest, OptimizeResult]
    strategies: tuple[str, ...]


def make_evals(ground: Foundation, shared: Prompts, requests: ComponentRequests) -> Evals:
    """The services; nothing runs before the loops do."""
    settings, clock, values = ground.settings.evals, ground.clock, ground.state.framework
    prompts = RegisteredPrompts(registry=ground.registry)
    overrides, datasets = shared.overrides, shared.datasets
    main_loop = MainLoop(
        registry=ground.registry, requests=requests, executor=ground.executor, overrides=overrides, clock=clock
    )
    eval_requests = ground.mailboxes.open(
        _EVAL_REQUESTS, EvalRequest, reply=EvalResult, max_deliveries=settings.retries + 4
    )
    evaluation = Evaluation(
        requests=eval_requests,
        replies=ground.mailboxes.open(f"reply:{uuid4().hex[:12]}", EvalResult, max_deliveries=5),
        clock=clock,
        window=settings.capacity,
    )

    def llm_of(app_id: str) -> LlmConfig:
        return ground.registry.snapshot(app_id).definition.llm

    def description_of(app_id: str, component_id: str) -> str:
        component = ground.registry.snapshot(app_id).components.get(component_id)
        return component.definition.description if component is not None else ""

    strategies = (
        DeterministicStrategy(),
        LLMCompressStrategy(
            mcp_client=ground.tools,
            llm_of=llm_of,
            default_model=ground.settings.llm.coder_model,
            description_of=description_of,
        ),
    )
    return Evals(
        overrides=overrides,
        prompts=prompts,
        datasets=datasets,
        main_loop=main_loop,
        evaluation=evaluation,
        eval_loop=EvalLoop(
            loop=main_loop,
            requests=eval_requests,
            evaluators=Evaluators(judge=JudgePoints(mcp_client=ground.tools, llm_of=llm_of, clock=clock)),
            clock=clock,
            concurrency=settings.concurrency,
            retries=settings.retries,
            deadline_s=settings.deadline_s,
            is_unwanted=evaluation.is_unwanted,
        ),
        eval_runs=EvalRuns(evaluation=evaluation, datasets=datasets, values=values, clock=clock),
        optimize_loop=OptimizeLoop(
            strategy=strategies,
            overrides_store=overrides,
            prompt_registry=prompts,
            subjects=datasets,
            evaluation=evaluation,
            requests=shared.optimize_requests,
            runs=shared.optimize_runs,
            clock=clock,
            concurrency=_PROMPTS_AT_ONCE,
        ),
        optimize_runs=shared.optimize_runs,
        optimize_requests=shared.optimize_requests,
        strategies=tuple(one.name for one in strategies),
    )


def _documents(ground: Foundation) -> DocumentsByTag:
    async def write(
        app_id: str,
        changes: Mapping[str, bytes | None],
        *,
        message: str,
        author: str | None,
        expected_base_revision: str,
    ) -> str:
        return await ground.registry.apply_files(
            app_id, changes, message=message, actor=author, expected_base_revision=expected_base_revision
        )

    settings = ground.settings.overrides
    temporary: OverrideDocuments = RuntimeDocuments(values=ground.state.framework, clock=ground.clock)
    if settings.temporary == "s3" and settings.s3 is not None:
        temporary = S3Documents(settings.s3)
    return DocumentsByTag(durable=GitDocuments(files=ground.state, write=write), temporary=temporary)

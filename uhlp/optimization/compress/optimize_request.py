"""What the OptimizeLoop is asked and answers (seed 004)."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import uuid4

from pydantic import AwareDatetime, Field

from uhlp.evals.dataset import Dataset
from uhlp.evals.evaluators import EvaluatorSpec
from uhlp.models.definition import AppId, ComponentId
from uhlp.models.experiment import Tag
from uhlp.models.wire import WireModel
from uhlp.optimization.compress.acceptance import Rule
from uhlp.optimization.compress.optimization_report import OptimizationReport


class OptimizeBudget(WireModel):
    """What a request may take: runs of the component, tokens, money and seconds. Spent: it ends with what it has."""

    calls: Annotated[int, Field(ge=1)] = 5_000
    tokens: Annotated[int, Field(ge=1)] | None = None
    usd: Annotated[float, Field(gt=0)] | None = None
    seconds: Annotated[float, Field(gt=0, le=86_400)] = 3_600.0


class OptimizeRequest(WireModel):
    """Request to optimise a prompt. The component is one that runs it; left out, the only one that does.

    Without a dataset the component's golden examples, adjudications and recorded samples are it; without an evaluator
    its comparator; without strategies those of the loop. A request is worked on once however often it is delivered:
    `requestId` names it.
    """

    prompt_ns: AppId
    prompt_key: Tag
    component_id: ComponentId | None = None
    dataset: Dataset | None = None
    evaluator: EvaluatorSpec | None = None
    baseline_tag: Tag = "stable"
    flags: dict[str, bool] = Field(default_factory=dict)
    rule: Rule = "default"
    strategies: Annotated[tuple[str, ...], Field(max_length=10)] = ()
    budget: OptimizeBudget = OptimizeBudget()
    request_id: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")] = Field(default_factory=lambda: uuid4().hex)
    created_at: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))


class OptimizeResult(WireModel):
    """Result of an optimisation run; `error` says why there is none."""

    request_id: str
    report: OptimizationReport
    completed_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    error: str | None = None

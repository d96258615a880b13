"""What the EvalLoop is asked and answers (seed 004)."""

from typing import Annotated, Any
from uuid import uuid4

from pydantic import Field

from uhlp.evals.dataset import Sample
from uhlp.evals.evaluators import EvaluatorSpec
from uhlp.evals.score import Score
from uhlp.models.definition import AppId, ComponentId
from uhlp.models.experiment import Experiment
from uhlp.models.main_loop import MainLoopFault
from uhlp.models.wire import WireModel


class EvalRequest(WireModel):
    """Run one sample through a component and score the output. (`runId`, `arm`, sample, `attempt`) is counted once.

    After `expiresAt`, in seconds since the epoch, nobody waits for the result: the request is dropped.
    """

    app_id: AppId
    component_id: ComponentId
    sample: Sample
    evaluator: EvaluatorSpec
    experiment: Experiment | None = None
    run_id: str = ""
    arm: int = 0
    attempt: int = 0
    deadline_s: Annotated[float, Field(gt=0, le=3_600)] | None = None
    expires_at: float | None = None
    request_id: str = Field(default_factory=lambda: uuid4().hex)


class EvalResult(WireModel):
    """A score, or the fault that stands in its place. `output` is what the component answered."""

    request_id: str
    run_id: str
    arm: int
    sample_id: str
    attempt: int
    score: Score | None = None
    fault: MainLoopFault | None = None
    output: Any = None
    implementation: str = ""
    prompt_digest: str | None = None
    latency_ms: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: float | None = 0.0

    @property
    def success(self) -> bool:
        """Whether there is a score, passed or not."""
        return self.score is not None

    @property
    def passed(self) -> bool:
        return self.score is not None and self.score.passed

"""What the MainLoop is asked and answers: one request for one component, perhaps under an experiment (seed 004)."""

from typing import Annotated, Any
from uuid import uuid4

from pydantic import Field

from uhlp.models.definition import AppId, ComponentId
from uhlp.models.experiment import Experiment
from uhlp.models.wire import WireModel


class RequestBudget(WireModel):
    """What one request may take of models; the call that oversteps it is the last one."""

    tokens: Annotated[int, Field(ge=1)] | None = None
    usd: Annotated[float, Field(gt=0)] | None = None


class MainLoopRequest(WireModel):
    """Without an experiment the request is served like any other; with one the component's prompt answers, as the
    experiment's tag has it, whatever is in service. `deadlineS` counts from when the request is begun.
    """

    app_id: AppId
    component_id: ComponentId
    input: dict[str, Any]
    experiment: Experiment | None = None
    budget: RequestBudget | None = None
    deadline_s: Annotated[float, Field(gt=0, le=3_600)] | None = None
    request_id: str = Field(default_factory=lambda: uuid4().hex)


class MainLoopFault(WireModel):
    """Why there is no output. `isRetryable`: the same request may be answered later. `isOwn`: the component was asked,
    and what came of it is of no use (against its schema, unreadable): that says something about the component.
    """

    code: str
    message: str
    is_retryable: bool = False
    is_own: bool = False


class MainLoopResult(WireModel):
    """The component's answer and what it took. `promptDigest` (SHA-256, hex) is of the prompt that really answered;
    None where code did. `costUsd` is None when a price is not known.
    """

    request_id: str
    output: Any = None
    fault: MainLoopFault | None = None
    implementation: str = ""
    prompt_digest: str | None = None
    latency_ms: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: float | None = 0.0

    @property
    def is_ok(self) -> bool:
        return self.fault is None

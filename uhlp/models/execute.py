"""The sandbox protocol's bodies (contracts §6; seed 003 §3.4.5)."""

from typing import Annotated, Any, Literal

from pydantic import Field

from uhlp.models.definition import HandlerType
from uhlp.models.wire import WireModel

Source = Literal["http", "trigger", "callback", "queue", "cron", "internal"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class RequestData(WireModel):
    """What started the execution: the source, its details under the source's name, and the component's input."""

    source: Source
    input: dict[str, Any]
    http_details: dict[str, Any] | None = None
    trigger_details: dict[str, Any] | None = None
    callback_details: dict[str, Any] | None = None
    queue_details: dict[str, Any] | None = None
    cron_details: dict[str, Any] | None = None


class ArtifactReference(WireModel):
    """Code or template by content; a runner that lacks it answers ARTIFACT_MISSING and is sent the bytes."""

    sha256: Sha256
    path: str


class Task(WireModel):
    """What to run: JIT calls `function` of the artifact, LLM renders the template in it, TESTS runs pytest on it."""

    artifact: ArtifactReference
    function: str | None = None
    tests: ArtifactReference | None = None


class WorkflowInfo(WireModel):
    """The step that asks. `idempotencyKey` is the same whenever this step is tried again, also after a crash of the
    server: what it is given to can tell a second call from another one.
    """

    workflow_id: str
    step_id: str
    execution_id: str | None = None
    idempotency_key: str | None = None
    attempt: int | None = None


class ExperimentInfo(WireModel):
    """The arm of an experiment; a prompt reads `flags` as its variable of that name."""

    id: str
    tag: str
    flags: dict[str, bool] = {}


class ApplicationInfo(WireModel):
    deployment_mode: Literal["development", "staging", "production"] = "development"


class ExecutionContext(WireModel):
    """For whom and how long it runs. `mcpEndpoint` and `mcpToken` are there over HTTP alone, where the server has an
    address for the sandbox: `<mcpEndpoint>/mcp` calls the component's tools (MCP, streamable HTTP without sessions),
    `POST <mcpEndpoint>/record` and `/v1/metrics` take metrics; all ask for the token as `Authorization: Bearer`. Tools
    answer while the execution runs, metrics are taken until shortly after its deadline.
    """

    app_id: str
    component_id: str
    handler_type: HandlerType | Literal["TESTS"]
    revision: str
    task: Task
    workflow_info: WorkflowInfo | None = None
    experiment: ExperimentInfo | None = None
    mcp_endpoint: str | None = None
    mcp_token: str | None = None
    user_info: dict[str, Any] | None = None
    session_id: str | None = None
    configuration: dict[str, Any] = {}
    application_info: ApplicationInfo = ApplicationInfo()
    deadline_ms: int


class ExecuteRequest(WireModel):
    """Body of `execute`, on the channel and over HTTP alike."""

    request_id: str
    request_data: RequestData
    context: ExecutionContext


class McpCallMetrics(WireModel):
    tool: str
    count: int
    total_duration_ms: float
    token_usage: int = 0


class ExecuteMetrics(WireModel):
    execution_time_ms: float = 0.0
    mcp_calls: tuple[McpCallMetrics, ...] = ()


class ExecuteResponse(WireModel):
    """What a sandbox answers. For `error` and `deoptimize`, `data` is {code, message, details?} or {reason}."""

    request_id: str
    result_type: Literal["generic", "httpResponse", "error", "workflowStep", "deoptimize"]
    data: Any = None
    metrics: ExecuteMetrics = ExecuteMetrics()


class ExecuteFault(WireModel):
    """Body of every answer over HTTP that is not 200: why there is no ExecuteResponse.

    400: the image cannot run this request. 409 with code ARTIFACT_MISSING: `sha256` names the file of the task that it
    lacks. 500: the handler failed, `traceback` trimmed to its own frames. 503: what the image needs cannot be reached.
    """

    code: str
    message: str
    traceback: str | None = None
    sha256: Sha256 | None = None

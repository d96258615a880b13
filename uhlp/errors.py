"""The error tree. A leaf's docstring is its default message; each edge (HTTP, MCP, CLI) maps the tree once.

UhlpError
  BadInput 400
    MalformedJson
  PayloadTooLarge 413
  HeadersTooLarge 431
  ValidationFailed 422
    DefinitionInvalid
    EvalIncomplete
    InputInvalid
    OverrideRefused
    ExpressionInvalid
  Unauthorized 401
  PermissionDenied 403
    CommandRefused
  NotFound 404
    AppNotFound
    ComponentNotFound
    RouteNotFound
    DefinitionFileNotFound
    CandidateNotFound
    PromptNotFound
    OverrideNotFound
    SampleNotFound
    SandboxNotFound
    ExecutionNotFound
    TokenNotFound
    ToolNotFound
    QueueNotFound
    ListenerNotFound
  MethodNotAllowed 405
  Conflict 409
    CallbackUnderWay
    RevisionConflict
    AppExists
    MetricConflict
    LeaseLost
    OverrideConflict
    StateConflict
  TooManyRequests 429
    BudgetExhausted
    CardinalityLimit
    RuntimeQuotaExceeded
    MailboxFull
    TooManyRuns
  ExecutionFailed 502
    SandboxDied
    SandboxOutOfMemory
    CrashLoop
    NotRepeated
      WorkflowFailed
    HandlerFailed
    StepInterrupted
    RunCancelled
    ExpressionFailed
    OutputInvalid
  ToolFailed 502
    ToolResultInvalid
  BadModelAnswer 502
  ModelRequestRefused 502
  Unavailable 503
    McpServerUnavailable
    NoModelProvider
    ModelProviderUnavailable (ModelTooSlow, NotRecorded)
    NoSandboxAvailable
    ImageUnavailable
    EngineUnavailable
    EngineRefused
    IsolationRefused
    RuntimeStoreUnavailable
    OverrideStoreUnavailable
    MailboxUnavailable
    MailboxClosed
    RemoteUnavailable
    NotLeading
    ShuttingDown
  DeadlineExceeded 504
    FallbackTooLate
  InternalError 500
    LedgerDamaged
"""

from collections.abc import Mapping
from typing import Any, ClassVar


class UhlpError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "ERROR"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str | None = None,
        *,
        details: Mapping[str, Any] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.details = dict(details or {})
        self.retry_after_s = retry_after_s
        super().__init__(self.message)

    def envelope(self, trace_id: str | None = None) -> dict[str, Any]:
        """The body every edge answers with (contracts, "Errors everywhere")."""
        return {
            "error": {
                "code": self.code,
                "message": self.message,
                "retryable": self.retryable,
                "details": self.details,
                "traceId": trace_id,
            }
        }


class BadInput(UhlpError):
    """The request cannot be read."""

    code, status = "BAD_REQUEST", 400


class MalformedJson(BadInput):
    """The body is not strict JSON."""

    code = "MALFORMED_JSON"


class PayloadTooLarge(UhlpError):
    """The body is larger than the limit."""

    code, status = "PAYLOAD_TOO_LARGE", 413


class HeadersTooLarge(UhlpError):
    """The request's headers are larger than the limit."""

    code, status = "HEADERS_TOO_LARGE", 431


class ValidationFailed(UhlpError):
    """The request is well formed but not valid."""

    code, status = "VALIDATION_FAILED", 422


class DefinitionInvalid(ValidationFailed):
    """The application definition is not valid."""

    code = "DEFINITION_INVALID"


class EvalIncomplete(ValidationFailed):
    """The evaluation has too few results to decide anything by it."""

    code = "EVAL_INCOMPLETE"


class InputInvalid(ValidationFailed):
    """The input does not match the component's input schema."""

    code = "INPUT_INVALID"


class OverrideRefused(ValidationFailed):
    """A prompt override may not take this section's place."""

    code = "OVERRIDE_REFUSED"


class ExpressionInvalid(ValidationFailed):
    """The expression is not valid CEL for this place."""

    code = "EXPRESSION_INVALID"


class Unauthorized(UhlpError):
    """Credentials are missing or not valid."""

    code, status = "UNAUTHORIZED", 401


class PermissionDenied(UhlpError):
    """The credentials do not allow this."""

    code, status = "PERMISSION_DENIED", 403


class CommandRefused(PermissionDenied):
    """This command may not be run."""

    code = "COMMAND_REFUSED"


class NotFound(UhlpError):
    """There is nothing here."""

    code, status = "NOT_FOUND", 404


class AppNotFound(NotFound):
    """No application has this id."""

    code = "APP_NOT_FOUND"


class ComponentNotFound(NotFound):
    """The application has no component with this id."""

    code = "COMPONENT_NOT_FOUND"


class RouteNotFound(NotFound):
    """No component of the application answers this path."""

    code = "ROUTE_NOT_FOUND"


class DefinitionFileNotFound(NotFound):
    """The definition repository has no such file."""

    code = "DEFINITION_FILE_NOT_FOUND"


class CandidateNotFound(NotFound):
    """No candidate has this id."""

    code = "CANDIDATE_NOT_FOUND"


class PromptNotFound(NotFound):
    """The application has no prompt of this name."""

    code = "PROMPT_NOT_FOUND"


class OverrideNotFound(NotFound):
    """The prompt has no overrides under this tag."""

    code = "OVERRIDE_NOT_FOUND"


class SampleNotFound(NotFound):
    """There is no such sample."""

    code = "SAMPLE_NOT_FOUND"


class SandboxNotFound(NotFound):
    """No sandbox has this id."""

    code = "SANDBOX_NOT_FOUND"


class ExecutionNotFound(NotFound):
    """The application has no execution with this id."""

    code = "EXECUTION_NOT_FOUND"


class TokenNotFound(NotFound):
    """No access token has this id."""

    code = "TOKEN_NOT_FOUND"


class ToolNotFound(NotFound):
    """No tool has this name, or the component may not use it."""

    code = "TOOL_NOT_FOUND"


class QueueNotFound(NotFound):
    """No component of the application consumes a queue of this name."""

    code = "QUEUE_NOT_FOUND"


class ListenerNotFound(NotFound):
    """No component of the application listens to this."""

    code = "LISTENER_NOT_FOUND"


class MethodNotAllowed(UhlpError):
    """The path is known, the method is not allowed on it."""

    code, status = "METHOD_NOT_ALLOWED", 405


class Conflict(UhlpError):
    """The change does not fit the present state."""

    code, status = "CONFLICT", 409


class CallbackUnderWay(Conflict):
    """The same callback is being worked on; send it again later."""

    code, retryable = "CALLBACK_UNDER_WAY", True


class RevisionConflict(Conflict):
    """The definition has moved on since expectedBaseRevision; read it again and repeat the change."""

    code, retryable = "REVISION_CONFLICT", True


class AppExists(Conflict):
    """An application with this id is registered already."""

    code = "APP_EXISTS"


class MetricConflict(Conflict):
    """The metric exists with another type or other labels."""

    code = "METRIC_CONFLICT"


class LeaseLost(Conflict):
    """The lease on this message is over: it is done, or was or will be delivered again. Stop working on it."""

    code = "LEASE_LOST"


class OverrideConflict(Conflict):
    """The override set is not what it was: read it again."""

    code = "OVERRIDE_CONFLICT"


class StateConflict(Conflict):
    """The candidate's state does not allow this."""

    code = "STATE_CONFLICT"


class TooManyRequests(UhlpError):
    """Too many requests; slow down."""

    code, status, retryable = "TOO_MANY_REQUESTS", 429, True


class BudgetExhausted(TooManyRequests):
    """The application's model budget for today is spent."""

    code = "BUDGET_EXHAUSTED"


class CardinalityLimit(TooManyRequests):
    """The metric has too many label sets."""

    code, retryable = "CARDINALITY_LIMIT", False


class RuntimeQuotaExceeded(TooManyRequests):
    """The application keeps as many runtime keys as it may."""

    code, retryable = "RUNTIME_QUOTA_EXCEEDED", False


class TooManyRuns(TooManyRequests):
    """The application has as many open runs of workflows as it may."""

    code = "TOO_MANY_RUNS"


class MailboxFull(TooManyRequests):
    """The mailbox holds as many messages as it may; send again when some are done."""

    code = "MAILBOX_FULL"


class ExecutionFailed(UhlpError):
    """The component could not answer."""

    code, status = "EXECUTION_FAILED", 502


class SandboxDied(ExecutionFailed):
    """The sandbox ended while it worked on the request."""

    code, retryable = "SANDBOX_DIED", True


class SandboxOutOfMemory(ExecutionFailed):
    """The sandbox ran out of memory."""

    code = "SANDBOX_OUT_OF_MEMORY"


class CrashLoop(ExecutionFailed):
    """The code ended its sandbox call after call; it is tried again after a pause."""

    code, retryable = "CRASH_LOOP", True


class NotRepeated(ExecutionFailed):
    """The handler failed after it had called a tool that may write; a second run could write twice."""

    code = "NOT_REPEATED"


class WorkflowFailed(NotRepeated):
    """A step of the workflow failed, and no transition took its failure."""

    code = "WORKFLOW_FAILED"


class HandlerFailed(ExecutionFailed):
    """The handler raised an exception."""

    code = "HANDLER_FAILED"


class StepInterrupted(ExecutionFailed):
    """The server ended twice while the step was being done; it is not begun a third time."""

    code = "STEP_INTERRUPTED"


class RunCancelled(ExecutionFailed):
    """The run of the workflow was cancelled."""

    code = "RUN_CANCELLED"


class ExpressionFailed(ExecutionFailed):
    """An expression of a workflow cannot be evaluated with what the run knows."""

    code = "EXPRESSION_FAILED"


class OutputInvalid(ExecutionFailed):
    """The output does not match the output schema."""

    code = "OUTPUT_INVALID"


class ToolFailed(UhlpError):
    """The tool says that it failed."""

    code, status = "TOOL_FAILED", 502


class ToolResultInvalid(ToolFailed):
    """The tool's answer is no result that can be passed on."""

    code = "TOOL_RESULT_INVALID"


class BadModelAnswer(UhlpError):
    """The model's answer could not be used."""

    code, status, retryable = "BAD_MODEL_ANSWER", 502, True


class ModelRequestRefused(UhlpError):
    """The model provider refuses the request."""

    code, status = "MODEL_REQUEST_REFUSED", 502


class Unavailable(UhlpError):
    """The service cannot answer now."""

    code, status, retryable = "UNAVAILABLE", 503, True


class NoModelProvider(Unavailable):
    """No model provider: set OPENAI_API_KEY, ANTHROPIC_API_KEY or OLLAMA_HOST, or configure llm.providers.<name>."""

    code, retryable = "NO_MODEL_PROVIDER", False


class ModelProviderUnavailable(Unavailable):
    """The model provider does not answer."""

    code = "MODEL_PROVIDER_UNAVAILABLE"


class ModelTooSlow(ModelProviderUnavailable):
    """The model provider did not answer within the time there was."""

    code = "MODEL_TOO_SLOW"


class NotRecorded(ModelProviderUnavailable):
    """The recording has no such input."""

    code, retryable = "NOT_RECORDED", False


class McpServerUnavailable(Unavailable):
    """The MCP server cannot be used now."""

    code = "MCP_SERVER_UNAVAILABLE"


class NoSandboxAvailable(Unavailable):
    """Every sandbox of the pool is busy."""

    code = "NO_SANDBOX_AVAILABLE"


class ImageUnavailable(Unavailable):
    """The sandbox image is not there and cannot be had."""

    code = "IMAGE_UNAVAILABLE"


class EngineUnavailable(Unavailable):
    """The Docker engine does not answer."""

    code = "ENGINE_UNAVAILABLE"


class EngineRefused(Unavailable):
    """The Docker engine refuses the request."""

    code = "ENGINE_REFUSED"

    @property
    def engine_status(self) -> int:
        """The HTTP status that the engine answered with; 0 when it gave none."""
        status: int = self.details.get("engineStatus", 0)
        return status


class IsolationRefused(Unavailable):
    """This machine cannot isolate generated code, and unisolated code is not allowed here."""

    code, retryable = "ISOLATION_REFUSED", False


class RuntimeStoreUnavailable(Unavailable):
    """The runtime store does not answer."""

    code = "RUNTIME_STORE_UNAVAILABLE"


class OverrideStoreUnavailable(Unavailable):
    """The store of prompt overrides cannot be reached."""

    code = "OVERRIDE_STORE_UNAVAILABLE"


class MailboxUnavailable(Unavailable):
    """The store of the mailbox does not answer."""

    code = "MAILBOX_UNAVAILABLE"


class MailboxClosed(Unavailable):
    """The mailbox is closed."""

    code, retryable = "MAILBOX_CLOSED", False


class RemoteUnavailable(Unavailable):
    """The application's remote repository does not answer."""

    code = "REMOTE_UNAVAILABLE"


class NotLeading(Unavailable):
    """Another server decides about candidates, or nobody does at the moment; this one may not."""

    code = "NOT_LEADING"


class ShuttingDown(Unavailable):
    """The server is shutting down."""

    code = "SHUTTING_DOWN"


class DeadlineExceeded(UhlpError):
    """The time limit ran out."""

    code, status, retryable = "DEADLINE_EXCEEDED", 504, True


class FallbackTooLate(DeadlineExceeded):
    """The handler failed and no time was left for the model."""

    code = "FALLBACK_TOO_LATE"


class InternalError(UhlpError):
    """An unexpected error; the log has the trace id."""

    code = "INTERNAL_ERROR"


class LedgerDamaged(InternalError):
    """An entry of the ledger cannot be read; `uhlp ledger verify` says which."""

    code = "LEDGER_DAMAGED"

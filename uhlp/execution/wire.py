"""ExecuteRequest bodies, built by hand: this is the hot path, and every value in them has been checked before."""

from typing import Any

from uhlp.execution.call import ExecutionCall, PromptImplementation
from uhlp.registry.snapshot import Artifact


def execute_request(call: ExecutionCall, request_id: str, deployment_mode: str) -> dict[str, Any]:
    """The body of `execute` for one call (uhlp.models.execute has its schema)."""
    implementation = call.implementation
    is_prompt = isinstance(implementation, PromptImplementation)
    task: dict[str, Any] = {"artifact": reference(implementation.artifact)}
    if not isinstance(implementation, PromptImplementation):
        task["function"] = implementation.function
    request_data: dict[str, Any] = {"source": call.source, "input": call.input}
    if call.source_details is not None and call.source != "internal":
        request_data[f"{call.source}Details"] = call.source_details
    context: dict[str, Any] = {
        "appId": call.app.app_id,
        "componentId": call.component.definition.component_id,
        "handlerType": "LLM" if is_prompt else "JIT",
        "revision": call.app.revision,
        "task": task,
        "configuration": call.component.configuration,
        "applicationInfo": {"deploymentMode": deployment_mode},
        "deadlineMs": max(1, int(call.timeout_s * 1000)),
    }
    if call.source == "internal" and call.source_details is not None and "workflowInfo" in call.source_details:
        details = call.source_details
        context["workflowInfo"] = {
            **details["workflowInfo"],
            "executionId": details["executionId"],
            "idempotencyKey": details["idempotencyKey"],
            "attempt": details["attempt"],
        }
    if call.user_info is not None:
        context["userInfo"] = call.user_info
    if call.experiment is not None:
        experiment = call.experiment
        context["experiment"] = {"id": experiment.id, "tag": experiment.overrides_tag, "flags": experiment.flags}
    if call.session_id is not None:
        context["sessionId"] = call.session_id
    return {"requestId": request_id, "requestData": request_data, "context": context}


def reference(artifact: Artifact) -> dict[str, str]:
    """An artifact as a task names it."""
    return {"sha256": artifact.sha256, "path": artifact.path}

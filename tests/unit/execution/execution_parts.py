"""Small snapshots, scripted tools and an executor over fake workers."""

from collections.abc import Awaitable, Callable
from typing import Any

from uhlp.clock import SystemClock
from uhlp.errors import UhlpError
from uhlp.execution import ExecutionCall, Executor, HandlerImplementation, PromptImplementation
from uhlp.jsonschemas import compile_validator
from uhlp.metering import NullMeter
from uhlp.models.definition import AppDefinition, ComponentDefinition
from uhlp.registry.route_table import RouteTable
from uhlp.registry.snapshot import AppSnapshot, Artifact, ComponentSnapshot
from uhlp.sandbox.config import SandboxSettings
from uhlp.sandbox.drivers.fake import FakeDriver
from uhlp.sandbox.drivers.fake_worker import Behaviour, FakeWorker, response
from uhlp.sandbox.manager import SandboxManager

PROMPT = Artifact.of("prompts/parse.yaml", b'{"template": "Parse {{ text }}"}')
HANDLER = Artifact.of("_jit_code/parse/v3/handler.py", b"def handle(inputs, context):\n    return inputs\n")
AS_PROMPT = PromptImplementation(artifact=PROMPT)
AS_HANDLER = HandlerImplementation(version=3, artifact=HANDLER)


def app_of(**definition: Any) -> AppSnapshot:
    return AppSnapshot(
        app_id="shop",
        revision="a" * 40,
        definition=AppDefinition.model_validate({"appId": "shop", **definition}),
        components={},
        routes=RouteTable([]),
        api_keys={},
    )


def component_of(output_schema: dict[str, Any] | None = None, **definition: Any) -> ComponentSnapshot:
    return ComponentSnapshot(
        definition=ComponentDefinition.model_validate({"componentId": "parse", **definition}),
        input_schema=None,
        output_schema=output_schema,
        input_validator=None,
        output_validator=compile_validator(output_schema) if output_schema is not None else None,
        prompt=None,
        prompt_artifact=PROMPT,
        handler_artifact=HANDLER,
        handler_version=3,
        handler_function="handle",
        spec_hash="0" * 64,
        configuration={"currency": "EUR"},
        properties_types={},
        golden=(),
    )


def call_of(
    implementation: Any = AS_HANDLER, component: ComponentSnapshot | None = None, **fields: Any
) -> ExecutionCall:
    made: dict[str, Any] = {
        "app": app_of(),
        "component": component or component_of(),
        "implementation": implementation,
        "input": {"text": "2 apples"},
        "request_id": "req-1",
        "trace_id": "trace-1",
        "timeout_s": 2.0,
        "group": "serving",
        "purpose": "serve",
        **fields,
    }
    return ExecutionCall(**made)


class ScriptedTools:
    """A tool server that answers by name; an error is raised."""

    def __init__(self, **answers: dict[str, Any] | UhlpError) -> None:
        self.clock = SystemClock()
        self.answers = answers
        self.asked: list[tuple[str, dict[str, Any], Any]] = []

    async def call_tool(self, name: str, params: dict[str, Any], context: Any) -> dict[str, Any]:
        self.asked.append((name, params, context))
        answer = self.answers[name.rpartition(".")[2]]
        if isinstance(answer, UhlpError):
            raise answer
        return answer


class Parts:
    """An executor, and what it stands on."""

    def __init__(self, behaviour: Behaviour, tools: ScriptedTools | None = None) -> None:
        self.requests: list[dict[str, Any]] = []

        async def recorded(worker: FakeWorker, request: dict[str, Any]) -> dict[str, Any] | None:
            self.requests.append(request)
            return await behaviour(worker, request)

        self.driver = FakeDriver(recorded)
        self.tools = tools or ScriptedTools()
        clock, meter = SystemClock(), NullMeter()
        self.sandboxes = SandboxManager(driver=self.driver, config=SandboxSettings(), clock=clock, meter=meter)
        self.executor = Executor(
            sandboxes=self.sandboxes, tools=self.tools, clock=clock, meter=meter, deployment_mode="development"
        )


def answering(data: Any, result_type: str = "generic") -> Behaviour:
    async def answer(worker: FakeWorker, request: dict[str, Any]) -> dict[str, Any]:
        return response(request, data, result_type)

    return answer


def asking_the_model(then: Callable[[dict[str, Any]], tuple[str, Any]]) -> Callable[..., Awaitable[dict[str, Any]]]:
    """A runner that calls core.llm.generate and answers with what `then` makes of the JSON-RPC answer."""

    async def ask(worker: FakeWorker, request: dict[str, Any]) -> dict[str, Any]:
        answer = await worker.call_tool(request["requestId"], "core.llm.generate", {"prompt": "hi"})
        result_type, data = then(answer)
        return response(request, data, result_type)

    return ask

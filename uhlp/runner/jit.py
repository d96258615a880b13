"""JIT handlers: generated Python, compiled once, its module executed anew for every call of `handle(inputs, context)`.

Each call so has globals, caches and closures of its own. The module of the next call is executed ahead, when the answer
is on its way and nobody waits; one that fails there is executed in its call.
"""

import sys
import types
from collections import deque
from datetime import UTC, datetime
from typing import Any

from . import answers
from .answers import Answer
from .artifacts import Artifact, ArtifactMissing, ArtifactStore
from .reach import stays_inside
from .runtime import Deoptimize, ToolFailed

TRACEBACK_FRAMES = 8
_traceback_of = BaseException.__dict__["__traceback__"].__get__  # past a class that says something else


class Handler:
    """The compiled text of one artifact. Raises what compiling raises."""

    def __init__(self, artifact: Artifact) -> None:
        self.sha256 = artifact.sha256
        self.path = artifact.path
        self.text = artifact.text
        self.module_name = f"handler_{artifact.sha256[:16]}"
        self.code = compile(artifact.text, artifact.path, "exec", dont_inherit=True)
        self.stays_inside = stays_inside(artifact.text)
        self.may_run_ahead = self.stays_inside

    def new_module(self) -> types.ModuleType:
        """The handler's module, executed; raises what it raises."""
        module = types.ModuleType(self.module_name)
        module.__file__ = self.path
        sys.modules[self.module_name] = module  # dataclasses, typing and pickle look modules up by name
        exec(self.code, module.__dict__)  # noqa: S102 - running generated code is what a sandbox is for
        return module


class JitRunner:
    """Runs the handler that this worker is bound to: `run` a call, then `renew` the module when it was answered."""

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts
        self._handler: Handler | None = None
        self._module: types.ModuleType | None = None

    @property
    def has_reached_out(self) -> bool:
        """True when code has run that may have left something in this process."""
        return self._handler is not None and not self._handler.stays_inside

    def run(self, request: dict[str, Any]) -> Answer:
        """One call; whatever the handler raises becomes an answer. Raises ArtifactMissing."""
        context = request["context"]
        task, inputs = context["task"], request["requestData"]["input"]
        handler = None
        try:
            handler = self._load(task["artifact"]["sha256"])
            module, self._module = self._module or handler.new_module(), None
            value = _function_of(module, task.get("function") or "handle")(inputs, _handler_context(context))
            return answers.generic(value)
        except ArtifactMissing:
            raise
        except BaseException as failure:  # whatever generated code raises
            return _answer_to(failure, handler)

    def forget(self) -> None:
        """Drop the module that has run: its names first, because functions and their module hold each other."""
        if self._handler is not None:
            module = sys.modules.pop(self._handler.module_name, None)
            if module is not None:
                module.__dict__.clear()
        self._module = None

    def prepare(self) -> None:
        """Execute the module of the next call. One that fails here, for example because no call is there whose tools it
        could use, is executed in its call from now on."""
        if self._handler is not None and self._handler.may_run_ahead:
            try:
                self._module = self._handler.new_module()
            except BaseException:  # the call will meet it again and answer for it
                self._handler.may_run_ahead = False
                self.forget()

    def _load(self, sha256: str) -> Handler:
        """The compiled handler. Raises ArtifactMissing, and what compiling raises."""
        if self._handler is None or self._handler.sha256 != sha256:
            artifact = self._artifacts.get(sha256)
            self.forget()
            self._handler = None
            self._handler = Handler(artifact)
        return self._handler


def _function_of(module: types.ModuleType, name: str) -> Any:
    function = getattr(module, name, None)
    if function is None:
        raise AttributeError(f"the artifact has no function {name!r}")
    return function


def _handler_context(context: dict[str, Any]) -> dict[str, Any]:
    """What a handler may know besides its input; `now` is ISO 8601, UTC. `workflowInfo` is there in a workflow."""
    known = {
        "configuration": context.get("configuration") or {},
        "userInfo": context.get("userInfo"),
        "now": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }
    return known | {"workflowInfo": context["workflowInfo"]} if context.get("workflowInfo") else known


def _answer_to(failure: BaseException, handler: Handler | None) -> Answer:
    """What an exception of generated code means; its attributes and its words are generated code as well."""
    try:
        if isinstance(failure, Deoptimize):
            return answers.deoptimize(failure.reason)
        if isinstance(failure, ToolFailed):
            return answers.error(failure.code, failure.message, retryable=failure.retryable is True)
    except BaseException as worse:
        failure = worse
    if issubclass(type(failure), MemoryError):
        return answers.error("SANDBOX_OUT_OF_MEMORY", "The handler used more memory than its pool allows.")
    kind, message = answers.name_of_type(failure), answers.said(failure)
    told = f"{kind}: {message}" if message != kind else kind
    trace = _trace(failure, handler) if handler else ""
    return answers.error("HANDLER_FAILED", told, **({"traceback": trace} if trace else {}))


def _trace(failure: BaseException, handler: Handler) -> str:
    """The innermost frames of the handler's own code, as Python would print them."""
    frames: deque[tuple[str, int]] = deque(maxlen=TRACEBACK_FRAMES)
    at = _traceback_of(failure)
    while at is not None:
        if at.tb_frame.f_code.co_filename == handler.path:
            frames.append((at.tb_frame.f_code.co_name, at.tb_lineno))
        at = at.tb_next
    lines = handler.text.splitlines() if frames else []
    told = [
        f'  File "{handler.path}", line {number}, in {name}\n    {lines[number - 1].strip()}\n'
        for name, number in frames
        if number is not None and 0 < number <= len(lines)
    ]
    return answers.said("".join(told))

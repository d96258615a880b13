"""JIT handlers: generated Python, compiled once per worker and called as `handle(inputs, context)`."""

import linecache
import sys
import traceback
import types
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from . import answers
from .answers import Answer
from .artifacts import Artifact, ArtifactStore
from .runtime import Deoptimize, ToolFailed

MODULES = 64
TRACEBACK_FRAMES = 8
Handler = Callable[[dict[str, Any], dict[str, Any]], Any]


class JitRunner:
    """Runs handlers of this worker; one module per artifact, so that globals of two handlers never meet."""

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts
        self._modules: OrderedDict[str, types.ModuleType] = OrderedDict()

    def run(self, request: dict[str, Any]) -> Answer:
        """One call; whatever the handler raises becomes an answer. Raises ArtifactMissing."""
        context = request["context"]
        task = context["task"]
        sha256 = task["artifact"]["sha256"]
        module = self._modules.get(sha256)
        artifact = None if module else self._artifacts.get(sha256)
        try:
            module = module or self._load(artifact)  # type: ignore[arg-type] # one of the two is there
            handler = _handler_of(module, task.get("function") or "handle")
            value = handler(request["requestData"]["input"], _handler_context(context))
            return answers.generic(value)
        except Deoptimize as deoptimized:
            return answers.deoptimize(deoptimized.reason)
        except ToolFailed as failed:
            return answers.error(failed.code, failed.message, retryable=failed.retryable is True)
        except MemoryError:
            return answers.error("SANDBOX_OUT_OF_MEMORY", "The handler used more memory than its pool allows.")
        except BaseException as failure:
            return _failed(failure, str(getattr(module, "__file__", None) or (artifact.path if artifact else "")))

    def _load(self, artifact: Artifact) -> types.ModuleType:
        name = f"handler_{artifact.sha256[:16]}"
        module = types.ModuleType(name)
        module.__file__ = artifact.path
        lines = artifact.text.splitlines(keepends=True)
        linecache.cache[artifact.path] = (len(artifact.text), None, lines, artifact.path)
        code = compile(artifact.text, artifact.path, "exec", dont_inherit=True)
        sys.modules[name] = module  # dataclasses and typing look modules up by name
        exec(code, module.__dict__)  # noqa: S102 - running generated code is what a sandbox is for
        self._modules[artifact.sha256] = module
        while len(self._modules) > MODULES:
            _, old = self._modules.popitem(last=False)
            sys.modules.pop(old.__name__, None)
        return module


def _handler_of(module: types.ModuleType, name: str) -> Handler:
    handler: Handler | None = getattr(module, name, None)
    if handler is None:
        raise AttributeError(f"the artifact has no function {name!r}")
    return handler


def _handler_context(context: dict[str, Any]) -> dict[str, Any]:
    """What a handler may know besides its input; `now` is ISO 8601, UTC."""
    return {
        "configuration": context.get("configuration") or {},
        "userInfo": context.get("userInfo"),
        "now": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }


def _failed(failure: BaseException, path: str) -> Answer:
    """HANDLER_FAILED with the type, the message and the frames inside the handler."""
    kind, message = type(failure).__name__, answers.said(failure)
    frames = [frame for frame in traceback.extract_tb(failure.__traceback__) if frame.filename == path]
    trimmed = answers.said("".join(traceback.format_list(frames[-TRACEBACK_FRAMES:])))
    told = f"{kind}: {message}" if message != kind else kind
    return answers.error("HANDLER_FAILED", told, **({"traceback": trimmed} if trimmed else {}))

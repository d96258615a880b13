"""A worker: one process, one thread, one stream; it serves whatever frame comes next.

Prompts wait for their tool calls without blocking, so any number is in flight. A JIT handler or a test run has the
process to itself until it returns; its own tool calls are waited for on the spot, and frames that arrive meanwhile
are served afterwards. Generated code in this process can reach every object in it and so can send any frame: the
host takes everything as untrusted, and never lets one worker hold calls whose answers must not know of each other.

What one call leaves behind does not reach the next: a handler's module is executed anew for every call, and code that
could keep something outside its module (`reach`) gets one call, as tests do. Its answer then says `worn`, in the frame
beside the result, and the host gives this process no other. A pool with maxRequestsPerInstance 1 has a process for each
call whatever the code. Code that hides where it keeps something finds its own component's calls there and nothing else:
the host binds a worker to one component and one artifact, for life.
"""

import os
import platform
import resource
import socket
import sys
import time
from collections import deque
from typing import Any

from . import answers, pytest_run, runtime
from .answers import Answer
from .artifacts import ArtifactMissing, ArtifactStore, WrongHash
from .frames import FrameStream, NotSendable, StreamClosed
from .jit import JitRunner
from .llm import Execution, LlmRunner, ToolCall
from .output import CapturedOutput
from .runtime import ToolFailed

VERSION = "1"
_LONGEST_S = 86_400
Json = dict[str, Any]

ARTIFACT_MISSING, CANCELLED, INVALID_PARAMS, NO_METHOD = -32001, -32800, -32602, -32601


class CallMetrics:
    """Time and tool calls of one execution, as `metrics` of its response."""

    def __init__(self) -> None:
        self._started_s = time.perf_counter()
        self._calls: dict[str, Json] = {}

    def add(self, tool: str, started_s: float, result: Json) -> None:
        """Count one call; tokens are informational, the host counts its own."""
        entry = self._calls.setdefault(tool, {"tool": tool, "count": 0, "totalDurationMs": 0.0, "tokenUsage": 0})
        entry["count"] += 1
        entry["totalDurationMs"] += (time.perf_counter() - started_s) * 1e3
        usage = result.get("usage")
        if isinstance(usage, dict):
            entry["tokenUsage"] += usage.get("tokensIn", 0) + usage.get("tokensOut", 0)

    def wire(self) -> Json:
        elapsed_ms = (time.perf_counter() - self._started_s) * 1e3
        return {"executionTimeMs": elapsed_ms, "mcpCalls": list(self._calls.values())}


class InFlight:
    """A prompt that waits for a tool."""

    __slots__ = ("called_s", "execution", "metrics", "request_id", "rpc_id", "tool")

    def __init__(self, rpc_id: Any, request_id: str, execution: Execution, metrics: CallMetrics) -> None:
        self.rpc_id, self.request_id, self.execution, self.metrics = rpc_id, request_id, execution, metrics
        self.tool, self.called_s = "", 0.0


class Worker:
    """Serves one stream until it closes or `drain` has been obeyed."""

    def __init__(self, stream: socket.socket, walls: Json) -> None:
        self._frames = FrameStream(stream)
        self._walls = walls
        self._backlog: deque[Json] = deque()
        self._artifacts = ArtifactStore()
        self._jit = JitRunner(self._artifacts)
        self._llm = LlmRunner()
        self._output = CapturedOutput()
        self._waiting: dict[str, InFlight] = {}
        self._calls = 0
        self._cpu_limit_s = 0
        self._draining = False

    def serve(self) -> None:
        """Say hello, then serve; returns when the host is done with this worker."""
        self._output.install()
        sys.modules["uhlp_runtime"] = runtime
        self._notify(
            "hello",
            {"runner": VERSION, "python": platform.python_version(), "pid": os.getpid(), "isolation": self._walls},
        )
        try:
            while self._waiting or self._backlog or not self._draining:
                self._dispatch(self._backlog.popleft() if self._backlog else self._frames.read())
        except StreamClosed:
            return

    def _dispatch(self, frame: Json) -> None:
        method = frame.get("method")
        if method is None:
            self._resume(frame)
        elif method == "execute":
            self._execute(frame.get("id"), frame.get("params") or {})
        elif method == "artifact.put":
            self._put(frame.get("id"), frame.get("params") or {})
        elif method == "ping":
            self._reply(frame.get("id"), {})
        elif method == "cancel":
            self._cancel((frame.get("params") or {}).get("requestId"))
        elif method == "drain":
            self._draining = True
        elif "id" in frame:
            self._refuse(frame["id"], NO_METHOD, f"no method {method!r}")

    # -- executions

    def _execute(self, rpc_id: Any, request: Json) -> None:
        metrics = CallMetrics()
        try:
            request_id, context = request["requestId"], request["context"]
            kind, task = context["handlerType"], context["task"]
            self._limit_cpu(context["deadlineMs"])
            if kind == "LLM":
                execution = self._llm.start(
                    self._artifacts.get(task["artifact"]["sha256"]),
                    request["requestData"]["input"],
                    context.get("experiment", {}).get("flags", {}),
                )
                self._step(InFlight(rpc_id, request_id, execution, metrics), None)
                return
            if kind == "JIT":
                answer = self._with_tools(request_id, metrics, lambda: self._jit.run(request))
            elif kind == "TESTS":
                handler = self._artifacts.get(task["artifact"]["sha256"])
                tests = self._artifacts.get(task["tests"]["sha256"])
                answer = self._with_tools(request_id, metrics, lambda: pytest_run.run(handler, tests))
            else:
                self._refuse(rpc_id, INVALID_PARAMS, f"no handler type {kind!r}")
                return
        except ArtifactMissing as missing:
            self._refuse(rpc_id, ARTIFACT_MISSING, "ARTIFACT_MISSING", {"sha256": missing.sha256})
            return
        except (KeyError, TypeError, AttributeError) as fault:
            self._refuse(rpc_id, INVALID_PARAMS, f"the request cannot be read: {type(fault).__name__} {fault}")
            return
        self._finish(rpc_id, request_id, answer, metrics, worn=kind == "TESTS" or self._jit.has_reached_out)
        self._renew()

    def _renew(self) -> None:
        """Between calls: drop the module that has run, and what it printed while it went, then make the next one."""
        self._jit.forget()
        self._output.take()
        self._jit.prepare()

    def _limit_cpu(self, deadline_ms: float) -> None:
        """Let the kernel end this process when it burns processor time long after its deadline; the host kills
        sooner. Whole seconds: most calls find the limit as it should be."""
        limit_s = int(time.process_time() + min(deadline_ms / 1000, _LONGEST_S)) + 5
        if limit_s == self._cpu_limit_s:
            return
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        soft = limit_s if hard == resource.RLIM_INFINITY else min(limit_s, hard)
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))
        self._cpu_limit_s = limit_s

    def _finish(
        self, rpc_id: Any, request_id: str, answer: Answer, metrics: CallMetrics, *, worn: bool = False
    ) -> None:
        if answer.data is not None and answer.result_type == "error":
            self._draining |= answer.data["code"] == "SANDBOX_OUT_OF_MEMORY"  # what is kept may fill the next call too
        for level, text in self._output.take():
            self._notify("log", {"requestId": request_id, "level": level, "message": text})
        response = {"requestId": request_id, "resultType": answer.result_type, "data": answer.data}
        response["metrics"] = metrics.wire()
        try:
            self._reply(rpc_id, response, worn=worn)
        except NotSendable as fault:
            unsent = answers.error("OUTPUT_INVALID", f"The answer cannot be sent: {fault}")
            self._reply(rpc_id, {**response, "resultType": unsent.result_type, "data": unsent.data}, worn=worn)

    def _step(self, flight: InFlight, outcome: Json | ToolFailed | None) -> None:
        """Run a prompt to its next tool call or to its end."""
        try:
            if isinstance(outcome, ToolFailed):
                call = flight.execution.throw(outcome)
            else:
                call = flight.execution.send(outcome)  # type: ignore[arg-type] # a generator starts with None
        except StopIteration as stop:
            self._finish(flight.rpc_id, flight.request_id, stop.value, flight.metrics)
            return
        flight.tool, flight.called_s = call.name, time.perf_counter()
        try:
            self._waiting[self._request_tool(flight.request_id, call)] = flight
        except NotSendable as fault:
            self._step(flight, ToolFailed(fault.code, f"The call of {call.name} cannot be sent: {fault}"))

    def _resume(self, frame: Json) -> None:
        """A tool's answer; one that nobody waits for (any more) is dropped."""
        flight = self._waiting.pop(frame.get("id") or "", None)
        if flight is None:
            return
        outcome = _outcome(frame)
        flight.metrics.add(flight.tool, flight.called_s, outcome if isinstance(outcome, dict) else {})
        self._step(flight, outcome)

    def _cancel(self, request_id: Any) -> None:
        for call_id, flight in list(self._waiting.items()):
            if flight.request_id == request_id:
                del self._waiting[call_id]
                flight.execution.close()
                self._refuse(flight.rpc_id, CANCELLED, "cancelled")

    # -- tools

    def _with_tools(self, request_id: str, metrics: CallMetrics, run: Any) -> Answer:
        """Run generated code that may call tools and wait for them."""

        def call_tool(name: str, arguments: Json) -> Json:
            started_s = time.perf_counter()
            name, checked = answers.said(name, 200), answers.generic(arguments)
            if checked.result_type == "error":
                raise ToolFailed("BAD_REQUEST", f"The arguments of {name} cannot be sent. {checked.data['message']}")
            outcome = self._wait_for(self._request_tool(request_id, ToolCall(name, checked.data)))
            metrics.add(name, started_s, outcome if isinstance(outcome, dict) else {})
            if isinstance(outcome, ToolFailed):
                raise outcome
            return outcome

        runtime._calls.append(call_tool)
        try:
            answer: Answer = run()
            return answer
        finally:
            runtime._calls.pop()

    def _request_tool(self, request_id: str, call: ToolCall) -> str:
        self._calls += 1
        call_id = f"tool-{self._calls}"
        params = {"requestId": request_id, "name": call.name, "arguments": call.arguments}
        self._frames.write({"jsonrpc": "2.0", "id": call_id, "method": "tools/call", "params": params})
        return call_id

    def _wait_for(self, call_id: str) -> Json | ToolFailed:
        while True:
            frame = self._frames.read()
            if frame.get("id") == call_id and "method" not in frame:
                return _outcome(frame)
            if frame.get("method") == "ping":
                self._reply(frame.get("id"), {})
            else:
                self._backlog.append(frame)

    # -- frames

    def _put(self, rpc_id: Any, params: Json) -> None:
        try:
            self._artifacts.put(params["sha256"], params["path"], params["content"])
        except (WrongHash, KeyError, TypeError, AttributeError) as fault:
            self._refuse(rpc_id, INVALID_PARAMS, f"the artifact cannot be taken: {fault}")
        else:
            self._reply(rpc_id, {"ok": True})

    def _reply(self, rpc_id: Any, result: Json, *, worn: bool = False) -> None:
        frame = {"jsonrpc": "2.0", "id": rpc_id, "result": result}
        self._frames.write({**frame, "worn": True} if worn else frame)

    def _refuse(self, rpc_id: Any, code: int, message: str, data: Json | None = None) -> None:
        error = {"code": code, "message": message} | ({"data": data} if data else {})
        self._frames.write({"jsonrpc": "2.0", "id": rpc_id, "error": error})

    def _notify(self, method: str, params: Json) -> None:
        self._frames.write({"jsonrpc": "2.0", "method": method, "params": params})


def _outcome(frame: Json) -> Json | ToolFailed:
    result = frame.get("result")
    if isinstance(result, dict):
        return result
    error = frame.get("error") or {}
    data = error.get("data") or {}
    return ToolFailed(data.get("code", "ERROR"), error.get("message", ""), bool(data.get("retryable")))

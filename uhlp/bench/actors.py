"""The scripted actors of the governor bench: a model, a coder and the handler it writes, each with known faults.

Inputs are {"number": n}; the right answer is {"label": …} by n modulo 7. What an actor does is a fixed hash of seed and
input (a handler is a function) or drawn from a seeded source (a model is not).
"""

import json
from dataclasses import dataclass
from hashlib import blake2b
from math import exp, sqrt
from random import Random
from typing import Any

from uhlp.clock import FakeClock
from uhlp.errors import DeadlineExceeded, HandlerFailed
from uhlp.execution import ExecutionCall, ExecutionResult, Executor, HandlerImplementation, HandlerTests, TestReport
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot
from uhlp.tools import Usage
from uhlp.tools.context import ToolContext
from uhlp.traffic.split import input_hash, split_of

LABELS = ("apples", "pears", "plums", "nuts", "figs", "limes", "dates")
HISTORY = 200
"""Requests that were recorded before compilation; a handler is right on those of them that its coder could see."""

_CODE = '''"""The bench answers in this handler's place."""


def handle(inputs, context):
    return {}
'''
_LATENCY_SIGMA = 0.3


def right_answer(number: int) -> dict[str, str]:
    """What is right for input {"number": n}."""
    return {"label": LABELS[number % len(LABELS)]}


@dataclass(frozen=True, slots=True)
class ModelScript:
    """`self_disagreement`: P(two calls on one input differ). Each call slips by itself, to a random other label."""

    self_disagreement: float = 0.0
    latency_ms: float = 400.0

    @property
    def slip(self) -> float:
        """P(one call is not the usual answer)."""
        return 1 - sqrt(1 - self.self_disagreement)


@dataclass(frozen=True, slots=True)
class HandlerScript:
    """Shares of inputs that a handler answers wrongly, raises on, or leaves to the model; its median latency.

    `knows_train`: neither wrong nor crashing on inputs that were recorded on the TRAIN side, whatever the shares say.
    It is what a coder makes that is shown its mistakes, and the hardest case: nothing but evidence can find it out.
    """

    wrong: float = 0.0
    crashes: float = 0.0
    leaves: float = 0.0
    latency_ms: float = 2.0
    knows_train: bool = True


class ScriptedExecutor(Executor):
    """Answers executions in the place of sandboxes and models. `handler` may be changed while requests come in.

    Time passes with executions that somebody waits for; all others run beside them.
    """

    def __init__(self, *, model: ModelScript, handler: HandlerScript, clock: FakeClock, seed: int) -> None:
        # no super().__init__(): there is no sandbox here
        self.model, self.handler = model, handler
        self.reference_calls = 0
        """Model calls that nobody would have made without a candidate: A/A, asking up, audits."""
        self._time = clock
        self._salt = seed.to_bytes(8)
        self._random = Random(seed)  # noqa: S311  a simulation

    async def run(self, call: ExecutionCall) -> ExecutionResult:
        """The answer of the scripted handler or model."""
        number = call.input["number"]
        if isinstance(call.implementation, HandlerImplementation):
            result = self._handled(number, call.timeout_s)
        else:
            self.reference_calls += call.purpose != "serve"
            result = ExecutionResult(
                outcome="ok",
                data=self._model_answer(number),
                latency_ms=self._latency(self.model.latency_ms),
                usage=Usage(model_calls=1),
            )
        if call.purpose == "serve":
            self._time.advance(result.latency_ms / 1000)
        return result

    def _handled(self, number: int, timeout_s: float) -> ExecutionResult:
        script = self.handler
        latency_ms = self._latency(script.latency_ms)
        if latency_ms > timeout_s * 1000:
            error = DeadlineExceeded()
            return ExecutionResult(
                outcome="failed", failure="timeout", error=error, latency_ms=timeout_s * 1000, usage=Usage()
            )
        if self._place(number, b"leaves") < script.leaves:
            return ExecutionResult(outcome="deoptimize", failure="guard", latency_ms=latency_ms, usage=Usage())
        is_shown = script.knows_train and _was_shown(number)
        if not is_shown and self._place(number, b"crashes") < script.crashes:
            failed = HandlerFailed("ValueError: as the script says")
            return ExecutionResult(
                outcome="failed", failure="exception", error=failed, latency_ms=latency_ms, usage=Usage()
            )
        is_wrong = not is_shown and self._place(number, b"wrong") < script.wrong
        answer = right_answer(number + 1 if is_wrong else number)
        return ExecutionResult(outcome="ok", data=answer, latency_ms=latency_ms, usage=Usage())

    def _model_answer(self, number: int) -> dict[str, str]:
        slip = self.model.slip
        if slip and self._random.random() < slip:
            return right_answer(number + self._random.randrange(1, len(LABELS)))
        return right_answer(number)

    def _latency(self, median_ms: float) -> float:
        return median_ms * exp(self._random.gauss(0.0, _LATENCY_SIGMA))

    def _place(self, number: int, what: bytes) -> float:
        """A fixed place in [0, 1) of this input."""
        digest = blake2b(number.to_bytes(8), key=self._salt + what, digest_size=8).digest()
        return int.from_bytes(digest) / 2**64


def _was_shown(number: int) -> bool:
    """Whether the coder saw this input."""
    return number < HISTORY and split_of(input_hash({"number": number})) == "train"


class ScriptedTests(HandlerTests):
    """The coder's own tests pass: they may only reject, and here nothing but evidence is to decide."""

    def __init__(self) -> None:
        # no super().__init__(): there is no sandbox here
        pass

    async def can_run(self, app: AppSnapshot, component: ComponentSnapshot) -> bool:
        """Here as everywhere."""
        return True

    async def run(self, app: AppSnapshot, component: ComponentSnapshot, code: str, tests: str) -> TestReport:
        """One test, passed."""
        return TestReport(passed=1, failed=0, errors=0, total=1, report="1 passed")


class ScriptedCoder:
    """The coder model behind `core.llm.generate`: always the same handler."""

    async def call_tool(self, name: str, params: dict[str, Any], context: ToolContext) -> dict[str, Any]:
        """The coder's answer, in the form of core.llm.generate."""
        answer = {"code": _CODE, "tests": "def test_nothing():\n    assert True\n", "guard": "every number"}
        usage = {"tokensIn": 0, "tokensOut": 0}
        return {"text": json.dumps(answer), "usage": usage, "costUsd": 0.0, "model": "scripted"}


class NoPrices:
    """A price list without a price."""

    providers = ("scripted",)

    async def price_usd(self, request: object, *, tokens_in: int, tokens_out: int) -> float | None:
        """Nobody knows."""
        return None

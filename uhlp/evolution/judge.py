"""Judge: a model that says which of two answers is right, and how far its word may be trusted.

It is asked twice, with the answers in both orders: a word that changes with the order is none (models favour the first
answer, or the longer one). Its word counts against others only when it is calibrated: on inputs whose right answer the
owner or a person gave, it has to point at that answer.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import structlog

from uhlp import strict_json
from uhlp.clock import Clock
from uhlp.errors import BudgetExhausted, UhlpError
from uhlp.evolution.config import ConfigInForce
from uhlp.evolution.measuring import BudgetSpent, MeasurementFailed, Spending
from uhlp.keyed_locks import KeyedLocks
from uhlp.prompts.own_template import fenced_json, own_template
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot
from uhlp.tools import ToolContext
from uhlp.tools.mcp_client import McpClient

log = structlog.get_logger(__name__)

Word = Literal["first", "second", "both"]

_TEMPLATE = own_template(Path(__file__).with_name("judgement.md.j2"))
_ANSWER_SCHEMA = {
    "type": "object",
    "properties": {"verdict": {"enum": ["A", "B", "both", "neither"]}, "why": {"type": "string"}},
    "required": ["verdict"],
    "additionalProperties": False,
}
_LONGEST_PROMPT = 200_000
"""Characters; what is longer is left to people."""
_CALIBRATIONS_KEPT = 1_000
"""Of the newest: components and what is known of them come and go."""


@dataclass(frozen=True, slots=True)
class KnownCase:
    """An input whose right answer is known, and an answer that is wrong."""

    input: Any
    right: Any
    wrong: Any


@dataclass(frozen=True, slots=True)
class Calibration:
    """On `asked` known cases the judge pointed at the right answer `agreed` times; `needed` are asked for."""

    asked: int
    agreed: int
    needed: int
    min_agreement: float

    @property
    def is_trusted(self) -> bool:
        return self.agreed >= self.needed and self.agreed >= self.min_agreement * self.asked

    def describe(self) -> str:
        """A sentence for people: how far the judge may be trusted, and what is missing."""
        if self.is_trusted:
            return f"the judge agrees with {self.agreed} of {self.asked} known answers"
        if self.asked < self.needed:
            return (
                f"the judge could be held against {self.asked} known answers, {self.needed} are needed: "
                "write golden examples or adjudicate samples"
            )
        return f"the judge agrees with only {self.agreed} of {self.asked} known answers"


class Judge:
    """Asks the application's `llm.judgeModel`; an application without one has no judge."""

    def __init__(self, *, mcp_client: McpClient, clock: Clock, config: ConfigInForce) -> None:
        self._mcp_client = mcp_client
        self._clock = clock
        self._config = config
        self._calibrations: dict[str, Calibration] = {}
        self._calibrating = KeyedLocks[str]()

    def is_configured(self, app: AppSnapshot) -> bool:
        return app.definition.llm.judge_model is not None

    async def word(
        self, app: AppSnapshot, component: ComponentSnapshot, value: Any, first: Any, second: Any, *, spending: Spending
    ) -> Word | None:
        """Which of two answers to `value` is right; None when the judge cannot say, or says so in one order only.

        Raises MeasurementFailed when the model could not be asked.
        """
        verdicts = await asyncio.gather(
            self._ask(app, component, value, first, second, spending),
            self._ask(app, component, value, second, first, spending),
            return_exceptions=True,
        )
        for verdict in verdicts:
            if isinstance(verdict, BaseException):
                raise verdict
        words: dict[Any, Word] = {("A", "B"): "first", ("B", "A"): "second", ("both", "both"): "both"}
        return words.get(tuple(verdicts))

    async def calibration(
        self, app: AppSnapshot, component: ComponentSnapshot, cases: Sequence[KnownCase], *, spending: Spending
    ) -> Calibration:
        """How the judge does on known cases (the first `most_cases`). Measured once for a judge and a set of cases.

        Raises MeasurementFailed.
        """
        config = self._config.now.judge
        cases = cases[: config.most_cases]
        if len(cases) < config.known_cases:
            return Calibration(len(cases), 0, config.known_cases, config.min_agreement)
        described = [[case.input, case.right, case.wrong] for case in cases]
        key = sha256(
            strict_json.canonical([app.definition.llm.judge_model, app.app_id, component.spec_hash, described])
        ).hexdigest()
        async with self._calibrating[key]:
            if key not in self._calibrations:
                agreed = 0
                for case in cases:
                    word = await self.word(app, component, case.input, case.wrong, case.right, spending=spending)
                    agreed += word == "second"
                self._calibrations[key] = Calibration(len(cases), agreed, config.known_cases, config.min_agreement)
                if len(self._calibrations) > _CALIBRATIONS_KEPT:
                    del self._calibrations[next(iter(self._calibrations))]
                log.info("judge_calibrated", app_id=app.app_id, asked=len(cases), agreed=agreed)
            return self._calibrations[key]

    async def _ask(
        self, app: AppSnapshot, component: ComponentSnapshot, value: Any, a: Any, b: Any, spending: Spending
    ) -> str | None:
        """A, B, both or neither; None for an answer that is none of them."""
        text = write_judgement(component, value, a, b)
        if len(text) > _LONGEST_PROMPT:
            return None
        identifier = uuid4().hex
        context = ToolContext(
            app_id=app.app_id,
            component_id=component.definition.component_id,
            request_id=f"judge-{identifier}",
            trace_id=identifier,
            deadline=self._clock.monotonic() + self._config.now.judge.timeout_s,
            allowed_tools=("core.llm.generate",),
            llm=app.definition.llm,
            configuration={},
            purpose="judge",
        )
        params = {
            "messages": [{"role": "user", "content": text}],
            "model": app.definition.llm.judge_model,
            "outputFormat": "json",
            "outputSchema": _ANSWER_SCHEMA,
        }
        try:
            generation = await self._mcp_client.call_tool("core.llm.generate", params, context)
        except BudgetExhausted as error:
            raise BudgetSpent(error.message) from error
        except UhlpError as error:
            raise MeasurementFailed(f"the judge did not answer: {error.message}") from error
        usage = generation["usage"]
        spending.add(tokens_in=usage["tokensIn"], tokens_out=usage["tokensOut"], usd=generation["costUsd"])
        if "parsed" not in generation:
            log.info("judge_answer_unreadable", app_id=app.app_id, component_id=context.component_id)
            return None
        return str(generation["parsed"]["verdict"])


def write_judgement(component: ComponentSnapshot, value: Any, a: Any, b: Any) -> str:
    """The text that asks a judge: every value as JSON, so that none can leave its place."""
    policies = component.definition.optimization.comparator
    return _TEMPLATE.render(
        description=component.definition.description,
        task=fenced_json(component.prompt.text if component.prompt else ""),
        output_schema=fenced_json(component.output_schema) if component.output_schema else "",
        free_text=sorted(path for path, policy in policies.items() if policy == "free_text"),
        input=fenced_json(value),
        a=fenced_json(a),
        b=fenced_json(b),
    )

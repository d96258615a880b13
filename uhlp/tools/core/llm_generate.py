"""core.llm.generate: ask a model, within the application's budget and models."""

from typing import Any

from uhlp.catalogue import models
from uhlp.clock import Clock
from uhlp.errors import DeadlineExceeded, ValidationFailed
from uhlp.llm import Budgets, GenerateRequest, Generation, Message, ModelGateway
from uhlp.metering import Meter
from uhlp.models.definition import LlmConfig
from uhlp.tools.context import ToolContext
from uhlp.tools.core.output_reader import OutputReader
from uhlp.tools.tool import JsonObject, Tool, arguments

LLM_GENERATE = "core.llm.generate"

_TEXT: JsonObject = {"type": "string"}
_NAME: JsonObject = {"type": ["string", "null"], "minLength": 1, "maxLength": 200}
_MESSAGE = arguments(["role", "content"], role={"enum": ["system", "user", "assistant"]}, content=_TEXT)
_COUNT: JsonObject = {"type": "integer", "minimum": 0}

INPUT_SCHEMA = arguments(
    [],
    prompt=_TEXT,
    messages={"type": "array", "items": _MESSAGE, "minItems": 1, "maxItems": 1000},
    model=_NAME,
    provider=_NAME,
    parameters={"type": "object", "maxProperties": 50},
    outputFormat={"enum": ["json", "text", "yaml"]},
    outputSchema={"type": ["object", "null"]},
    replayInput={"description": "What a recording is searched for, instead of the input of the execution."},
)
OUTPUT_SCHEMA = arguments(
    ["text", "usage", "costUsd", "model", "latencyMs"],
    text=_TEXT,
    parsed={"description": "The answer as a value; absent when it is not of outputFormat and outputSchema."},
    problems={
        "type": "array",
        "items": arguments(["path", "message"], path=_TEXT, message=_TEXT),
        "description": "Why the answer is not of outputFormat and outputSchema; absent when it is.",
    },
    usage=arguments(["tokensIn", "tokensOut"], tokensIn=_COUNT, tokensOut=_COUNT),
    costUsd={"type": ["number", "null"], "description": "null when no price is known."},
    model=_TEXT,
    latencyMs={"type": "number"},
)

_WITH_PARAMETERS_OF_THEIR_OWN = frozenset({"coder", "judge"})
"""Purposes that the application's `llm.parameters` (a token limit, a temperature) are not meant for."""


class LlmGenerate:
    """The tool over the gateway, with what it spends counted by application and component."""

    def __init__(self, *, gateway: ModelGateway, budgets: Budgets, clock: Clock, meter: Meter) -> None:
        self._gateway = gateway
        self._budgets = budgets
        self._clock = clock
        self._reader = OutputReader()
        self._tokens = models.APP_TOKENS.on(meter)
        self._cost = models.APP_COST.on(meter)

    def tool(self) -> Tool:
        return Tool(
            name=LLM_GENERATE,
            description="Ask a model; the answer as text and, where it can be read, as a value.",
            input_schema=INPUT_SCHEMA,
            output_schema=OUTPUT_SCHEMA,
            run=self.run,
            annotations={"readOnlyHint": True, "openWorldHint": True},
        )

    async def run(self, given: JsonObject, context: ToolContext) -> JsonObject:
        request = _request(given, context, providers=self._gateway.providers)
        validator = await self._reader.validator(given.get("outputSchema"))
        budget = context.llm.budget
        if (refusal := self._budgets.refusal(context.app_id, budget, purpose=context.purpose)) is not None:
            self._budgets.usage.refused(context.app_id, context.component_id, context.purpose)
            raise refusal
        timeout_s = context.deadline - self._clock.monotonic()
        if timeout_s <= 0:
            raise DeadlineExceeded("No time is left to ask a model.")
        generation = await self._gateway.generate(request, timeout_s=timeout_s)
        self._count(generation, context)
        if generation.cost_usd is None:
            self._budgets.warn_of_unpriced(context.app_id, budget)
        result = _result(generation)
        if "outputFormat" in given or validator is not None:
            reading = await self._reader.read(generation.text, given.get("outputFormat", "json"), validator)
            if reading.problems:
                result["problems"] = list(reading.problems)
            else:
                result["parsed"] = reading.value
        return result

    def _count(self, generation: Generation, context: ToolContext) -> None:
        self._budgets.usage.called(
            context.app_id, context.component_id, context.purpose,
            tokens_in=generation.tokens_in, tokens_out=generation.tokens_out, usd=generation.cost_usd,
            seconds=generation.latency_ms / 1000,
        )  # fmt: skip
        key = (context.app_id, context.component_id, context.purpose)
        self._tokens.labels(*key, "in").inc(generation.tokens_in)
        self._tokens.labels(*key, "out").inc(generation.tokens_out)
        self._cost.labels(*key).inc(generation.cost_usd or 0.0)


def _request(given: JsonObject, context: ToolContext, *, providers: tuple[str, ...]) -> GenerateRequest:
    if ("prompt" in given) == ("messages" in given):
        problem = {"path": "/prompt", "message": "give either `prompt` or `messages`"}
        raise ValidationFailed(f"{LLM_GENERATE}: give either `prompt` or `messages`.", details={"problems": [problem]})
    messages: tuple[Message, ...] = tuple(given.get("messages") or ({"role": "user", "content": given["prompt"]},))
    provider, model = chosen_model(given.get("provider"), given.get("model"), context.llm, providers=providers)
    parameters: dict[str, Any] = given.get("parameters") or {}
    if context.purpose not in _WITH_PARAMETERS_OF_THEIR_OWN:
        parameters = {**context.llm.parameters, **parameters}
    return GenerateRequest(
        messages=messages,
        model=model,
        provider=provider,
        parameters=parameters,
        replay_input=given.get("replayInput", context.input),
        headers=context.trace_headers(),
    )


def chosen_model(
    provider: str | None, model: str | None, llm: LlmConfig, *, providers: tuple[str, ...]
) -> tuple[str | None, str | None]:
    """(provider, model) of a call that names these, in an application with this configuration; the gateway settles what
    is left open. `provider/model` names both where `provider` is one of the `providers`."""
    prefix, slash, _ = (model or "").partition("/")
    names_its_provider = slash and prefix in providers
    if provider is None and not names_its_provider:
        provider = llm.provider
    if model is None and provider == llm.provider:
        model = llm.model
    return provider, model


def _result(generation: Generation) -> JsonObject:
    return {
        "text": generation.text,
        "usage": {"tokensIn": generation.tokens_in, "tokensOut": generation.tokens_out},
        "costUsd": generation.cost_usd,
        "model": generation.model,
        "latencyMs": generation.latency_ms,
    }

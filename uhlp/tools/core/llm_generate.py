"""core.llm.generate: ask a model, within the application's budget and models."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from uhlp.catalogue import models
from uhlp.clock import Clock
from uhlp.errors import BudgetExhausted, DeadlineExceeded, ModelRequestRefused, ValidationFailed
from uhlp.llm import AnswerCache, Budgets, GenerateRequest, Generation, Message, ModelGateway
from uhlp.llm.answer_cache import question_key
from uhlp.llm.lane import estimated_tokens
from uhlp.llm.usage import EVOLUTION, SERVE, Use
from uhlp.metering import Meter
from uhlp.models.definition import LlmConfig
from uhlp.tools.context import ToolContext
from uhlp.tools.core.output_reader import OutputReader
from uhlp.tools.tool import JsonObject, Tool, arguments

if TYPE_CHECKING:
    from uhlp.tracing.tracer import Tracer

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
    cached={"const": True, "description": "The application's cache answered, at no cost; absent when a model did."},
)

_WITH_PARAMETERS_OF_THEIR_OWN = frozenset({"coder", "judge"})
"""Purposes that the application's `llm.parameters` (a token limit, a temperature) are not meant for."""


MOST_RESERVED_S = 0.25
"""Kept back of the time there is, so that a sandbox still gets to say that the model was too slow."""


class LlmGenerate:
    """The tool over the gateway, with what it spends counted by application and component.

    Where an application wants it, what was answered once is answered again from `cache`, for purpose `serve` alone:
    what evolution asks again, it asks to learn how the model answers.
    """

    def __init__(
        self,
        *,
        gateway: ModelGateway,
        budgets: Budgets,
        cache: AnswerCache,
        clock: Clock,
        meter: Meter,
        tracer: "Tracer | None" = None,
    ) -> None:
        self._gateway = gateway
        self._tracer = tracer
        self._budgets = budgets
        self._cache = cache
        self._clock = clock
        self._reader = OutputReader()
        self._tokens = models.APP_TOKENS.on(meter)
        self._cost = models.APP_COST.on(meter)
        self._lookups = models.CACHE_LOOKUPS.on(meter)

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
        key = self._key(given, request, context)
        generation = None if key is None else self._cached(key, context)
        is_cached = generation is not None
        if generation is None:
            generation = await self._ask(request, context)
        result = _result(generation)
        if is_cached:
            result["cached"] = True
        if "outputFormat" in given or validator is not None:
            reading = await self._reader.read(generation.text, given.get("outputFormat", "json"), validator)
            if reading.problems:
                result["problems"] = list(reading.problems)
            else:
                result["parsed"] = reading.value
        if key is not None and not is_cached and "problems" not in result:
            self._keep(key, request, generation, context)
        return result

    async def _ask(self, request: GenerateRequest, context: ToolContext) -> Generation:
        budget = context.llm.budget
        left_s = context.deadline - self._clock.monotonic()
        if left_s <= 0:
            raise DeadlineExceeded("No time is left to ask a model.")
        timeout_s = left_s - min(MOST_RESERVED_S, left_s / 20)
        expected = await self._expected(request, context)
        try:
            with self._budgets.held(context.app_id, budget, purpose=context.purpose, expected=expected):
                started = self._clock.monotonic()
                try:
                    generation = await self._generated(request, context, timeout_s)
                except ModelRequestRefused as refusal:
                    self._count_refusal(refusal, self._clock.monotonic() - started, context)
                    raise
                self._count(
                    generation.tokens_in,
                    generation.tokens_out,
                    generation.cost_usd,
                    generation.latency_ms / 1000,
                    context,
                )
        except BudgetExhausted:
            self._budgets.usage.refused(context.app_id, context.component_id, context.purpose)
            raise
        if generation.cost_usd is None:
            self._budgets.warn_of_unpriced(context.app_id, budget)
        return generation

    async def _generated(self, request: GenerateRequest, context: ToolContext, timeout_s: float) -> Generation:
        if self._tracer is None:
            return await self._gateway.generate(request, timeout_s=timeout_s)
        facts = {
            "uhlp.app_id": context.app_id,
            "uhlp.component_id": context.component_id,
            "uhlp.purpose": context.purpose,
            "gen_ai.operation.name": "chat",
        }
        with self._tracer.span("model", context.place, facts, kind="client") as span:
            request = replace(request, headers=span.trace.headers())
            generation = await self._gateway.generate(request, timeout_s=timeout_s)
            span.set("gen_ai.provider.name", generation.provider)
            span.set("gen_ai.response.model", generation.model)
            span.set("gen_ai.usage.input_tokens", generation.tokens_in)
            span.set("gen_ai.usage.output_tokens", generation.tokens_out)
            span.set("uhlp.cost_usd", generation.cost_usd)
            return generation

    async def _expected(self, request: GenerateRequest, context: ToolContext) -> Use:
        """What a call is held to take until it is answered: its own prompt, and as long an answer as today's others."""
        budget = context.llm.budget
        if budget.tokens_per_day is None and budget.usd_per_day is None:
            return Use()
        past = self._budgets.usage.of_component(context.app_id, context.component_id, context.purpose)
        tokens_in = estimated_tokens(*(message["content"] for message in request.messages))
        tokens_out = past.tokens_out // past.calls if past.calls else 0
        usd = None
        if budget.usd_per_day is not None:
            usd = await self._gateway.price_usd(request, tokens_in=tokens_in, tokens_out=tokens_out)
        return Use(tokens_in=tokens_in, tokens_out=tokens_out, usd=usd or 0.0)

    def _key(self, given: JsonObject, request: GenerateRequest, context: ToolContext) -> bytes | None:
        """What the question is cached under; None where it is not to be."""
        if not context.llm.cache.enabled or context.purpose != SERVE:
            return None
        destination = self._gateway.destination(request)
        if destination is None:
            return None
        question = {
            "destination": list(destination),
            "messages": list(request.messages),
            "parameters": dict(request.parameters),
            "outputFormat": given.get("outputFormat"),
            "outputSchema": given.get("outputSchema"),
        }
        return question_key(question)

    def _cached(self, key: bytes, context: ToolContext) -> Generation | None:
        found = self._cache.get(context.app_id, key, context.llm.cache)
        self._lookups.labels(context.app_id, context.component_id, "hit" if found else "miss").inc()
        return found

    def _keep(self, key: bytes, request: GenerateRequest, generation: Generation, context: ToolContext) -> None:
        """Remember a whole answer; what a fallback said is not what the model would say."""
        said_by = (generation.provider, generation.model)
        if said_by == self._gateway.destination(request) and not generation.is_truncated:
            self._cache.keep(context.app_id, key, generation, context.llm.cache)

    def _count_refusal(self, refusal: ModelRequestRefused, seconds: float, context: ToolContext) -> None:
        """A model that was asked and gave no text is paid all the same."""
        if (usage := refusal.details.get("usage")) is not None:
            self._count(usage["tokensIn"], usage["tokensOut"], refusal.details.get("costUsd"), seconds, context)

    def _count(self, tokens_in: int, tokens_out: int, usd: float | None, seconds: float, context: ToolContext) -> None:
        key = (context.app_id, context.component_id, context.purpose)
        self._budgets.usage.called(*key, tokens_in=tokens_in, tokens_out=tokens_out, usd=usd, seconds=seconds)
        self._tokens.labels(*key, "in").inc(tokens_in)
        self._tokens.labels(*key, "out").inc(tokens_out)
        self._cost.labels(*key).inc(usd or 0.0)


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
        fallbacks=() if context.purpose in EVOLUTION else context.llm.fallbacks,
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

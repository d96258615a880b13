"""core.llm.generate with an application's cache: what is served may be answered again at no cost, nothing else."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.shown_metrics import ShownMeter
from tests.unit.llm.model_desk import Desk
from tests.unit.llm.scripted_model_server import Reply, ScriptedModelServer, openai_answer, scripted_model_server
from uhlp.catalogue import models
from uhlp.errors import BudgetExhausted, ModelProviderUnavailable, ModelRequestRefused
from uhlp.llm import AnswerCache
from uhlp.llm.usage import EVOLUTION
from uhlp.models.definition import LlmConfig
from uhlp.tools import CoreMCPServer, ToolContext, ToolSession

GENERATE = "core.llm.generate"
ASK: dict[str, Any] = {"prompt": "Which desk?", "outputFormat": "json", "outputSchema": {"required": ["desk"]}}
BILLING = '{"desk": "billing"}'
CACHING = {"cache": {"enabled": True, "maxAgeS": 60}}


class NoMetrics:
    async def record_metric(self, metric_data: Any) -> None:
        raise AssertionError("no metric is recorded here")


class Counter:
    """The tool over a scripted model, with a cache that applications may use."""

    def __init__(self, server: ScriptedModelServer) -> None:
        self.model = server
        provider = {"kind": "openai", "base_url": server.url, "default_model": "m"}
        second = {"kind": "anthropic", "base_url": server.url, "default_model": "s"}
        settings = {"providers": {"main": provider, "second": second}, "fallbacks": ["second"], "attempts": 1}
        self.desk = Desk(server, settings)
        self.clock = self.desk.clock
        self.meter = ShownMeter()
        self.server = CoreMCPServer(
            gateway=self.desk.gateway,
            metrics=NoMetrics(),
            clock=self.clock,
            meter=self.meter,
            cache=AnswerCache(clock=self.clock, most_bytes=1_000_000),
        )

    def says(self, *texts: str) -> None:
        self.model.script(*[Reply(body=openai_answer(text)) for text in texts])

    def context(self, *, llm: Any = None, **changed: Any) -> ToolContext:
        given: dict[str, Any] = {
            "app_id": "support",
            "component_id": "triage",
            "request_id": "r1",
            "trace_id": "t1",
            "deadline": self.clock.monotonic() + 30,
            "allowed_tools": (GENERATE,),
            "llm": LlmConfig.model_validate(CACHING if llm is None else llm),
            "configuration": {},
            "purpose": "serve",
        }
        return ToolContext(**{**given, **changed})

    async def ask(self, arguments: dict[str, Any] | None = None, **changed: Any) -> dict[str, Any]:
        return await self.server.call_tool(GENERATE, arguments or ASK, self.context(**changed))

    @property
    def asked(self) -> int:
        return len(self.model.seen)


@pytest.fixture
async def counter() -> AsyncIterator[Counter]:
    async with scripted_model_server() as server:
        counter = Counter(server)
        yield counter
        await counter.desk.gateway.aclose()


async def test_the_same_question_is_answered_again_at_no_cost_and_says_so(counter: Counter) -> None:
    counter.says(BILLING)
    first, again = await counter.ask(), await counter.ask()
    assert "cached" not in first
    assert again["cached"] is True
    assert (again["text"], again["parsed"], again["model"]) == (BILLING, {"desk": "billing"}, "m")
    assert (again["usage"], again["costUsd"]) == ({"tokensIn": 0, "tokensOut": 0}, 0.0)
    assert counter.asked == 1
    used = counter.server.budgets.usage.of_application("support", evolution=False)
    assert (used.calls, used.tokens) == (1, 18)
    lookups = counter.meter.series(models.CACHE_LOOKUPS)
    assert (lookups["support", "triage", "miss"], lookups["support", "triage", "hit"]) == (1, 1)


async def test_off_by_default(counter: Counter) -> None:
    counter.says(BILLING, BILLING)
    for _ in range(2):
        assert "cached" not in await counter.ask(llm={})
    assert counter.asked == 2


@pytest.mark.parametrize(
    "changed",
    [
        {"arguments": {**ASK, "prompt": "Which desk ?"}},
        {"arguments": {**ASK, "model": "other"}},
        {"arguments": {**ASK, "provider": "second"}},
        {"arguments": {**ASK, "parameters": {"temperature": 0.5}}},
        {"arguments": {**ASK, "outputSchema": {"required": ["desk"], "type": "object"}}},
        {"llm": {**CACHING, "parameters": {"seed": 3}}},
        {"app_id": "another"},
        *({"purpose": purpose} for purpose in sorted(EVOLUTION)),
    ],
)
async def test_whatever_makes_it_another_question_asks_the_model(counter: Counter, changed: dict[str, Any]) -> None:
    counter.says(BILLING)
    await counter.ask()
    if "provider" not in changed.get("arguments", {}):
        counter.says(BILLING)
    assert "cached" not in await counter.ask(**changed)
    assert counter.asked == 2


async def test_what_evolution_was_told_is_not_served(counter: Counter) -> None:
    counter.says(BILLING, BILLING)
    await counter.ask(purpose="reference")
    assert "cached" not in await counter.ask()


async def test_an_old_answer_is_asked_for_anew(counter: Counter) -> None:
    counter.says(BILLING, '{"desk": "parcels"}')
    await counter.ask()
    counter.clock.advance(61)
    assert (await counter.ask())["parsed"] == {"desk": "parcels"}


@pytest.mark.parametrize(
    "bad",
    [
        Reply(body=openai_answer("no JSON")),
        Reply(body=openai_answer('{"team": 1}')),
        Reply(body=openai_answer(BILLING, finish_reason="length")),
    ],
)
async def test_an_answer_that_is_not_whole_and_right_is_not_kept(counter: Counter, bad: Reply) -> None:
    counter.model.script(bad)
    await counter.ask()
    counter.says(BILLING)
    assert "cached" not in await counter.ask()
    assert counter.asked == 2


async def test_what_a_fallback_said_is_not_kept(counter: Counter) -> None:
    counter.model.script(Reply(500))
    assert (await counter.ask())["model"] == "s"
    counter.says(BILLING)
    assert (await counter.ask())["model"] == "m"


async def test_evolution_measures_the_model_itself_and_no_fallback(counter: Counter) -> None:
    counter.model.script(Reply(500))
    with pytest.raises(ModelProviderUnavailable):
        await counter.ask(purpose="reference")


async def test_what_is_cached_is_answered_when_the_model_is_down_or_the_budget_spent(counter: Counter) -> None:
    counter.says(BILLING)
    await counter.ask()
    counter.model.script(*[Reply(503)] * 5)
    spent = {**CACHING, "budget": {"tokensPerDay": 18}}
    assert (await counter.ask(llm=spent))["cached"] is True
    with pytest.raises(BudgetExhausted):
        await counter.ask({**ASK, "prompt": "Another?"}, llm=spent)


async def test_a_recording_needs_no_cache(counter: Counter, tmp_path: Path) -> None:
    recording = tmp_path / "log.jsonl"
    recording.write_text('{"input": "a", "output": "{\\"desk\\": 1}"}\n')
    desk = Desk(counter.model, {"providers": {"log": {"kind": "replay", "path": str(recording)}}})
    cache = AnswerCache(clock=desk.clock, most_bytes=1_000_000)
    server = CoreMCPServer(gateway=desk.gateway, metrics=NoMetrics(), clock=desk.clock, meter=ShownMeter(), cache=cache)
    for _ in range(2):
        result = await server.call_tool(GENERATE, {**ASK, "replayInput": "a"}, counter.context())
        assert "cached" not in result


async def test_a_session_knows_whether_the_cache_answered_all_of_it(counter: Counter) -> None:
    counter.says(BILLING)
    sessions = [ToolSession(counter.server, counter.context()) for _ in range(3)]
    await sessions[0].call(GENERATE, ASK)
    await sessions[1].call(GENERATE, ASK)
    await sessions[2].call(GENERATE, ASK)
    counter.says(BILLING)
    await sessions[2].call(GENERATE, {**ASK, "prompt": "Another?"})
    assert [session.usage.is_cached for session in sessions] == [False, True, False]


async def test_a_burst_of_calls_does_not_run_over_a_budget(counter: Counter) -> None:
    poor = {"budget": {"tokensPerDay": 60}}
    prompt = "x" * 80  # 21 tokens
    asking = [asyncio.create_task(counter.ask({"prompt": prompt}, llm=poor)) for _ in range(20)]
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert sum(isinstance(one, dict) for one in answers) == 3
    assert {type(one) for one in answers} == {dict, BudgetExhausted}
    assert counter.server.budgets.usage.of_component("support", "triage", "serve").refused == 17


async def test_an_answer_without_text_is_paid_all_the_same(counter: Counter) -> None:
    counter.model.script(*[Reply(body=openai_answer(None, tokens_in=40, tokens_out=900, finish_reason="length"))] * 2)
    poor = {"budget": {"tokensPerDay": 940}, "fallbacks": []}
    with pytest.raises(ModelRequestRefused, match="gave no text"):
        await counter.ask(llm=poor)
    assert counter.server.budgets.usage.of_application("support", evolution=False).tokens == 940
    with pytest.raises(BudgetExhausted):
        await counter.ask(llm=poor)

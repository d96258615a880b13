"""What compiling a component is expected to take and to save, before it is done (design "discovered": N*).

The cost is the coder's and that of measuring until the handler is promoted: A/A, asking up, audits of the canary. The
coder's part is what its calls took so far, for each handler it has written; before there was one, it is estimated by
the length of the specification. The saving is that of the component's present traffic (the last hour) at the coverage
of its last handler.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

import orjson
from pydantic.alias_generators import to_camel

from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate import Candidate
from uhlp.evolution.config import ConfigInForce
from uhlp.evolution.statistics import EvidenceAccount, audit_share
from uhlp.evolution.usage_store import NO_CANDIDATE, UsageStore
from uhlp.llm import Budgets, GenerateRequest
from uhlp.llm.usage import CODER, SERVE, UsageBook, Use
from uhlp.metrics.windows import Windows
from uhlp.models.definition import LlmConfig
from uhlp.optimization.break_even import BreakEven, PerCall, break_even
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot
from uhlp.tools.core.llm_generate import chosen_model

_WINDOW_S = 3600.0
_CODER_ROUNDS = 2
"""The first draft and one repair."""
_SPECIFICATION_CHARACTERS = 30_000
"""Samples, contract and examples of one specification, beside the component's own prompt and schemas."""
_CODER_TOKENS_OUT = 1_500
_CHARACTERS_A_TOKEN = 4
_DISAGREEMENT = 0.05
"""The share of comparisons that ask up, two calls each."""
_SEEN_FOR_COVERAGE = 50


class PriceList(Protocol):
    """What the model gateway knows of prices."""

    @property
    def providers(self) -> Sequence[str]: ...

    async def price_usd(self, request: GenerateRequest, *, tokens_in: int, tokens_out: int) -> float | None: ...


@dataclass(frozen=True, slots=True)
class CompileCost:
    """What a compilation is expected to take. `usd` counts a coder of unknown price (`is_unpriced`) at the price that
    stands in for it; None when the model's own price is not known. `coder_from`: how its tokens are known.
    """

    usd: float | None
    coder_usd: float
    coder_tokens: int
    coder_from: Literal["recorded", "estimated"]
    is_unpriced: bool
    measuring_calls: int
    measuring_usd: float | None


@dataclass(frozen=True, slots=True)
class Expectation:
    """The balance of a component that a model runs. `model`: what a call takes now, None without traffic."""

    balance: BreakEven
    cost: CompileCost
    model: PerCall | None

    def to_dict(self) -> dict[str, Any]:
        """JSON values, names in camelCase."""
        return {
            **self.balance.to_dict(),
            "cost": {to_camel(name): value for name, value in asdict(self.cost).items()},
            "modelPerCall": None if self.model is None else asdict(self.model),
        }


class Expectations:
    """Asked at every discovery, and for the list of recommendations."""

    def __init__(
        self,
        *,
        windows: Windows,
        usage: UsageStore,
        usage_book: UsageBook,
        budgets: Budgets,
        prices: PriceList,
        book: CandidateBook,
        config: ConfigInForce,
        default_coder_model: str | None = None,
    ) -> None:
        self._windows = windows
        self._usage = usage
        self._usage_book = usage_book
        self._budgets = budgets
        self._prices = prices
        self._book = book
        self._config = config
        self._default_coder_model = default_coder_model

    async def of(self, app: AppSnapshot, component: ComponentSnapshot) -> Expectation:
        """What compiling `component` would take and save, as things are now."""
        component_id, optimization = component.definition.component_id, component.definition.optimization
        model = self.model_per_call(app.app_id, component_id)
        in_service = self._book.in_service(app.app_id, component_id)
        left_to_it = None if in_service is None else "llm"  # a better handler can save no more than this
        requests = self._windows.window(app.app_id, component_id, _WINDOW_S, handler=left_to_it).count
        calls_per_day = requests * 86_400 / _WINDOW_S if requests else None
        last = self._last_handler(app.app_id, component_id)
        measured = (await self._book.whole(last.id)).measurements if last is not None else {}
        coverage = self._config.now.break_even.assumed_coverage
        if last is not None and last.figures.coverage is not None and in_service is None:
            coverage = last.figures.coverage
        cost = await self._cost(app, component, model)
        per_second = optimization.usd_per_second_saved
        balance = break_even(
            compile_usd=cost.usd,
            model=model,
            handler=PerCall(0.0, (measured.get("p50Ms") or 0.0) / 1000),
            coverage=coverage,
            audit_share=audit_share(optimization.max_wrong_answers, (calls_per_day or 0.0) * coverage),
            usd_per_second_saved=self._config.now.usd_per_second_saved if per_second is None else per_second,
            calls_per_day=calls_per_day,
            horizon_days=self._config.now.break_even.horizon_days,
        )
        return Expectation(balance, cost, model)

    def model_per_call(self, app_id: str, component_id: str) -> PerCall | None:
        """What one request that the model answers takes, over the last hour; None without one."""
        window = self._windows.window(app_id, component_id, _WINDOW_S, handler="llm").as_dict()
        if not window["count"]:
            return None
        calls = self._usage_book.of_component(app_id, component_id, SERVE)
        priced = 1.0 - calls.unpriced / calls.calls if calls.calls else 1.0
        return PerCall(
            usd=window["costUsd"] / window["count"] / priced if priced > 0 else None,
            seconds=window["latencyMs"]["avg"] / 1000,
            tokens=(window["tokensIn"] + window["tokensOut"]) / window["count"],
        )

    def _last_handler(self, app_id: str, component_id: str) -> Candidate | None:
        """The component's newest candidate that was tried on enough inputs to know its coverage."""
        tried = (one for one in self._book.newest_first(app_id, component_id) if one.figures.seen >= _SEEN_FOR_COVERAGE)
        return next(tried, None)

    async def _cost(self, app: AppSnapshot, component: ComponentSnapshot, model: PerCall | None) -> CompileCost:
        coder, coder_from, is_unpriced = await self._coder(app, component)
        coder_usd = self._budgets.charged(coder)
        calls = self._measuring_calls(component)
        measuring_usd = None if model is None or model.usd is None else calls * model.usd
        return CompileCost(
            usd=None if measuring_usd is None else coder_usd + measuring_usd,
            coder_usd=coder_usd,
            coder_tokens=coder.tokens,
            coder_from=coder_from,
            is_unpriced=is_unpriced,
            measuring_calls=calls,
            measuring_usd=measuring_usd,
        )

    async def _coder(
        self, app: AppSnapshot, component: ComponentSnapshot
    ) -> tuple[Use, Literal["recorded", "estimated"], bool]:
        """What the coder is expected to take for one handler, how that is known, and whether its price is not."""
        written = [one for one in self._book.candidates() if one.proposer == "coder" and one.drafts]
        spent = Use.sum(use for _key, use in await self._usage.rows(kind=CODER, candidate_id=NO_CANDIDATE))
        if written and spent.calls:
            n = len(written)
            tokens_in, tokens_out = spent.tokens_in // n, spent.tokens_out // n
            use = Use(tokens_in=tokens_in, tokens_out=tokens_out, usd=spent.usd / n)
            use.unpriced_tokens = spent.unpriced_tokens // n
            return use, "recorded", spent.unpriced > 0
        length = len(component.prompt.text) if component.prompt else 0
        length += sum(len(orjson.dumps(one)) for one in (component.input_schema, component.output_schema) if one)
        tokens_in = _CODER_ROUNDS * (length + _SPECIFICATION_CHARACTERS) // _CHARACTERS_A_TOKEN
        tokens_out = _CODER_ROUNDS * _CODER_TOKENS_OUT
        request = self._coder_request(app.definition.llm)
        usd = await self._prices.price_usd(request, tokens_in=tokens_in, tokens_out=tokens_out)
        use = Use(tokens_in=tokens_in, tokens_out=tokens_out, usd=usd or 0.0)
        use.unpriced_tokens = use.tokens if usd is None else 0
        return use, "estimated", usd is None

    def _coder_request(self, llm: LlmConfig) -> GenerateRequest:
        named = llm.coder_model or self._default_coder_model
        provider, model = chosen_model(None, named, llm, providers=tuple(self._prices.providers))
        return GenerateRequest(messages=(), model=model, provider=provider)

    def _measuring_calls(self, component: ComponentSnapshot) -> int:
        """Model calls until promotion, for a handler without fault."""
        config, optimization = self._config.now, component.definition.optimization
        noise = EvidenceAccount(epsilon=min(max(config.noise.max_self_disagreement, 0.001), 0.499), bounds=())
        gate = EvidenceAccount.for_attempt(1, epsilon=optimization.epsilon, delta=config.delta, bounds=())
        same_again = min(config.noise.aa_samples, noise.needed_more())
        ask_up = 2 * _DISAGREEMENT * gate.needed_more()
        canary = config.canary.audit_share * config.canary.min_executions * len(config.canary.weights)
        checked = gate.needed_more() if optimization.trust == "serve-and-check" else 0
        return round(same_again + ask_up + canary + checked)

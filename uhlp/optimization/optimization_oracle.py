"""OptimizationOracle: reads metrics, applies rules, and asks proposers for candidates (seed 000; seed 003 §3.6).

It proposes and never decides: what it finds waits as a discovery until the daemon of the room above takes it.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, Literal

from uhlp.clock import Clock
from uhlp.errors import ExpressionInvalid
from uhlp.expressions import Judgement, compile_rule
from uhlp.metrics.window import Window
from uhlp.metrics.windows import Windows
from uhlp.models.definition import ComponentDefinition, HandlerType, OptimizationAction, OptimizationRule
from uhlp.optimization.jit.coder import CoderProposer
from uhlp.optimization.proposer import Counterexample, ProposalTask, Proposer, TrainSample
from uhlp.optimization.rule_learner import RuleLearner
from uhlp.optimization.rule_watch import RuleTruth, RuleWatch
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.registry.snapshot import AppSnapshot
from uhlp.state.state_manager import StateManager
from uhlp.tools.mcp_client import McpClient

DEFAULT_WINDOW_S = 60.0
_COMPONENTS_AT_A_TIME = 5
"""After so many components other work has its turn: half a millisecond, 60 when all look back 35 days, once an hour."""


@dataclass(frozen=True, slots=True)
class Discovery:
    """A rule came true for a component: what it asks for, and the words a person reads as the reason.

    `rule` is what fired: {description, expression, action, windowS, values: the window's figures at that moment}.
    `because` says why a rule that would start a compilation only recommends it; empty otherwise. `is_correction`: the
    handler in service has been wrong, and a better one is worth more than it saves.
    """

    app_id: str
    component_id: str
    action: Literal["jit", "recommend", "compress"]
    reason: str
    rule: Mapping[str, Any] = field(default_factory=dict)
    because: str = ""
    is_correction: bool = False


_ACTIONS: dict[OptimizationAction, Literal["jit", "recommend", "compress"]] = {
    OptimizationAction.TRIGGER_JIT: "jit",
    OptimizationAction.RECOMMEND_JIT: "recommend",
    OptimizationAction.COMPRESS_PROMPT: "compress",
}
_STRENGTH = ("compress", "recommend", "jit")
"""When several rules fire for one component, the strongest action is what is asked for."""


class OptimizationOracle:
    """Applies every application's rules to its components' windows, once a cycle (`rule_watch` says when one fires).

    `has_candidate` says whether a candidate of a component is on its way. `state_manager` belongs to the signature of
    seed 000; what the oracle knows comes from the registry. What may change at run time it asks for at every use.
    """

    def __init__(
        self,
        app_registry: ApplicationRegistry,
        state_manager: StateManager,
        metric_collector: Windows,
        mcp_client: McpClient,
        *,
        clock: Clock,
        default_coder_model: str | None = None,
        coder_timeout_s: Callable[[], float] = lambda: 120.0,
        global_rules: Callable[[], Sequence[OptimizationRule]] = tuple,
        hold_windows: Callable[[], int] = lambda: 1,
        has_candidate: Callable[[str, str], bool] = lambda app_id, component_id: False,
    ) -> None:
        self._clock = clock
        self._has_candidate = has_candidate
        self._registry = app_registry
        self._windows = metric_collector
        self._proposers: tuple[Proposer, ...] = (
            RuleLearner(),
            CoderProposer(
                mcp_client=mcp_client,
                llm_of=lambda app_id: app_registry.snapshot(app_id).definition.llm,
                clock=clock,
                default_coder_model=default_coder_model,
                timeout_s=coder_timeout_s,
            ),
        )
        self._default_coder_model = default_coder_model
        self._global_rules = global_rules
        self._hold_windows = hold_windows
        self._watch = RuleWatch()
        self._discoveries: dict[tuple[str, str], Discovery] = {}

    async def run_optimization_cycle(self) -> None:
        """Evaluate every rule of every component that a model runs, or did before it was compiled; what fires becomes a
        discovery."""
        looked_at = 0
        for app_id in await self._registry.list_active_applications():
            app = self._registry.snapshot(app_id)
            for component_id, component in app.components.items():
                looked_at += 1
                if looked_at % _COMPONENTS_AT_A_TIME == 0:
                    await asyncio.sleep(0)
                definition = component.definition
                is_promoted = component.handler_version is not None and component.prompt_artifact is not None
                is_compilable = definition.handler_type is HandlerType.LLM or is_promoted
                if is_compilable and definition.optimization.mode != "off":
                    await self._examine(app, component_id, definition)
        self._watch.end_cycle()

    def models_of(self, app_id: str) -> str:
        """The model and the coder that an application uses now, as one text: what another one might do better."""
        llm = self._registry.snapshot(app_id).definition.llm
        model = "/".join(name for name in (llm.provider, llm.model) if name) or "the server's"
        return f"model {model}, coder {llm.coder_model or self._default_coder_model or 'the same'}"

    def take_discoveries(self) -> list[Discovery]:
        """What fired since the last call; each component at most once."""
        found = list(self._discoveries.values())
        self._discoveries.clear()
        return found

    def rules_of(self, app: AppSnapshot, definition: ComponentDefinition) -> tuple[OptimizationRule, ...]:
        """Global, application and component rules, in this order; none when the application switched them off."""
        if not app.definition.optimization_config.enabled:
            return ()
        return (*self._global_rules(), *app.definition.optimization_config.rules, *definition.optimization.rules)

    def rule_truths(self, app_id: str, component_id: str) -> list[RuleTruth]:
        """Every rule of a component with its present truth value."""
        app = self._registry.snapshot(app_id)
        return self._truths(app, component_id, app.components[component_id].definition)

    async def write_task(
        self,
        app_id: str,
        component_id: str,
        *,
        train: Sequence[TrainSample],
        attempt: int,
        counterexamples: Sequence[Counterexample] = (),
    ) -> ProposalTask:
        """What a proposer is told of a component: its meaning, TRAIN samples only, what earlier attempts got wrong."""
        component = self._registry.snapshot(app_id).components[component_id]
        return ProposalTask(
            app_id=app_id,
            component_id=component_id,
            description=component.definition.description,
            prompt_text=component.prompt.text if component.prompt else "",
            input_schema=component.input_schema,
            output_schema=component.output_schema,
            train=tuple(train),
            decision_field=component.definition.optimization.decision_field,
            comparator=component.definition.optimization.comparator,
            attempt=attempt,
            counterexamples=tuple(counterexamples),
        )

    def proposers(self, wanted: str | None = None) -> tuple[Proposer, ...]:
        """Who may be asked, the cheapest first; only the one named `wanted` when a person chose."""
        return tuple(one for one in self._proposers if wanted in (None, one.name))

    async def _examine(self, app: AppSnapshot, component_id: str, definition: ComponentDefinition) -> None:
        rules = self.rules_of(app, definition)
        has_candidate = bool(rules) and self._has_candidate(app.app_id, component_id)
        for number, (rule, truth) in enumerate(zip(rules, self._truths(app, component_id, definition), strict=True)):
            key = (app.app_id, component_id, number, truth.expression)
            if not self._watch.look(
                key, truth.holds, hold=truth.hold, has_candidate=has_candidate, now=self._clock.now()
            ):
                continue
            if rule.action is OptimizationAction.TRIGGER_JIT:
                because = "preferLlmFlexibility is set" if self._prefers_model(app, definition, rule) else ""
                await self._trigger_jit_generation(app.app_id, component_id, definition, rule=rule, because=because)
            elif rule.action is OptimizationAction.COMPRESS_PROMPT:
                is_recommended = definition.optimization.mode == "recommend"
                self._discover(app.app_id, component_id, rule, because="its mode is recommend" * is_recommended)
            else:
                self._discover(app.app_id, component_id, rule, because="the rule only recommends")

    async def _trigger_jit_generation(
        self,
        app_id: str,
        component_id: str,
        component_def: ComponentDefinition,
        *,
        rule: OptimizationRule,
        because: str = "",
    ) -> None:
        """Ask for a handler for this component; the daemon takes it from here (name from seed 000).

        `because`: why it is only to be recommended, if it is. Its mode may say so, too.
        """
        if component_def.optimization.mode == "recommend":
            because = "its mode is recommend"
        if because:
            rule = rule.model_copy(update={"action": OptimizationAction.RECOMMEND_JIT})
        self._discover(app_id, component_id, rule, because=because)

    def _discover(self, app_id: str, component_id: str, rule: OptimizationRule, *, because: str) -> None:
        action = _ACTIONS[rule.action]
        known = self._discoveries.get((app_id, component_id))
        if known is not None and _STRENGTH.index(known.action) >= _STRENGTH.index(action):
            return
        window_s = _number(rule, "windowS", DEFAULT_WINDOW_S)
        fired = {
            "description": rule.description,
            "expression": rule.condition.expression,
            "action": rule.action,
            "windowS": window_s,
            "values": self._windows.window(app_id, component_id, window_s).as_dict(),
        }
        reason = f"rule {rule.description or 'without a name'}: {rule.condition.expression}"
        because = because if action != "jit" else ""
        self._discoveries[(app_id, component_id)] = Discovery(app_id, component_id, action, reason, fired, because)

    def _prefers_model(self, app: AppSnapshot, definition: ComponentDefinition, rule: OptimizationRule) -> bool:
        """`preferLlmFlexibility`, the nearest level wins: rule, component, application. It turns jit into recommend."""
        for preference in (
            rule.prefer_llm_flexibility,
            definition.optimization.prefer_llm_flexibility,
            app.definition.optimization_config.prefer_llm_flexibility,
        ):
            if preference is not None:
                return preference
        return False

    def _truths(self, app: AppSnapshot, component_id: str, definition: ComponentDefinition) -> list[RuleTruth]:
        windows: dict[float, Window] = {}
        truths = []
        for number, rule in enumerate(self.rules_of(app, definition)):
            expression, window_s = rule.condition.expression, _number(rule, "windowS", DEFAULT_WINDOW_S)
            if window_s not in windows:
                windows[window_s] = self._windows.window(app.app_id, component_id, window_s)
            try:
                judged = compile_rule(expression).judge(windows[window_s])
            except ExpressionInvalid as error:  # checked at registration; one that slipped through is not true
                judged = Judgement(None, {}, error.message)
            standing = self._watch.standing((app.app_id, component_id, number, expression))
            truths.append(
                RuleTruth(
                    rule.description, expression, rule.action, windows[window_s].window_s,
                    round(_number(rule, "hold", self._hold_windows())) or 1,
                    judged.holds, judged.unknown_because, judged.values,
                    standing.true_looks, standing.since, standing.fired_at,
                )
            )  # fmt: skip
        return truths


def _number(rule: OptimizationRule, name: str, default: float) -> float:
    """A parameter of the rule; what is no positive number is as if it were not there."""
    given = rule.action_params.get(name)
    is_number = isinstance(given, int | float) and not isinstance(given, bool) and 0 < given < inf
    return float(given) if is_number and given is not None else default

"""Oversight: what people see of evolution and may do, the same for REST, CLI and panel (seed 002)."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from typing import Any

from uhlp.clock import Clock
from uhlp.errors import ComponentNotFound, ValidationFailed
from uhlp.evolution.adjudicator import Adjudicator
from uhlp.evolution.alert_watch import AlertWatch
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate_actions import CandidateActions
from uhlp.evolution.candidate_page import USUAL, CandidatePage
from uhlp.evolution.candidate_views import CandidateViews
from uhlp.evolution.compiler import Compiler
from uhlp.evolution.config import ConfigInForce
from uhlp.evolution.governor import SafetyGovernor
from uhlp.evolution.leadership import Leadership
from uhlp.evolution.ledger_anchors import LedgerAnchors, verified_ledger
from uhlp.evolution.money import Money
from uhlp.evolution.promotion import Promotion
from uhlp.evolution.self_evolution_daemon import SelfEvolutionDaemon
from uhlp.evolution.store import EvolutionStore
from uhlp.evolution.webhooks import Webhook
from uhlp.evolution.why import explain
from uhlp.metrics.windows import Windows
from uhlp.optimization.optimization_oracle import OptimizationOracle
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.traffic.samples import SampleStore


class Oversight:
    """The facade over evolution for everything that talks to people."""

    def __init__(
        self,
        *,
        book: CandidateBook,
        store: EvolutionStore,
        anchors: LedgerAnchors,
        governor: SafetyGovernor,
        daemon: SelfEvolutionDaemon,
        compiler: Compiler,
        promotion: Promotion,
        oracle: OptimizationOracle,
        samples: SampleStore,
        money: Money,
        windows: Windows,
        app_registry: ApplicationRegistry,
        clock: Clock,
        config: ConfigInForce,
        leadership: Leadership,
        alert_watch: AlertWatch,
        webhooks: Sequence[Webhook] = (),
    ) -> None:
        self._alert_watch = alert_watch
        self._webhooks = tuple(webhooks)
        self._leadership = leadership
        self._compiler = compiler
        self._book = book
        self._store = store
        self._anchors = anchors
        self._governor = governor
        self._daemon = daemon
        self._actions = CandidateActions(book=book, governor=governor, compiler=compiler, promotion=promotion)
        self._views = CandidateViews(book=book, store=store, governor=governor, promotion=promotion, money=money)
        self._oracle = oracle
        self._samples = samples
        self._money = money
        self._adjudicator = Adjudicator(
            samples=samples, book=book, store=store, governor=governor, app_registry=app_registry, clock=clock
        )
        self._windows = windows
        self._registry = app_registry
        self._clock = clock
        self._config = config

    # -- acting ------------------------------------------------------------------------------------------------------

    async def optimize(
        self, app_id: str, component_id: str, *, action: str, actor: str, reason: str, proposer: str = ""
    ) -> str:
        """Start a compilation by hand: it skips the rule, never verification. Returns the candidate's id."""
        if component_id not in self._registry.snapshot(app_id).components:
            raise ComponentNotFound(f"{app_id} has no component {component_id!r}.")
        offered = self.offered_actions()
        if action not in offered:
            use = " or ".join(f"`{one}`" for one in offered)
            raise ValidationFailed(f"The action {action!r} is not offered; use {use}.", details={"allowed": [*offered]})
        if action == "jit" and not self._oracle.proposers(proposer or None):
            known = [one.name for one in self._oracle.proposers()]
            raise ValidationFailed(f"There is no proposer {proposer!r}.", details={"allowed": known})
        candidate = await self._daemon.discover(
            app_id,
            component_id,
            actor=actor,
            reason=reason or "asked for by hand",
            proposer=proposer,
            kind="prompt" if action == "compress" else "jit",
        )
        return candidate.id

    def offered_actions(self) -> tuple[str, ...]:
        """What `optimize` may be asked for."""
        return ("jit", "compress") if "prompt" in self._compiler.kinds else ("jit",)

    async def act(self, candidate_id: str, action: str, *, actor: str, reason: str) -> dict[str, Any]:
        """approve, reject, pause, resume, rollback, promote-full, quarantine, clear-quarantine; each with a reason."""
        await self._actions.act(candidate_id, action, actor=actor, reason=reason)
        return await self.candidate(candidate_id)

    async def adjudicate_sample(
        self, app_id: str, sample_id: str, *, expected: Any, actor: str, reason: str
    ) -> dict[str, Any]:
        """A person says what is right for a recorded input; what follows from it is in the answer."""
        return await self._adjudicator.adjudicate_sample(
            app_id, sample_id, expected=expected, actor=actor, reason=reason
        )

    async def adjudicate_input(
        self, app_id: str, component_id: str, input_hash: str, *, expected: Any, actor: str, reason: str
    ) -> dict[str, Any]:
        """The same for an open question or a lost comparison, whose sample may have rolled over."""
        return await self._adjudicator.adjudicate_input(
            app_id, component_id, input_hash, expected=expected, actor=actor, reason=reason
        )

    async def pause(
        self, *, actor: str, reason: str, app_id: str | None = None, component_id: str | None = None
    ) -> dict[str, Any]:
        """Pause evolution everywhere, of one application or of one component. Handlers in service go on serving."""
        await self._store.pause(actor=actor, reason=reason, app_id=app_id, component_id=component_id)
        return await self.overview()

    async def resume(
        self, *, actor: str, reason: str, app_id: str | None = None, component_id: str | None = None
    ) -> dict[str, Any]:
        """Lift the pause of exactly this scope."""
        await self._store.resume(actor=actor, reason=reason, app_id=app_id, component_id=component_id)
        return await self.overview()

    # -- seeing ------------------------------------------------------------------------------------------------------

    async def candidates(
        self,
        app_id: str | None = None,
        state: str | None = None,
        *,
        component_id: str | None = None,
        limit: int = USUAL,
        after: str | None = None,
    ) -> CandidatePage:
        """The newest of those that match, without timelines and code; with `after`, the cursor of an earlier page,
        those that follow it. ValidationFailed for a state or a cursor that does not exist.
        """
        return await self._views.listed(app_id, state, component_id=component_id, limit=limit, after=after)

    async def waiting(self) -> list[dict[str, Any]]:
        """Candidates that wait for a person's approval."""
        return await self._views.waiting()

    async def candidate(self, candidate_id: str) -> dict[str, Any]:
        """Everything a person needs to judge it: figures, timeline, drafts, mismatches side by side, code and tests."""
        return await self._views.whole(candidate_id)

    async def adjudications(self, app_id: str, component_id: str) -> dict[str, Any]:
        """What waits for a person, and what persons have said."""
        return self._adjudicator.listing(app_id, component_id)

    async def why(self, app_id: str, component_id: str) -> dict[str, Any]:
        """What is missing before this component runs as code, how many, by when."""
        if component_id not in self._registry.snapshot(app_id).components:
            raise ComponentNotFound(f"{app_id} has no component {component_id!r}.")
        told = await explain(
            app_id, component_id,
            book=self._book, store=self._store, governor=self._governor, oracle=self._oracle, samples=self._samples,
            windows=self._windows, app_registry=self._registry, clock=self._clock, config=self._config.now,
        )  # fmt: skip
        return {**told, "lines": [*told["lines"], *await self._money.lines(app_id, component_id)]}

    def rules(self, app_id: str, component_id: str) -> list[dict[str, Any]]:
        """Every rule of a component: what it says now, by which numbers, since when (`RuleTruth`)."""
        return [truth.to_dict() for truth in self._oracle.rule_truths(app_id, component_id)]

    async def recommendations(self, app_id: str | None = None) -> list[dict[str, Any]]:
        """What rules ask for and a person may start, the one worth most first."""
        return await self._money.recommendations(app_id)

    async def usage(self, app_id: str) -> dict[str, Any]:
        """What models took, by component and purpose, today and in total."""
        return await self._money.usage(app_id)

    async def savings(self, app_id: str, days: int = 7) -> dict[str, Any]:
        """What handlers and shorter prompts saved, by component, today, in total and on each of the last `days`."""
        return await self._money.savings(app_id, days)

    async def overview(self) -> dict[str, Any]:
        """The state of evolution as a whole."""
        states: dict[str, int] = {}
        for (_app_id, state), number in self._book.states().items():
            states[state] = states.get(state, 0) + number
        seq, head = await self._store.head()
        return {
            "paused": self._store.is_paused(),
            "pauses": [{"appId": app_id, "componentId": component_id} for app_id, component_id in self._store.pauses()],
            "candidates": states,
            "budgets": self._money.budgets(),
            "ledger": {"seq": seq, "head": head},
            "problems": [asdict(problem) for problem in self._book.problems],
            "leadership": self.leadership(),
            "alerts": self._alert_watch.standing(),
            "webhooks": [webhook.status() for webhook in self._webhooks],
        }

    def leadership(self) -> dict[str, Any]:
        """Which server decides about candidates: {leads, leader, token, isShared, problem}."""
        return self._leadership.status()

    async def ledger(self, app_id: str | None = None, after: int = 0, limit: int = 100) -> list[dict[str, Any]]:
        """Entries after `after`, in order."""
        sealed = await self._store.entries(app_id, after=after, limit=limit)
        return [{"seq": one.seq, "hash": one.hash, **one.entry.to_dict()} for one in sealed]

    async def verify_ledger(self) -> dict[str, Any]:
        """Recompute the whole hash chain, and hold the candidates against it."""
        return await verified_ledger(self._store, self._anchors)

    def export_ledger(self) -> AsyncIterator[bytes]:
        """The whole ledger as lines that can be verified elsewhere (`ledger_export`)."""
        return self._store.export()

    async def forget(self, app_id: str) -> None:
        """Remove the inputs and answers that are kept of an application which is gone. Its decisions stay in the
        ledger, with the digests of these."""
        await self._book.forget(app_id)

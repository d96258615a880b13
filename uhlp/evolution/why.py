"""Why not yet: what is missing before a component runs as code, how many, by when."""

from typing import Any

from uhlp.clock import Clock
from uhlp.evolution.attempts import Attempts
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate import Candidate, CandidateState
from uhlp.evolution.config import EvolutionConfig
from uhlp.evolution.governor import SafetyGovernor
from uhlp.evolution.live_evidence import LiveEvidence
from uhlp.evolution.statistics import Verdict, recompile_wait
from uhlp.evolution.store import EvolutionStore
from uhlp.metrics.windows import Windows
from uhlp.models.definition import HandlerType
from uhlp.optimization.optimization_oracle import OptimizationOracle
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.traffic.samples import SampleStore

S = CandidateState
_RATE_WINDOW_S = 600.0


async def explain(
    app_id: str,
    component_id: str,
    *,
    book: CandidateBook,
    store: EvolutionStore,
    governor: SafetyGovernor,
    oracle: OptimizationOracle,
    samples: SampleStore,
    windows: Windows,
    app_registry: ApplicationRegistry,
    clock: Clock,
    config: EvolutionConfig,
) -> dict[str, Any]:
    """{handlerType, candidateId, state, lines: sentences, missing: [{what, have, need, expectedAt}], rules, samples}.

    Times are epoch seconds; `expectedAt` is None when nothing arrives now.
    """
    component = app_registry.snapshot(app_id).components[component_id]
    definition = component.definition
    counts = await samples.counts(app_id, component_id)
    window = windows.window(app_id, component_id, _RATE_WINDOW_S).as_dict()
    rate_per_s = float(window["count"] - window["errors"]) / _RATE_WINDOW_S
    every = book.candidates(app_id, component_id)
    current = book.current(app_id, component_id)
    lines: list[str] = []
    missing: list[dict[str, Any]] = []
    if window["errors"]:
        lines.append(f"{window['errors']} of {window['count']} requests failed in the last ten minutes.")
    if current is None:
        if store.is_paused(app_id, component_id):
            lines.append("Evolution is paused, here or everywhere; it goes on after `uhlp resume`.")
        lines += _without_candidate(definition.optimization.mode, definition.handler_type, every)
        attempts = await store.attempts(app_id, component_id, component.spec_hash)
        if attempts.quarantined:
            which = next((one.id for one in every if one.state is S.QUARANTINED), "CANDIDATE")
            clear = f"`uhlp quarantine {which} --clear`"
            lines.append(f"It is quarantined: change its specification, or clear the quarantine: {clear}.")
        elif attempts.last_failure_at is not None:
            new = await samples.count_since(app_id, component_id, attempts.last_failure_at)
            _clocks(lines, missing, attempts, f"{app_id}/{component_id}/{component.spec_hash}", new,
                    rate_per_s, clock.now(), config)  # fmt: skip
    else:
        live = governor.evidence_of(current.id)
        lines.append(f"Candidate {current.id} is {current.state}: {current.reason}")
        if live is not None:
            _evidence(lines, missing, current, live, rate_per_s, clock.now(), config)
        held = governor.what_holds(current) if current.is_open else None
        if held is not None:
            lines.append(f"It is held: {held}.")
            if current.paused:
                lines.append(f"It goes on after `uhlp resume {current.id}`.")
        if (postponed := current.measurements.get("postponedBecause")) is not None:
            lines.append(f"Its compilation is postponed: {postponed}.")
    if questions := samples.adjudications.questions(app_id, component_id):
        wait = "1 question waits" if len(questions) == 1 else f"{len(questions)} questions wait"
        lines.append(f"{wait} for a person: `uhlp adjudications {app_id} {component_id}`.")
    if (current is None or current.state is S.DISCOVERED) and counts.train < config.verify.min_train:
        need = config.verify.min_train
        lines.append(f"Needs {need} recorded answers to learn from (TRAIN half), has {counts.train}.")
        missing.append(_missing("train samples", counts.train, need, rate_per_s / 2, clock.now()))
    truths = oracle.rule_truths(app_id, component_id)
    lines += [truth.describe(clock.now()) for truth in truths]
    if not truths and current is None and definition.handler_type is HandlerType.LLM:
        lines.append("It has no rule; start it by hand with `uhlp optimize`.")
    return {
        "appId": app_id,
        "componentId": component_id,
        "handlerType": definition.handler_type,
        "candidateId": current.id if current else None,
        "state": current.state if current else None,
        "lines": lines,
        "missing": missing,
        "rules": [truth.to_dict() for truth in truths],
        "samples": counts.to_dict(),
    }


def _without_candidate(mode: str, handler_type: HandlerType, every: list[Candidate]) -> list[str]:
    if handler_type is HandlerType.JIT:
        return ["It runs as code that its owner wrote."]
    lines = []
    if mode == "off":
        lines.append("Its optimisation mode is off.")
    if every:
        last = every[0]
        lines.append(f"The last candidate, {last.id}, ended as {last.state}: {last.reason}")
    return lines


def _clocks(
    lines: list[str],
    missing: list[dict[str, Any]],
    attempts: Attempts,
    key: str,
    new_samples: int,
    rate_per_s: float,
    now: float,
    config: EvolutionConfig,
) -> None:
    """When a rule may try again after the last failure."""
    rejit = config.rejit
    wait = recompile_wait(
        attempts.failures, key=key, t0_s=rejit.t0_s, t_max_s=rejit.t_max_s, n0=rejit.n0, n_max=rejit.n_max,
        f_max=rejit.f_max,
    )  # fmt: skip
    if wait is None:
        lines.append(f"No rule tries again after {attempts.failures} failures; start it by hand with `uhlp optimize`.")
        return
    since_s = now - (attempts.last_failure_at or now)
    if since_s < wait.seconds or new_samples < wait.samples:
        lines.append(
            f"A rule may try again {wait.seconds / 60:.0f} minutes and {wait.samples} samples after the last failure; "
            f"{since_s / 60:.0f} minutes and {new_samples} samples have passed."
        )
        one = _missing("samples since the last failure", new_samples, wait.samples, rate_per_s, now)
        if one["expectedAt"] is not None:
            one["expectedAt"] = max(one["expectedAt"], now + wait.seconds - since_s)
        missing.append(one)


def _evidence(
    lines: list[str],
    missing: list[dict[str, Any]],
    candidate: Candidate,
    live: LiveEvidence,
    rate_per_s: float,
    now: float,
    config: EvolutionConfig,
) -> None:
    account = live.account
    lines.append(f"Evidence: {account.describe()}.")
    answered_per_s = rate_per_s * live.reachable_coverage
    if live.classes.decision_field is not None:
        lines.append(_classes(live, live.classes.decision_field))
    if account.verdict is Verdict.HOLD:
        need = account.n + account.needed_more()
        what = f"clean comparisons to prove < {account.epsilon:.0%}"
        missing.append(_missing(what, account.n, need, answered_per_s, now))
    if candidate.state is S.CANARY:
        share = config.canary.share_at(candidate.canary_step)
        lines.append(
            f"It answers {share:.0%} of the requests; next step after {config.canary.min_executions} executions."
        )
        missing.append(
            _missing("executions in this canary step", live.step_executions, config.canary.min_executions,
                     answered_per_s * share, now)
        )  # fmt: skip


def _classes(live: LiveEvidence, decision_field: str) -> str:
    """Which values of the decision field the handler answers, and why the others are left to the model."""
    trusted = [f"{name} ({live.classes.counts.count(name).agreeing} agree)" for name in live.classes.counts.trusted]
    left = [f"{name} ({why})" for name, why in live.classes.counts.excluded.items()]
    shown = f"Of {decision_field} it is trusted with {_some(trusted) or 'none yet'}"
    return f"{shown}; left to the model: {_some(left)}." if left else f"{shown}."


def _some(names: list[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _missing(what: str, have: int, need: int, rate_per_s: float, now: float) -> dict[str, Any]:
    more = max(0, need - have)
    return {
        "what": what,
        "have": have,
        "need": need,
        "expectedAt": now if not more else (now + more / rate_per_s if rate_per_s > 0 else None),
    }

"""PromptSynthesis: a candidate for a shorter prompt, from discovered to shadow.

discovered ──the OptimizeLoop's run──► synthesized ──► verified, by its certificate on HELD-OUT ──► shadow
    │ it may not be tried, nothing was shorter and as good
    ▼
 rejected

The run chose by TRAIN, so those inputs are no evidence. The certificate says that the chosen edits together held on
samples which decided nothing before; it lets the candidate into shadow, and the account begins there with nothing.
"""

from collections.abc import Sequence
from typing import Any

from uhlp.errors import UhlpError, ValidationFailed
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate import Candidate, CandidateState
from uhlp.evolution.compression import Compression
from uhlp.evolution.config import ConfigInForce
from uhlp.evolution.endings import NOT_APPLICABLE
from uhlp.evolution.governor import GOVERNOR, SafetyGovernor
from uhlp.evolution.kept_prompt import KeptPrompt, trained_of
from uhlp.evolution.live_evidence import LiveEvidence, short_hashes
from uhlp.evolution.measuring import Spending
from uhlp.evolution.observation import comparator_of
from uhlp.evolution.promotion import Promotion
from uhlp.evolution.recordings import Recordings
from uhlp.evolution.records import digest_of
from uhlp.evolution.reference import Reference
from uhlp.evolution.sameness import comparator_of_prompts, is_judged
from uhlp.evolution.store import EvolutionStore
from uhlp.execution import PromptImplementation
from uhlp.llm import Budgets
from uhlp.optimization.compress import OptimizationReport
from uhlp.prompts.overrides import PromptDescriptor
from uhlp.prompts.overrides.override_set import STABLE, override_id
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot

S = CandidateState


class PromptSynthesis:
    """Takes a candidate as far as it can go now. Raises MeasurementFailed when something could not be asked."""

    def __init__(
        self,
        *,
        book: CandidateBook,
        store: EvolutionStore,
        governor: SafetyGovernor,
        promotion: Promotion,
        compression: Compression,
        reference: Reference,
        recordings: Recordings,
        budgets: Budgets,
        config: ConfigInForce,
    ) -> None:
        self._book = book
        self._store = store
        self._governor = governor
        self._promotion = promotion
        self._compression = compression
        self._reference = reference
        self._recordings = recordings
        self._budgets = budgets
        self._config = config

    async def synthesize(self, candidate: Candidate) -> Candidate:
        """To synthesized and on, or to an end; while the run goes on the candidate stays discovered."""
        if candidate.approval_required and candidate.approved_by is None:
            return candidate
        app, component = self._recordings.place(candidate)
        spending = Spending(candidate.costs)
        try:
            refusal = await self._why_not(candidate, app, component, spending)
        finally:
            self._book.grow(candidate.id, costs=spending.costs)
        if refusal is not None:
            return await self._governor.reject(candidate.id, cause=refusal[0], reason=refusal[1])
        run = await self._compression.run_of(
            candidate, app, component,
            is_judged=is_judged(self._book, app, component), usd_left=self._budgets.evolution_left_usd,
        )  # fmt: skip
        seen = {"requestId": run.request.request_id, "step": str(run.step), "calls": run.spent.calls}
        known = self._book.candidate(candidate.id).measurements
        candidate = self._book.grow(candidate.id, measurements={**known, "compression": seen})
        if run.result is None:
            return candidate
        report = run.result.report
        if not known.get("isCharged"):
            spending = Spending(candidate.costs)
            spending.add(tokens_in=report.spent.tokens, tokens_out=0, usd=report.spent.usd)
            known = {**candidate.measurements, "isCharged": True}
            candidate = self._book.grow(candidate.id, costs=spending.costs, measurements=known)
        if report.verdict != "shorter":
            cause = report.verdict if report.verdict in (NOT_APPLICABLE, "nothing_accepted") else NOT_APPLICABLE
            reason = f"no shorter prompt came of it ({report.verdict}): {report.reason or 'no reason was given'}"
            return await self._governor.reject(candidate.id, cause=cause, reason=reason)
        return await self._take(candidate, app, component, report, run.trained)

    async def admit(self, candidate: Candidate) -> None:
        """From synthesized (after a restart) or verified into shadow."""
        app, component = self._recordings.place(candidate)
        files = await self._promotion.kept(candidate)
        if files is None:
            reason = "its prompt is no longer in the repository"
            await self._governor.reject(candidate.id, cause="lost", reason=reason)
            return
        assert component.prompt_artifact is not None  # noqa: S101  it had one when it was kept, and means the same
        kept = KeptPrompt.of(files, component.prompt_artifact.path)
        if candidate.state is S.SYNTHESIZED:
            candidate = await self._verified(candidate, kept.report)
        evidence = LiveEvidence.open(
            attempt=candidate.attempt,
            epsilon=component.definition.optimization.epsilon,
            config=self._config.now,
            trained=trained_of(files),
            costs=candidate.costs,
            is_against_noise=True,
            is_judged=is_judged(self._book, app, component),
        )
        self._book.grow(candidate.id, **_beside(candidate, evidence))
        candidate = await self._book.decide(
            candidate.id, S.SHADOW, actor=GOVERNOR,
            reason=f"{_certified(kept.report)}; from now on it is asked beside the prompt in service",
            evidence=evidence.summary(),
            checkpoint=self._governor.create_checkpoint(candidate.app_id, candidate.component_id),
        )  # fmt: skip
        implementation = PromptImplementation(kept.artifact, candidate.id)
        self._governor.admit(candidate, implementation, evidence, previous=kept.previous)

    async def abandon(self, candidate: Candidate) -> None:
        """End the run of a candidate that is over, if it goes on."""
        await self._compression.cancel(candidate)

    async def _why_not(
        self, candidate: Candidate, app: AppSnapshot, component: ComponentSnapshot, spending: Spending
    ) -> tuple[str, str] | None:
        """(cause, reason) why this component's prompt must not be shortened; None when it may."""
        if (reason := why_no_shorter_prompt(self._book, app, component)) is not None:
            return "not_comparable" if "free text" in reason else "no_prompt", reason
        has_judge, is_begun = is_judged(self._book, app, component), "compression" in candidate.measurements
        if not (has_judge or is_begun) and await self._compression.undeclared_text(app, component) is not None:
            return "not_comparable", (
                "its answers look like free text (long, and no two alike), which only a judge can compare: declare "
                "the field free_text (optimization.comparator) and set llm.judgeModel, or declare it exact"
            )
        comparator = comparator_of_prompts(component, is_judged=has_judge)
        if comparator.not_comparable_fields:
            calibration = await self._reference.calibration(app, component, comparator, spending=spending)
            if calibration is None or not calibration.is_trusted:
                told = "there is no judge (llm.judgeModel)" if calibration is None else calibration.describe()
                where = ", ".join(comparator.not_comparable_fields).replace("$", "its answers")
                return "not_comparable", f"free text in {where}: {told}"
        return None

    async def _take(
        self,
        candidate: Candidate,
        app: AppSnapshot,
        component: ComponentSnapshot,
        report: OptimizationReport,
        chosen_by: Sequence[str],
    ) -> Candidate:
        """Keep what the report leads to. `chosen_by` are the hashes of the inputs that decided for it."""
        try:
            kept = await self._compression.kept(candidate, app, component, report)
        except UhlpError as error:
            return await self._governor.reject(candidate.id, cause="changed", reason=error.message)
        if kept is None:
            reason = "the prompt or its overrides have changed since the run began: what it measured is not there"
            return await self._governor.reject(candidate.id, cause="changed", reason=reason)
        attempts = await self._store.attempts(
            candidate.app_id, candidate.component_id, candidate.spec_hash, candidate.kind
        )
        if kept.artifact.sha256 in attempts.barred:
            reason = "the same prompt was refused or rolled back before"
            return await self._governor.reject(candidate.id, cause="barred", reason=reason)
        trained = sorted(short_hashes(chosen_by))
        await self._promotion.keep(candidate, kept.files(), record={"trained": trained, "proposer": "compress"})
        return await self._book.decide(
            candidate.id, S.SYNTHESIZED, actor=GOVERNOR,
            reason=f"{_saving(report)}, by {len(report.modifications)} shorter sections",
            code_sha=kept.artifact.sha256, proposer="compress", trained_digest=digest_of(trained),
        )  # fmt: skip

    async def _verified(self, candidate: Candidate, report: OptimizationReport) -> Candidate:
        certificate = report.certificate
        evidence = certificate.model_dump(mode="json", by_alias=True) if certificate is not None else {}
        return await self._book.decide(
            candidate.id, S.VERIFIED, actor=GOVERNOR, reason=_certified(report), evidence={"certificate": evidence}
        )


def why_no_shorter_prompt(book: CandidateBook, app: AppSnapshot, component: ComponentSnapshot) -> str | None:
    """What keeps the prompt of this component from being shortened, whatever its traffic; None: nothing does."""
    definition = component.definition
    component_id = definition.component_id
    in_service = book.in_service(app.app_id, component_id)
    if in_service is not None:
        return (
            f"a handler answers for {component_id} (v{in_service.version}), and its prompt only what that leaves to "
            "it: take the handler out of service first (`uhlp rollback --to prompt`)"
        )
    if component.prompt is None or component.prompt_artifact is None or component.handler_artifact is not None:
        return f"{component_id} is not run by a prompt"
    try:
        override_id(app.app_id, PromptDescriptor.of(app.app_id, component.prompt).key, STABLE)
    except ValidationFailed as problem:
        return f"{component.prompt.path}: {problem.message}"
    sharing = [
        name for name, one in app.components.items() if name != component_id and one.prompt is not None
        and one.prompt.path == component.prompt.path
    ]  # fmt: skip
    if sharing:
        return f"{component.prompt.path} is the prompt of {', '.join(sharing)} too: nothing would be proven for that"
    if definition.effective_effects == "write":
        return "its effects are write: another prompt cannot be tried without writing once more"
    comparator = comparator_of(component)
    if comparator.not_comparable_fields and app.definition.llm.judge_model is None:
        fields = ", ".join(comparator.not_comparable_fields)
        return f"free text in {fields}: nothing can be compared without a judge (llm.judgeModel)"
    return None


def _beside(candidate: Candidate, evidence: LiveEvidence) -> dict[str, Any]:
    """The evidence's progress, with what was measured before."""
    progress = evidence.progress()
    return {**progress, "measurements": {**candidate.measurements, **progress["measurements"]}}


def _saving(report: OptimizationReport) -> str:
    before, saved = report.baseline_token_count, report.total_token_reduction
    share = f" of {before} ({saved / before:.0%})" if before else ""
    return f"it saves {saved} prompt tokens a call{share}"


def _certified(report: OptimizationReport) -> str:
    certificate = report.certificate
    if certificate is None:
        return _saving(report)
    base, own = certificate.baseline, certificate.candidate
    unseen = certificate.unseen_losers
    few = "" if unseen is None else f", of {certificate.samples} inputs, so up to {unseen:.0%} of all may still lose"
    return (
        f"on held-out samples {own.passed} of {own.n} runs pass, {base.passed} of {base.n} of the prompt in service "
        f"(difference {certificate.difference:+.1%}, at least {certificate.at_least:+.1%}{few}); {_saving(report)}"
    )

"""Returning: putting an earlier version of a component into service again, because a person says so.

An earlier handler comes back with the evidence it had, its audits and its alarms, as the same candidate: nothing it has
shown is forgotten. It must have been in full service for what the component means now, and must not have been taken out
for what it did. The ledger is written first; between the end of one handler and the return of another the model
answers.
"""

from uhlp.errors import NotFound, StateConflict, ValidationFailed
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate import FAILED, RETURNS, Candidate, CandidateState
from uhlp.evolution.governor import SafetyGovernor
from uhlp.evolution.ledger import Event
from uhlp.evolution.ledger_anchors import LedgerAnchors
from uhlp.evolution.live_evidence import LiveEvidence
from uhlp.evolution.promotion import Promotion, version_named
from uhlp.evolution.statistics import Verdict
from uhlp.evolution.verification import handler_of
from uhlp.models.definition import HandlerType
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.registry.snapshot import ComponentSnapshot
from uhlp.state.state_manager import StateManager

S = CandidateState
BY_A_PERSON = "person"
PROMPT = "prompt"


class Returning:
    """`why_not` says why a handler may not come back; `return_to` brings back what may."""

    def __init__(
        self,
        *,
        book: CandidateBook,
        governor: SafetyGovernor,
        promotion: Promotion,
        anchors: LedgerAnchors,
        app_registry: ApplicationRegistry,
        state_manager: StateManager,
    ) -> None:
        self._state = state_manager
        self._book = book
        self._governor = governor
        self._promotion = promotion
        self._anchors = anchors
        self._registry = app_registry

    def candidate_of(self, app_id: str, component_id: str, version: int) -> Candidate:
        """The candidate that was promoted as this version. NotFound names those there are."""
        promoted = {
            one.version: one for one in self._book.candidates(app_id, component_id) if one.version and not one.is_prompt
        }
        if version not in promoted:
            known = ", ".join(f"v{number}" for number in sorted(promoted)) or "none"
            raise NotFound(f"{component_id} has no version v{version}; the ledger knows {known}.")
        return promoted[version]

    async def why_not(self, candidate: Candidate, component: ComponentSnapshot) -> str | None:
        """Why this handler may not serve again, for a person to read; None when it may, or does."""
        if candidate.state is S.PROMOTED:
            return None
        if candidate.spec_hash != component.spec_hash:
            return "it was made for another prompt, schema or setting than the component has now"
        if candidate.state not in RETURNS:
            return f"it is {candidate.state}: {candidate.reason}"
        for one in self._book.candidates(candidate.app_id, candidate.component_id):
            same = one.code_sha == candidate.code_sha and one.spec_hash == candidate.spec_hash
            if same and one.state in FAILED and one.cause != BY_A_PERSON:
                return f"its code was taken out: {one.reason}"
        evidence = LiveEvidence.restore(await self._book.whole(candidate.id), frozenset())
        if evidence.account.verdict is not Verdict.ACCEPT:
            return f"what it proved is not enough: {evidence.account.describe()}"
        for monitor in (evidence.audits, evidence.crashes):
            if monitor.alarm is not None:
                return f"it left with an alarm: {monitor.describe('answers or executions failed')}"
        return None

    async def return_to(self, app_id: str, component_id: str, to: str, *, actor: str, reason: str) -> None:
        """See `ComponentVersions.return_to`."""
        if not reason.strip():
            raise ValidationFailed("Give a reason: it goes into the ledger.", details={"path": "reason"})
        if self._book.problems:
            raise StateConflict("The ledger and its candidates do not agree; nothing serves before that is settled.")
        if to == PROMPT:
            await self._to_prompt(app_id, component_id, actor=actor, reason=reason)
        elif (version := version_named(to)) is not None:
            await self._to_handler(app_id, component_id, version, actor=actor, reason=reason)
        else:
            revision = to.removeprefix(PROMPT).removeprefix("@")
            await self._to_revision(app_id, component_id, revision, actor=actor, reason=reason)

    async def _to_prompt(self, app_id: str, component_id: str, *, actor: str, reason: str) -> None:
        if not await self._take_out_serving(app_id, component_id, actor=actor, reason=reason):
            raise StateConflict(
                f"No promoted handler serves {component_id}, and no shorter prompt: there is nothing to take out."
            )

    async def _to_handler(self, app_id: str, component_id: str, version: int, *, actor: str, reason: str) -> None:
        candidate = self.candidate_of(app_id, component_id, version)
        component = self._registry.snapshot(app_id).components[component_id]
        if candidate.state is S.PROMOTED:
            raise StateConflict(f"v{version} is in service.")
        if (why_not := await self.why_not(candidate, component)) is not None:
            raise StateConflict(f"v{version} may not serve again: {why_not}.", details={"candidateId": candidate.id})
        kept = await self._promotion.code_of(candidate)
        if kept is None:
            raise StateConflict(f"v{version} may not serve again: its code is no longer what the ledger names.")
        self._refuse_while_another_is_on_its_way(app_id, component_id)
        reason = f"return to v{version}: {reason}"
        await self._take_out_serving(app_id, component_id, actor=actor, reason=reason)
        code, _tests, record = kept
        evidence = LiveEvidence.restore(await self._book.whole(candidate.id), frozenset(record.get("trained", ())))
        candidate = await self._book.decide(
            candidate.id, S.PROMOTED, event=Event.RETURNED, actor=actor, reason=reason, cause=None, paused=False,
            evidence=evidence.summary(),
        )  # fmt: skip
        self._governor.admit(candidate, handler_of(code), evidence)
        await self._promotion.reconcile(app_id, component_id)
        await self._anchors.anchor(app_id)

    async def _to_revision(self, app_id: str, component_id: str, revision: str, *, actor: str, reason: str) -> None:
        """What was in service at that revision: its handler, or the prompt as it was then."""
        then = await self._registry.snapshot_at(app_id, revision)
        old, new = then.components.get(component_id), self._registry.snapshot(app_id).components[component_id]
        if old is None:
            raise NotFound(f"At {revision} there was no component {component_id}.")
        if old.definition.handler_type is HandlerType.JIT:
            if old.handler_version is None:
                raise StateConflict(f"At {revision} {component_id} ran as code of its owner; restore its definition.")
            await self._to_handler(app_id, component_id, old.handler_version, actor=actor, reason=reason)
            return
        if old.prompt is None or new.prompt is None or old.prompt.path != new.prompt.path:
            raise StateConflict(f"At {revision} {component_id} had another prompt file; restore its definition.")
        path = old.prompt.path
        await self._take_out_serving(app_id, component_id, actor=actor, reason=reason)
        content = (await self._state.get_definition_file_content(app_id, path, then.revision)).content.encode()
        message = f"Return the prompt of {component_id} to {then.revision[:12]}\n\n{reason}"
        await self._registry.apply_files(app_id, {path: content}, message=message, actor=actor)

    def _refuse_while_another_is_on_its_way(self, app_id: str, component_id: str) -> None:
        for one in self._book.candidates(app_id, component_id):
            if one.is_open and not one.is_serving:
                raise StateConflict(
                    f"Candidate {one.id} of {component_id} is {one.state}; reject it first.",
                    details={"candidateId": one.id, "state": one.state},
                )

    async def _take_out_serving(self, app_id: str, component_id: str, *, actor: str, reason: str) -> bool:
        """Whether there was one."""
        serving = [one for one in self._book.candidates(app_id, component_id) if one.is_serving]
        if any(not one.is_prompt for one in serving):  # what is behind a handler stays
            serving = [one for one in serving if not one.is_prompt]
        for one in serving:
            await self._governor.roll_back(one.id, cause=BY_A_PERSON, reason=reason, actor=actor)
        return bool(serving)

"""PromptPromotion: what decisions about shorter prompts leave in the application's repository.

A promotion is one commit: the set under the tag `stable`, with the shorter sections in it. A rollback is one commit:
the set that was there before, or none. The ledger decides and the repository follows; what a crash left undone, or
what could not be written, is done by the next cycle. Nothing is written over what somebody else has put there.
"""

from collections.abc import Mapping

import structlog

from uhlp.errors import StateConflict
from uhlp.evolution.candidate import Candidate, CandidateState
from uhlp.evolution.kept_prompt import KeptPrompt
from uhlp.evolution.traffic_switch import is_withdrawn
from uhlp.evolution.voiding import prompt_before
from uhlp.prompts.overrides import PromptDescriptor
from uhlp.prompts.overrides.git_documents import override_path
from uhlp.prompts.overrides.override_set import STABLE, override_id
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot
from uhlp.state.state_manager import StateManager

log = structlog.get_logger(__name__)

S = CandidateState
_AUTHOR = "UHLP <uhlp@localhost>"


class PromptPromotion:
    """`reconcile` is given the component's prompt candidates, newest first, and reads what they are made of."""

    def __init__(self, *, app_registry: ApplicationRegistry, state_manager: StateManager) -> None:
        self._registry = app_registry
        self._state = state_manager
        self._settled: dict[tuple[str, str], tuple[str, str]] = {}
        """By component: the candidate and the revision that there was nothing to do about."""

    def newest(self, candidates: list[Candidate], component: ComponentSnapshot) -> Candidate | None:
        """The candidate whose word counts, if there may be something to write: the last that was in full service."""
        if component.prompt_artifact is None:
            return None
        candidate = next((one for one in candidates if one.version is not None), None)
        if candidate is None or not (candidate.state is S.PROMOTED or is_withdrawn(candidate)):
            return None
        key = (candidate.app_id, candidate.component_id)
        settled = (f"{candidate.id}/{candidate.state}", self._registry.snapshot(candidate.app_id).revision)
        return None if self._settled.get(key) == settled else candidate

    async def reconcile(
        self, candidate: Candidate, files: Mapping[str, bytes], app: AppSnapshot, component: ComponentSnapshot
    ) -> None:
        """Write what the candidate's state says, on the revision by which it was seen that there is something to write:
        who changes the definition meanwhile is not written over. Raises UhlpError when that is not possible now.
        """
        prompt, served = component.prompt, component.prompt_artifact
        assert prompt is not None  # noqa: S101  `newest` asked
        assert served is not None  # noqa: S101
        kept = KeptPrompt.of(files, prompt.path)
        path = override_path(override_id(app.app_id, PromptDescriptor.of(app.app_id, prompt).key, STABLE))
        if candidate.state is S.PROMOTED:
            if served.sha256 == prompt_before(candidate) and component.spec_hash == candidate.spec_hash:
                await self._write(candidate, path, kept.overrides, "promote", f"Shorten {prompt.path}", app.revision)
        else:
            tree = await self._state.read_tree(app.app_id)
            if tree.files.get(path) == kept.overrides:
                restored = kept.overrides_before
                await self._write(candidate, path, restored, "roll-back", f"Restore {prompt.path}", tree.revision)
        after = self._registry.snapshot(candidate.app_id)
        self._settled[candidate.app_id, candidate.component_id] = (f"{candidate.id}/{candidate.state}", after.revision)

    async def _write(
        self, candidate: Candidate, path: str, content: bytes | None, decision: str, subject: str, base: str
    ) -> None:
        wanted = candidate.code_sha if decision == "promote" else prompt_before(candidate)

        def check(snapshot: AppSnapshot) -> None:
            component = snapshot.components[candidate.component_id]
            now = component.prompt_artifact
            if component.spec_hash == candidate.spec_hash and (now is None or now.sha256 != wanted):
                raise StateConflict(f"{path} would not make the prompt that {candidate.id} is about")

        await self._registry.write_overrides(
            candidate.app_id,
            {path: content},
            message=f"{subject} for {candidate.component_id}\n\n{candidate.reason}",
            actor=_AUTHOR,
            trailers={"Component": candidate.component_id, "Candidate": candidate.id, "Decision": decision},
            check=check,
            expected_base_revision=base,
        )
        log.info("overrides_written", candidate=candidate.id, path=path, decision=decision)

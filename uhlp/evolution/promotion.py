"""Promotion: what a decision leaves in the application's repository, and the repair of what a crash left undone.

The ledger decides, the repository follows: a promotion is one commit (handler, tests, record, registry switch), a
rollback is one commit that switches back. `reconcile` makes a repository agree with its candidates' states.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson
import structlog

from uhlp.errors import NotFound, UhlpError
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate import Candidate, CandidateState, Kind
from uhlp.evolution.kept_prompt import PROMPT_FILE, KeptPrompt, trained_of
from uhlp.evolution.prompt_promotion import PromptPromotion
from uhlp.evolution.records import digest_of
from uhlp.evolution.verification import handler_of
from uhlp.evolution.voiding import prompt_before
from uhlp.execution import Implementation, PromptImplementation
from uhlp.keyed_locks import KeyedLocks
from uhlp.models.definition import HandlerType
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.registry.snapshot import AppSnapshot, Artifact, ComponentSnapshot
from uhlp.state.state_manager import StateManager

log = structlog.get_logger(__name__)

S = CandidateState
_OUT_OF_SERVICE = frozenset({S.ROLLED_BACK, S.SUPERSEDED, S.QUARANTINED, S.REJECTED})
_AUTHOR = "UHLP <uhlp@localhost>"
_DECIDED: Mapping[Kind, str] = {"jit": "handler.py", "prompt": PROMPT_FILE}
"""The file of a candidate's ref whose digest is its `code_sha`."""
_VERSION = re.compile(r"v([1-9][0-9]{0,8})")
_READABLE = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS


def version_named(name: str) -> int | None:
    """3 for "v3"; None for what is no name of a handler's version."""
    found = _VERSION.fullmatch(name)
    return None if found is None else int(found[1])


def candidate_ref(candidate_id: str) -> str:
    """Where a candidate's code lives until it is promoted."""
    return f"refs/uhlp/candidates/{candidate_id}"


@dataclass(frozen=True, slots=True)
class Work:
    """What a candidate runs as, the inputs it was fitted to, and of a prompt the one it is held against."""

    implementation: Implementation
    trained: frozenset[str]
    previous: Artifact | None = None


class Promotion:
    """Writes candidates' code and the registry's pointer to it."""

    def __init__(self, *, book: CandidateBook, app_registry: ApplicationRegistry, state_manager: StateManager) -> None:
        self._book = book
        self._registry = app_registry
        self._state = state_manager
        self._prompts = PromptPromotion(app_registry=app_registry, state_manager=state_manager)
        self._locks = KeyedLocks[tuple[str, str]]()

    async def keep_code(self, candidate: Candidate, *, code: str, tests: str, record: dict[str, Any]) -> None:
        """Keep a candidate's handler, tests and record at its own ref, outside `main`."""
        files = {"handler.py": code.encode(), "test_handler.py": tests.encode()}
        await self.keep(candidate, files, record=record)

    async def keep(self, candidate: Candidate, files: Mapping[str, bytes], *, record: Mapping[str, Any]) -> None:
        """Keep what a candidate is made of at its own ref. `record` has the `trained` inputs."""
        files = {**files, "record.json": orjson.dumps(record, option=_READABLE)}
        await self._state.put_ref_tree(
            candidate.app_id,
            candidate_ref(candidate.id),
            files,
            f"Candidate {candidate.id} of {candidate.component_id}",
        )

    async def code_of(self, candidate: Candidate) -> tuple[str, str, dict[str, Any]] | None:
        """(handler, tests, record) of a candidate; None when its ref is gone, or is not what the ledger names, and for
        a prompt."""
        files = None if candidate.is_prompt else await self.kept(candidate)
        if files is None or "test_handler.py" not in files:
            return None
        return files["handler.py"].decode(), files["test_handler.py"].decode(), orjson.loads(files["record.json"])

    async def work_of(self, candidate: Candidate) -> "Work | None":
        """What runs for a candidate; None when it is gone, or is not what the ledger names."""
        files = await self.kept(candidate)
        if files is None:
            return None
        if not candidate.is_prompt:
            return Work(handler_of(files["handler.py"].decode()), trained_of(files))
        kept = KeptPrompt.of(files, self.prompt_path(candidate))
        if kept.previous.sha256 != prompt_before(candidate):
            log.error("candidate_code_changed", candidate=candidate.id)
            return None
        return Work(PromptImplementation(kept.artifact, candidate.id), trained_of(files), kept.previous)

    async def prompt_of(self, candidate: Candidate) -> KeptPrompt | None:
        """What a candidate for a shorter prompt is made of; None when it is gone, or is not what the ledger names."""
        files = await self.kept(candidate) if candidate.is_prompt else None
        return None if files is None else KeptPrompt.of(files, self.prompt_path(candidate))

    def prompt_path(self, candidate: Candidate) -> str:
        """The file of the component's prompt; empty when the component is not there now."""
        if candidate.app_id not in self._registry.app_ids():
            return ""
        component = self._registry.snapshot(candidate.app_id).components.get(candidate.component_id)
        return "" if component is None or component.prompt is None else component.prompt.path

    async def kept(self, candidate: Candidate) -> dict[str, bytes] | None:
        """The files of a candidate's ref by name; None when it is gone, or is not what the ledger names."""
        try:
            files = await self._state.read_ref_tree(candidate.app_id, candidate_ref(candidate.id))
        except NotFound:  # the application itself is gone
            return None
        if files is None:
            return None
        try:
            is_what_was_decided = (
                sha256(files[_DECIDED[candidate.kind]]).hexdigest() == candidate.code_sha
                and digest_of(orjson.loads(files["record.json"])["trained"]) == candidate.trained_digest
            )
        except (KeyError, TypeError, ValueError):
            is_what_was_decided = False
        if not is_what_was_decided:
            log.error("candidate_code_changed", candidate=candidate.id)
            return None
        return files

    async def next_version(self, app_id: str, component_id: str, kind: Kind = "jit") -> int:
        """The version the next promoted candidate of this kind gets: one above every version there ever was."""
        if kind == "prompt":
            return (
                max([0, *(one.version or 0 for one in self._book.candidates(app_id, component_id) if one.is_prompt)])
                + 1
            )
        try:
            entries = await self._state.list_definition_directory(app_id, f"_jit_code/{component_id}")
        except NotFound:  # the component never had a handler
            entries = []
        versions = [version_named(entry.path.rsplit("/", 1)[-1]) or 0 for entry in entries]
        decided = [one.version or 0 for one in self._book.candidates(app_id, component_id) if not one.is_prompt]
        return max([0, *versions, *decided]) + 1

    async def reconcile(self, app_id: str, component_id: str) -> None:
        """Make the component's registry entry point where its candidates' states say. Does nothing when it does."""
        async with self._locks[app_id, component_id]:
            await self._reconcile(app_id, component_id)

    async def _reconcile(self, app_id: str, component_id: str) -> None:
        if (present := self._present(app_id, component_id)) is not None:
            await self._reconcile_prompt(*present)
        if (present := self._present(app_id, component_id)) is None:  # the prompt may be one commit on
            return
        app, component = present
        handlers = [one for one in self._book.candidates(app_id, component_id) if not one.is_prompt]
        serving = [one for one in handlers if one.state is S.PROMOTED]
        artifact = component.handler_artifact if component.definition.handler_type is HandlerType.JIT else None
        try:
            if serving:
                if artifact is None or artifact.sha256 != serving[0].code_sha:
                    await self._switch_to_handler(serving[0], base=app.revision)
            elif artifact is not None and component.handler_version is not None:
                for one in handlers:
                    if one.code_sha == artifact.sha256 and one.state in _OUT_OF_SERVICE:
                        await self._switch_to_prompt(one, base=app.revision)
                        break
        except UhlpError as error:  # the next cycle tries again; the rollout table is right already
            log.warning("promotion_commit_failed", app_id=app_id, component_id=component_id, why=error.message)

    def _present(self, app_id: str, component_id: str) -> tuple[AppSnapshot, ComponentSnapshot] | None:
        """The component as it is in service; None when it is not."""
        if app_id not in self._registry.app_ids():
            return None
        app = self._registry.snapshot(app_id)
        component = app.components.get(component_id)
        return None if component is None else (app, component)

    async def _reconcile_prompt(self, app: AppSnapshot, component: ComponentSnapshot) -> None:
        app_id, component_id = app.app_id, component.definition.component_id
        shorter = [one for one in self._book.candidates(app_id, component_id) if one.is_prompt]
        candidate = self._prompts.newest(shorter, component) if shorter else None
        if candidate is None:
            return
        try:
            files = await self.kept(candidate)
            if files is None:
                log.error("promoted_prompt_missing", candidate=candidate.id)
                return
            await self._prompts.reconcile(candidate, files, app, component)
        except UhlpError as error:  # as below
            log.warning("overrides_not_written", app_id=app_id, component_id=component_id, why=error.message)

    async def _switch_to_handler(self, candidate: Candidate, *, base: str) -> None:
        kept = await self.code_of(candidate)
        if kept is None or candidate.version is None:
            log.error("promoted_code_missing", candidate=candidate.id)
            return
        code, tests, record = kept
        directory = f"_jit_code/{candidate.component_id}/v{candidate.version}"
        record = {
            **{name: value for name, value in record.items() if name != "trained"},
            "candidate": candidate.id,
            "version": candidate.version,
            "specHash": candidate.spec_hash,
            "codeSha": candidate.code_sha,
            "attempt": candidate.attempt,
            "approver": candidate.approved_by,
            "promotedBecause": candidate.reason,
            "statistics": {
                "n": candidate.evidence.get("n"),
                "k": candidate.evidence.get("k"),
                "coverage": candidate.figures.coverage,
                "agreement": candidate.figures.agreement,
            },
            "drafts": [{"sha": draft.sha, "stage": draft.stage, "reason": draft.reason} for draft in candidate.drafts],
        }
        await self._registry.switch_to_handler(
            candidate.app_id,
            candidate.component_id,
            candidate.version,
            {
                f"{directory}/handler.py": code.encode(),
                f"{directory}/test_handler.py": tests.encode(),
                f"{directory}/record.json": orjson.dumps(record, option=_READABLE) + b"\n",
            },
            message=f"Serve {candidate.component_id} with handler v{candidate.version}\n\n{candidate.reason}",
            actor=_AUTHOR,
            trailers=_trailers(candidate, "promote"),
            expected_spec_hash=candidate.spec_hash,
            expected_base_revision=base,
        )

    async def _switch_to_prompt(self, candidate: Candidate, *, base: str) -> None:
        await self._registry.switch_to_prompt(
            candidate.app_id,
            candidate.component_id,
            message=f"Give {candidate.component_id} back to the model\n\n{candidate.reason}",
            actor=_AUTHOR,
            trailers=_trailers(candidate, "roll-back"),
            expected_base_revision=base,
        )


def _trailers(candidate: Candidate, decision: str) -> dict[str, str]:
    return {"Component": candidate.component_id, "Candidate": candidate.id, "Decision": decision}

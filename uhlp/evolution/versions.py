"""ComponentVersions: everything that ever answered for a component, who put it there and why, and the way back to it.

A version is a handler that was promoted (`v3`) or a revision of the component's prompt (`prompt@1f2e3d4c5b6a`): of its
file, or of its overrides under `stable`, where shorter prompts are promoted to.
Handlers are the ledger's: candidate, figures at promotion, who decided. Prompts are their owner's: git says who and
when.
"""

from collections import defaultdict
from dataclasses import dataclass
from difflib import unified_diff
from typing import Any

from uhlp.clock import Clock
from uhlp.errors import ComponentNotFound, DefinitionFileNotFound, NotFound, StateConflict
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate import Candidate, CandidateState
from uhlp.evolution.promotion import Promotion, version_named
from uhlp.evolution.returning import Returning
from uhlp.evolution.store import EvolutionStore
from uhlp.models.definition import HandlerType
from uhlp.prompts import Prompt
from uhlp.prompts.overrides import PromptDescriptor
from uhlp.prompts.overrides.git_documents import override_path
from uhlp.prompts.overrides.override_set import STABLE, override_id
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.registry.snapshot import ComponentSnapshot
from uhlp.state.definition_repository import Commit
from uhlp.state.state_manager import StateManager

SHOWN = 50
"""Handlers, and revisions of a prompt: there are ever more."""
_SHORT = 12
Times = tuple[float, float | None]


@dataclass(frozen=True, slots=True)
class Service:
    """A time in full service, and how it ended; `until` None: it lasts. Epoch seconds."""

    since: float
    until: float | None
    actor: str
    reason: str
    evidence: dict[str, Any]
    event: str
    ended_as: str | None = None
    ended_by: str | None = None
    end_reason: str | None = None


class ComponentVersions:
    """Versions of components, newest first; `return_to` is the way back."""

    def __init__(
        self,
        *,
        book: CandidateBook,
        store: EvolutionStore,
        promotion: Promotion,
        returning: Returning,
        app_registry: ApplicationRegistry,
        state_manager: StateManager,
        clock: Clock,
    ) -> None:
        self._book = book
        self._store = store
        self._promotion = promotion
        self._returning = returning
        self._registry = app_registry
        self._state = state_manager
        self._clock = clock

    async def listed(self, app_id: str, component_id: str, limit: int = SHOWN) -> dict[str, Any]:
        """{appId, componentId, inService, versions, areVersionsLeftOut}: the newest `limit` handlers, and the one in
        service, then the newest `limit` revisions of the prompt."""
        component = self._component(app_id, component_id)
        known = [one for one in self._book.candidates(app_id, component_id) if one.version and not one.is_prompt]
        known.sort(key=lambda one: one.version or 0, reverse=True)
        handlers = [*known[:limit], *(one for one in known[limit:] if one.state is CandidateState.PROMOTED)]
        revisions = await self._state.newest_changes(
            app_id, f"_jit_code/{component_id}", [f"v{one.version}" for one in handlers]
        )
        services = await self._services(app_id, component_id)
        commits = await self._prompt_commits(app_id, component, limit + 1)
        in_service = self._in_service(app_id, component, commits)
        versions = [
            await self._handler(one, services.get(one.id, []), revisions.get(f"v{one.version}"), component)
            for one in handlers
        ]
        served = [service for one in known for service in services.get(one.id, ())]
        versions += self._prompts(commits[:limit], served)
        for version in versions:
            version["isInService"] = version["version"] == in_service
        return {
            "appId": app_id,
            "componentId": component_id,
            "inService": in_service,
            "versions": versions,
            "areVersionsLeftOut": len(known) > len(handlers) or len(commits) > limit,
        }

    async def diff(self, app_id: str, component_id: str, old: str, new: str) -> str:
        """What changed in the text (a handler's code, a prompt's file) from one version to another, as `diff -u`."""
        before = (await self._text(app_id, component_id, old)).splitlines(keepends=True)
        after = (await self._text(app_id, component_id, new)).splitlines(keepends=True)
        return "".join(
            line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
            for line in unified_diff(before, after, fromfile=old, tofile=new)
        )

    async def return_to(self, app_id: str, component_id: str, to: str, *, actor: str, reason: str) -> dict[str, Any]:
        """Put a version into service again: `prompt`, `v2`, or a revision (what was in service there). The ledger is
        written first. StateConflict says why a version must not serve; NotFound that there is none such.
        """
        self._component(app_id, component_id)
        await self._returning.return_to(app_id, component_id, to, actor=actor, reason=reason)
        component = self._component(app_id, component_id)
        commits = await self._prompt_commits(app_id, component, 1)
        return {
            "appId": app_id,
            "componentId": component_id,
            "inService": self._in_service(app_id, component, commits),
            "revision": self._registry.snapshot(app_id).revision,
        }

    def _component(self, app_id: str, component_id: str) -> ComponentSnapshot:
        component = self._registry.snapshot(app_id).components.get(component_id)
        if component is None:
            raise ComponentNotFound(f"{app_id} has no component {component_id!r}.")
        return component

    def _in_service(self, app_id: str, component: ComponentSnapshot, commits: list[Commit]) -> str | None:
        """By name; None for a handler that its owner wrote, which has no version."""
        component_id = component.definition.component_id
        in_service = self._book.in_service(app_id, component_id)
        if in_service is not None:
            return f"v{in_service.version}"
        if component.definition.handler_type is HandlerType.JIT:
            return None if component.handler_version is None else f"v{component.handler_version}"
        return _prompt_name(commits[0].revision) if commits else None

    async def _prompt_commits(self, app_id: str, component: ComponentSnapshot, limit: int) -> list[Commit]:
        if component.prompt is None:
            return []
        commits = await self._state.history(app_id, component.prompt.path, limit)
        commits += await self._state.history(app_id, _stable_path(app_id, component.prompt), limit)
        return sorted(commits, key=lambda one: one.when, reverse=True)[:limit]

    async def _services(self, app_id: str, component_id: str) -> dict[str, list[Service]]:
        """The times in full service by candidate, oldest first, from the ledger."""
        by_candidate: dict[str, list[Service]] = defaultdict(list)
        for sealed in await self._store.entries_of_service(app_id, component_id):
            entry = sealed.entry
            found = by_candidate[entry.candidate_id or ""]
            if entry.from_state == entry.to_state:
                continue
            if entry.to_state == CandidateState.PROMOTED:
                found.append(Service(entry.ts, None, entry.actor, entry.reason, dict(entry.evidence), str(entry.event)))
            elif entry.from_state == CandidateState.PROMOTED and found:
                began = found.pop()
                found.append(
                    Service(
                        began.since, entry.ts, began.actor, began.reason, began.evidence, began.event,
                        ended_as=entry.to_state, ended_by=entry.actor, end_reason=entry.reason,
                    )
                )  # fmt: skip
        return by_candidate

    async def _handler(
        self, candidate: Candidate, services: list[Service], revision: str | None, component: ComponentSnapshot
    ) -> dict[str, Any]:
        why_not = await self._returning.why_not(candidate, component)
        first = services[0] if services else None
        return {
            "version": f"v{candidate.version}",
            "kind": "handler",
            "revision": revision,
            "at": first.since if first else None,
            "actor": first.actor if first else None,
            "reason": first.reason if first else None,
            "candidateId": candidate.id,
            "proposer": candidate.proposer,
            "codeSha": candidate.code_sha,
            "specHash": candidate.spec_hash,
            "statistics": first.evidence if first else {},
            "services": [
                {
                    "from": one.since, "until": one.until, "actor": one.actor, "reason": one.reason,
                    "event": one.event, "evidence": one.evidence,
                    "endedAs": one.ended_as, "endedBy": one.ended_by, "endReason": one.end_reason,
                }
                for one in services
            ],
            "inServiceS": _seconds([(one.since, one.until) for one in services], self._clock.now()),
            "whyNotAgain": why_not,
        }  # fmt: skip

    def _prompts(self, commits: list[Commit], served: list[Service]) -> list[dict[str, Any]]:
        """A revision answered from its commit to the next one, but for the time that a handler did."""
        now, made = self._clock.now(), []
        until: float | None = None
        for commit in commits:
            times: list[Times] = [(commit.when, until)]
            for service in served:
                times = [part for one in times for part in _without(one, service)]
            made.append(
                {
                    "version": _prompt_name(commit.revision),
                    "kind": "prompt",
                    "revision": commit.revision,
                    "at": commit.when,
                    "actor": commit.author,
                    "reason": commit.message.partition("\n\n")[0].strip(),
                    "candidateId": commit.trailers.get("Candidate"),
                    "statistics": {},
                    "services": [{"from": since, "until": end} for since, end in times],
                    "inServiceS": _seconds(times, now),
                    "whyNotAgain": None,
                }
            )
            until = commit.when
        return made

    async def _text(self, app_id: str, component_id: str, version: str) -> str:
        component = self._component(app_id, component_id)
        if (number := version_named(version)) is not None:
            candidate = self._returning.candidate_of(app_id, component_id, number)
            kept = await self._promotion.code_of(candidate)
            if kept is None:
                raise StateConflict(f"The code of {version} is no longer what the ledger names.")
            return kept[0]
        if component.prompt is None:
            raise NotFound(f"{component_id} has no prompt.")
        revision = version.removeprefix("prompt").removeprefix("@") or None
        text = (await self._state.get_definition_file_content(app_id, component.prompt.path, revision)).content
        path = _stable_path(app_id, component.prompt)
        try:
            overrides = await self._state.get_definition_file_content(app_id, path, revision)
        except DefinitionFileNotFound:
            return text
        return f"{text}\n# {path}\n{overrides.content}"


def _stable_path(app_id: str, prompt: Prompt) -> str:
    """Where its overrides in service stand."""
    return override_path(override_id(app_id, PromptDescriptor.of(app_id, prompt).key, STABLE))


def _prompt_name(revision: str) -> str:
    return f"prompt@{revision[:_SHORT]}"


def _seconds(times: list[Times], now: float) -> float:
    return sum((now if until is None else until) - since for since, until in times)


def _without(times: Times, service: Service) -> list[Times]:
    """`times` without the time that a handler was in service."""
    since, until = times
    parts: list[Times] = []
    if service.since > since:
        parts.append((since, service.since if until is None else min(until, service.since)))
    if service.until is not None and (until is None or service.until < until):
        parts.append((max(since, service.until), until))
    return parts

"""PromptOverridesStore: override sets of prompts, changed as a whole or not at all (seed 004)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import unified_diff
from typing import Any, Final

from uhlp.clock import Clock
from uhlp.errors import OverrideConflict, OverrideNotFound, OverrideRefused, ValidationFailed
from uhlp.models.faults import did_you_mean
from uhlp.prompts.overrides.override_documents import ChangeNote, OverrideDocuments
from uhlp.prompts.overrides.override_set import (
    SOURCE,
    STABLE,
    KeptSection,
    OverrideId,
    OverrideSet,
    SectionOverride,
    override_id,
)
from uhlp.prompts.overrides.prompt_descriptor import PromptDescriptor
from uhlp.prompts.overrides.resolution import Layer, ResolvedPrompt, resolve_layers
from uhlp.prompts.overrides.write_checks import check_override, check_whole

ANY_REVISION: Final = "*"
"""As `expected_revision`: whatever stands there now."""

MOST_LAYERS = 8
_TRIES = 5
_MOST_TOLD = 10


@dataclass(frozen=True, slots=True)
class PlannedSet:
    """A set that is not written yet, and the prompt as it would make it."""

    overrides: OverrideSet
    resolved: ResolvedPrompt


class PromptOverridesStore:
    """What resolves, checks and changes override sets; the store of the bytes is `documents`.

    A tag resolves to the prompt's file, on it the chain of its parents, on that itself.
    """

    def __init__(self, *, documents: OverrideDocuments, clock: Clock) -> None:
        self._documents = documents
        self._clock = clock

    async def get(self, *, ns: str, prompt_key: str, tag: str) -> OverrideSet | None:
        """The set under a tag; None when there is none, or its time is over."""
        return self._living((await self._documents.read(override_id(ns, prompt_key, tag))).overrides)

    async def list(self, *, ns: str, prompt_key: str | None = None) -> Sequence[OverrideId]:
        """The sets of an application, or of one of its prompts."""
        return await self._documents.identities(ns, prompt_key)

    async def history(self, *, ns: str, prompt_key: str, tag: str, limit: int = 20) -> Sequence[OverrideSet]:
        """The set and the ones before it, newest first."""
        return await self._documents.history(override_id(ns, prompt_key, tag), limit)

    async def store(self, prompt: PromptDescriptor, override: SectionOverride, *, tag: str = STABLE) -> OverrideSet:
        """Put one override into a set, whatever else is in it (seed 004)."""
        return await self.put(prompt, [override], tag=tag)

    async def put(
        self,
        prompt: PromptDescriptor,
        overrides: Sequence[SectionOverride],
        *,
        tag: str = STABLE,
        parent: str | None = None,
        expected_revision: str | None = ANY_REVISION,
        ttl_s: float | None = None,
        provenance: Mapping[str, Any] | None = None,
        note: ChangeNote | None = None,
    ) -> OverrideSet:
        """Add `overrides` to the set under `tag`, all or none; the resulting set.

        A new set gets `parent`; one that is there keeps its own. `expected_revision` None: there must be none yet.
        OverrideConflict when it is another one, OverrideRefused when a check says no (write_checks).
        """
        identity = override_id(prompt.ns, prompt.key, tag)
        if not overrides or len({one.key for one in overrides}) != len(overrides):
            raise ValidationFailed("Give at least one override, and one for each section.")
        if identity.is_temporary and ttl_s is None:
            raise ValidationFailed(f"A set under a tag that begins with opt- is temporary: {tag} needs a time limit.")
        note = note or ChangeNote(f"Override {prompt.key} under {tag}")
        for _ in range(_TRIES):
            held = await self._documents.read(identity)
            present = self._living(held.overrides)
            _expect(identity, present, expected_revision)
            resulting = await self._with(prompt, identity, present, overrides, parent, ttl_s, provenance or {})
            if await self._documents.swap(identity, held, resulting, note):
                return resulting
        raise OverrideConflict(f"The overrides of {'/'.join(identity)} keep changing: repeat the change later.")

    async def planned(
        self,
        prompt: PromptDescriptor,
        overrides: Sequence[SectionOverride],
        *,
        tag: str = STABLE,
        provenance: Mapping[str, Any] | None = None,
    ) -> PlannedSet:
        """What `put` would make of the set under `tag`, and the prompt as that has it; nothing is written."""
        identity = override_id(prompt.ns, prompt.key, tag)
        present = self._living((await self._documents.read(identity)).overrides)
        resulting = await self._with(prompt, identity, present, overrides, None, None, provenance or {})
        parent = resulting.parent
        layers = [] if parent is None else await self._layers(identity._replace(tag=parent), strict=True)
        return PlannedSet(resulting, resolve_layers(prompt.prompt, tag, [*layers, Layer(tag, resulting)]))

    async def copy(
        self,
        prompt: PromptDescriptor,
        *,
        tag: str,
        to_tag: str,
        expected_revision: str | None = None,
        ttl_s: float | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> OverrideSet:
        """The set under `tag` under `to_tag` too, with its parent. Without another word there must be none yet."""
        source = await self._present(override_id(prompt.ns, prompt.key, tag))
        identity = override_id(prompt.ns, prompt.key, to_tag)
        await self._layers_below(identity, source.parent)
        now = self._clock.now()
        copied = source.model_copy(
            update={
                "created_at": now,
                "expires_at": None if ttl_s is None else now + ttl_s,
                "provenance": {"copiedFrom": tag, **(provenance or {})},
            }
        )
        for _ in range(_TRIES):
            held = await self._documents.read(identity)
            _expect(identity, self._living(held.overrides), expected_revision)
            if await self._documents.swap(identity, held, copied, ChangeNote(f"Copy {prompt.key}@{tag} to {to_tag}")):
                return copied
        raise OverrideConflict(f"The overrides of {'/'.join(identity)} keep changing: repeat the change later.")

    async def delete(
        self,
        *,
        ns: str,
        prompt_key: str,
        tag: str,
        expected_revision: str | None = ANY_REVISION,
        note: ChangeNote | None = None,
    ) -> bool:
        """Remove a set; False when there was none."""
        identity = override_id(ns, prompt_key, tag)
        for _ in range(_TRIES):
            held = await self._documents.read(identity)
            if expected_revision != ANY_REVISION:
                _expect(identity, self._living(held.overrides), expected_revision)
            if held.overrides is None:
                return False
            note = note or ChangeNote(f"Remove the overrides of {prompt_key} under {tag}")
            if await self._documents.swap(identity, held, None, note):
                return True
        raise OverrideConflict(f"The overrides of {'/'.join(identity)} keep changing: repeat the change later.")

    async def restore(
        self,
        prompt: PromptDescriptor,
        *,
        tag: str,
        revision: str | None,
        expected_revision: str | None = ANY_REVISION,
        note: ChangeNote | None = None,
    ) -> OverrideSet | None:
        """Put an earlier set of this tag back, as it was; None: remove the set. Sections that are stale by now stay
        passed over. OverrideNotFound when the history does not hold the revision.
        """
        if revision is None:
            await self.delete(
                ns=prompt.ns, prompt_key=prompt.key, tag=tag, expected_revision=expected_revision, note=note
            )
            return None
        identity = override_id(prompt.ns, prompt.key, tag)
        earlier = next((one for one in await self._documents.history(identity, 100) if one.revision == revision), None)
        if earlier is None:
            raise OverrideNotFound(f"The history of {'/'.join(identity)} holds no revision {revision}.")
        await self._layers_below(identity, earlier.parent)
        note = note or ChangeNote(f"Restore the overrides of {prompt.key} under {tag} at {revision}")
        for _ in range(_TRIES):
            held = await self._documents.read(identity)
            _expect(identity, self._living(held.overrides), expected_revision)
            if await self._documents.swap(identity, held, earlier, note):
                return earlier
        raise OverrideConflict(f"The overrides of {'/'.join(identity)} keep changing: repeat the change later.")

    async def resolve(self, prompt: PromptDescriptor, tag: str, *, strict: bool = True) -> ResolvedPrompt:
        """The prompt as `tag` has it. Strict, as experiments ask for it, a tag that is not there (`stable` needs no
        set) and a stale section are errors; otherwise the set, or the section, is passed over.
        """
        layers = await self._layers(override_id(prompt.ns, prompt.key, tag), strict=strict)
        resolved = resolve_layers(prompt.prompt, tag, layers)
        if strict and resolved.stale:
            raise OverrideConflict(
                f"{prompt.key}@{tag} overrides another body of {', '.join(resolved.stale)} than the one that is there.",
                details={"sections": list(resolved.stale)},
            )
        return resolved

    async def diff(self, prompt: PromptDescriptor, tag: str, other_tag: str) -> str:
        """What changes from one tag to the other, section by section, as a unified diff; empty: nothing. `source` is
        the prompt's file. OverrideNotFound: nothing stands under one of them."""
        for each in (tag, other_tag):
            await self._expect_known(prompt, each)
        before, after = (
            await self.resolve(prompt, tag, strict=False),
            await self.resolve(prompt, other_tag, strict=False),
        )
        lines: list[str] = []
        for one, other in zip(before.prompt.sections, after.prompt.sections, strict=True):
            lines += unified_diff(
                one.body.splitlines(),
                other.body.splitlines(),
                f"{prompt.key}@{tag}#{one.key}",
                f"{prompt.key}@{other_tag}#{other.key}",
                lineterm="",
            )
        return "\n".join(lines)

    async def _with(
        self,
        prompt: PromptDescriptor,
        identity: OverrideId,
        present: OverrideSet | None,
        overrides: Sequence[SectionOverride],
        parent: str | None,
        ttl_s: float | None,
        provenance: Mapping[str, Any],
    ) -> OverrideSet:
        if present is not None and parent not in (None, present.parent):
            raise OverrideRefused(
                f"{identity.tag} is there and stands on {present.parent or 'the file'}: remove it, or leave parent out."
            )
        parent = parent if present is None else present.parent
        layers = await self._layers_below(identity, parent)
        if any(one.tag == identity.tag for one in layers):
            raise OverrideRefused(f"{parent} stands on {identity.tag}, which cannot stand on it.")
        if len(layers) + 1 > MOST_LAYERS:
            raise OverrideRefused(f"A tag stands on at most {MOST_LAYERS - 1} others.")
        below = {one.key: one for one in resolve_layers(prompt.prompt, parent or "", layers).prompt.sections}
        now = resolve_layers(
            prompt.prompt, identity.tag, [*layers, *([Layer(identity.tag, present)] if present else [])]
        )
        own = {one.key: one for one in now.prompt.sections}
        sections = {} if present is None else dict(present.sections)
        for override in overrides:
            section = below.get(override.key)
            replaced = own.get(override.key)
            if replaced is not None and override.expected_hash == replaced.sha256:
                section = replaced  # what was read is the set's own body: the new one takes its place
            check_override(override, section)
            sections[override.key] = KeptSection(expected_hash=below[override.key].sha256, body=override.body)
        at = self._clock.now()
        resulting = OverrideSet(
            parent=parent,
            created_at=at,
            expires_at=None if ttl_s is None else at + ttl_s,
            provenance=dict(provenance),
            sections=sections,
        )
        check_whole(
            resolve_layers(prompt.prompt, identity.tag, [*layers, Layer(identity.tag, resulting)]).prompt, prompt.prompt
        )
        return resulting

    async def _layers_below(self, identity: OverrideId, parent: str | None) -> Sequence[Layer]:
        """The chain that a set under `identity` would stand on. Raises OverrideRefused, ValidationFailed."""
        if parent is None:
            return []
        if parent == identity.tag:
            raise OverrideRefused(f"{parent} cannot be its own parent.")
        try:
            return await self._layers(override_id(identity.ns, identity.key, parent), strict=True)
        except OverrideNotFound as error:
            told = f"{identity.tag} cannot stand on {parent}: {error.message} Put that one first, or leave parent out."
            raise OverrideRefused(told) from None

    async def _layers(self, identity: OverrideId, *, strict: bool) -> Sequence[Layer]:
        """The chain of a tag, its outermost parent first."""
        layers: list[Layer] = []
        tag: str | None = identity.tag
        while tag is not None:
            if any(one.tag == tag for one in layers) or len(layers) == MOST_LAYERS:
                if strict:
                    raise OverrideConflict(f"The parents of {identity.tag} do not end.")
                break
            present = self._living((await self._documents.read(identity._replace(tag=tag))).overrides)
            if present is None:
                if strict and tag != STABLE:
                    raise OverrideNotFound(f"{identity.key} has no overrides under the tag {tag}.")
                break
            layers.append(Layer(tag, present))
            tag = present.parent
        return layers[::-1]

    async def _expect_known(self, prompt: PromptDescriptor, tag: str) -> None:
        if tag in (SOURCE, STABLE) or await self.get(ns=prompt.ns, prompt_key=prompt.key, tag=tag) is not None:
            return
        sets = await self.list(ns=prompt.ns, prompt_key=prompt.key)
        known = [SOURCE, *sorted({STABLE, *(one.tag for one in sets)} - {tag})]
        told = did_you_mean(tag, known) or f"; there are {', '.join(known[:_MOST_TOLD])}"
        raise OverrideNotFound(f"{prompt.key} has no overrides under the tag {tag}{told}")

    async def _present(self, identity: OverrideId) -> OverrideSet:
        present = self._living((await self._documents.read(identity)).overrides)
        if present is None:
            raise OverrideNotFound(f"{identity.key} has no overrides under the tag {identity.tag}.")
        return present

    def _living(self, overrides: OverrideSet | None) -> OverrideSet | None:
        return None if overrides is None or overrides.is_over(self._clock.now()) else overrides


def _expect(identity: OverrideId, present: OverrideSet | None, expected: str | None) -> None:
    found = None if present is None else present.revision
    if expected not in (ANY_REVISION, found):
        raise OverrideConflict(
            f"The overrides of {'/'.join(identity)} are at revision {found}, not {expected}: read them again.",
            details={"expectedRevision": expected, "currentRevision": found},
        )

"""apply_modifications: an accepted report becomes a set of overrides (seed 004)."""

from collections.abc import Mapping, Sequence
from typing import Any

from uhlp.errors import ValidationFailed
from uhlp.optimization.compress.optimization_report import Modification
from uhlp.prompts.overrides import ANY_REVISION, OverrideSet, PromptDescriptor, PromptOverridesStore, SectionOverride
from uhlp.prompts.overrides.override_documents import ChangeNote


async def apply_modifications(
    store: PromptOverridesStore,
    prompt: PromptDescriptor,
    modifications: Sequence[Modification],
    *,
    tag: str = "stable",
    expected_revision: str | None = ANY_REVISION,
    provenance: Mapping[str, Any] | None = None,
    note: ChangeNote | None = None,
    ttl_s: float | None = None,
    parent: str | None = None,
) -> OverrideSet:
    """Put all modifications into the set under `tag`, in one compare-and-set change; the set as it is then.

    The set before it is in the store's history: `PromptOverridesStore.restore` is the way back.
    """
    if not modifications:
        raise ValidationFailed("There are no modifications to apply.")
    return await store.put(
        prompt,
        [
            SectionOverride(path=one.section_path, expected_hash=one.original_hash, body=one.proposed_body)
            for one in modifications
        ],
        tag=tag,
        parent=parent,
        expected_revision=expected_revision,
        provenance=provenance,
        note=note or ChangeNote(f"Shorten {prompt.key}"),
        ttl_s=ttl_s,
    )

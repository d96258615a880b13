"""apply_modifications: an accepted report becomes a set of overrides (seed 004)."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from uhlp.errors import Conflict, OverrideConflict, ValidationFailed
from uhlp.optimization.compress.optimization_report import Modification, OptimizationReport
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
        overrides_of(modifications),
        tag=tag,
        parent=parent,
        expected_revision=expected_revision,
        provenance=provenance,
        note=note or ChangeNote(f"Shorten {prompt.key}"),
        ttl_s=ttl_s,
    )


async def apply_report(
    store: PromptOverridesStore,
    prompt: PromptDescriptor,
    report: OptimizationReport,
    *,
    tag: str,
    output_schema: Mapping[str, Any] | None,
    provenance: Mapping[str, Any] | None = None,
    note: ChangeNote | None = None,
) -> OverrideSet:
    """Put what a report has certified under `tag`. `output_schema` is that of the component which it was measured with.

    Raises Conflict where nothing was certified, OverrideConflict where the prompt under that tag is not the one which
    was measured, or would not become the one that was.
    """
    if not report.modifications:
        raise Conflict(f"The report has nothing to apply: {report.verdict}{': ' * bool(report.reason)}{report.reason}.")
    present = await store.get(ns=prompt.ns, prompt_key=prompt.key, tag=tag)
    now = await store.resolve(prompt, tag, strict=True)
    planned = await store.planned(prompt, overrides_of(report.modifications), tag=tag)
    digests = [sha256(one.prompt.artifact(output_schema)).hexdigest() for one in (now, planned.resolved)]
    if digests != [report.baseline_digest, report.candidate_digest]:
        raise OverrideConflict(f"{prompt.key}@{tag} is not the prompt that the report is about any more: try it again.")
    return await apply_modifications(
        store,
        prompt,
        report.modifications,
        tag=tag,
        expected_revision=None if present is None else present.revision,
        provenance=provenance,
        note=note,
    )


def overrides_of(modifications: Sequence[Modification]) -> list[SectionOverride]:
    """What modifications put in the place of sections."""
    return [
        SectionOverride(path=one.section_path, expected_hash=one.original_hash, body=one.proposed_body)
        for one in modifications
    ]

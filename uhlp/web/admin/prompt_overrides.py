"""Overrides of prompts: sets by tag, with what they change, their history and the way back (contracts §7)."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from uhlp.errors import OverrideNotFound
from uhlp.models.wire import WireModel
from uhlp.prompts.overrides import ANY_REVISION, OverrideSet, PromptDescriptor, SectionOverride
from uhlp.prompts.overrides.override_documents import ChangeNote
from uhlp.web.admin.access import ActorDep, ServicesDep
from uhlp.web.admin.kept_text import KeptText
from uhlp.web.services import Services

router = APIRouter(prefix="/apps/{app_id}/prompts/{name}/overrides", tags=["overrides"])


class PutOverrides(WireModel):
    """All are put or none. `expectedRevision` null: there must be no set yet; left out: whatever is there."""

    tag: str = "stable"
    overrides: Annotated[tuple[SectionOverride, ...], Field(min_length=1, max_length=200)]
    parent: str | None = None
    expected_revision: str | None = ANY_REVISION
    ttl_s: Annotated[float, Field(gt=0, le=30 * 86_400)] | None = None
    reason: KeptText = "put by hand"


class RestoreOverrides(WireModel):
    """`revision` null: no set, as it was before the first one."""

    revision: str | None
    expected_revision: str | None = ANY_REVISION
    reason: KeptText = "restored by hand"


@router.get("")
async def list_overrides(app_id: str, name: str, services: ServicesDep) -> dict[str, Any]:
    """The prompt's sections as its file has them, and every set of overrides with the sections it changes."""
    prompt = services.prompts.get(app_id, name)
    sets = []
    for identity in await services.overrides.list(ns=app_id, prompt_key=name):
        found = await services.overrides.get(ns=app_id, prompt_key=name, tag=identity.tag)
        if found is not None:
            sets.append(await _described(services, prompt, identity.tag, found))
    sections = [
        {"key": one.key, "sha256": one.sha256, "compressible": one.compressible, "body": one.body}
        for one in prompt.sections
    ]
    return {"prompt": name, "sections": sections, "sets": sets}


@router.post("")
async def put_overrides(
    app_id: str, name: str, body: PutOverrides, services: ServicesDep, actor: ActorDep
) -> dict[str, Any]:
    """Put other bodies in the place of sections. Under `stable` they serve from now on, as one commit."""
    prompt = services.prompts.get(app_id, name)
    put = await services.overrides.put(
        prompt,
        body.overrides,
        tag=body.tag,
        parent=body.parent,
        expected_revision=body.expected_revision,
        ttl_s=body.ttl_s,
        provenance={"actor": actor, "reason": body.reason},
        note=ChangeNote(f"Override {name} under {body.tag}\n\n{body.reason}", actor),
    )
    return await _described(services, prompt, body.tag, put)


@router.get("/diff")
async def diff_overrides(
    app_id: str,
    name: str,
    services: ServicesDep,
    from_tag: Annotated[str, Query(alias="from", max_length=64)] = "source",
    to_tag: Annotated[str, Query(alias="to", max_length=64)] = "stable",
) -> dict[str, Any]:
    """What changes from one tag to the other, section by section; `source` is the prompt's file."""
    prompt = services.prompts.get(app_id, name)
    return {"from": from_tag, "to": to_tag, "diff": await services.overrides.diff(prompt, from_tag, to_tag)}


@router.get("/{tag}/history")
async def override_history(app_id: str, name: str, tag: str, services: ServicesDep) -> dict[str, Any]:
    """The set and the ones before it, newest first."""
    prompt = services.prompts.get(app_id, name)
    found = await services.overrides.history(ns=app_id, prompt_key=prompt.key, tag=tag)
    return {"tag": tag, "versions": [{"revision": one.revision, **_wire(one)} for one in found]}


@router.post("/{tag}/restore")
async def restore_overrides(
    app_id: str, name: str, tag: str, body: RestoreOverrides, services: ServicesDep, actor: ActorDep
) -> dict[str, Any]:
    """Put an earlier set back, as it was."""
    prompt = services.prompts.get(app_id, name)
    restored = await services.overrides.restore(
        prompt,
        tag=tag,
        revision=body.revision,
        expected_revision=body.expected_revision,
        note=ChangeNote(f"Restore the overrides of {name} under {tag}\n\n{body.reason}", actor),
    )
    return {"tag": tag, "revision": None if restored is None else restored.revision}


@router.delete("/{tag}")
async def delete_overrides(
    app_id: str,
    name: str,
    tag: str,
    services: ServicesDep,
    actor: ActorDep,
    expected_revision: Annotated[str, Query(alias="expectedRevision", max_length=64)] = ANY_REVISION,
) -> dict[str, Any]:
    """Remove a set; what it overrode is as its parent, or the prompt's file, has it."""
    prompt = services.prompts.get(app_id, name)
    note = ChangeNote(f"Remove the overrides of {name} under {tag}", actor)
    if not await services.overrides.delete(
        ns=app_id, prompt_key=prompt.key, tag=tag, expected_revision=expected_revision, note=note
    ):
        raise OverrideNotFound(f"{name} has no overrides under the tag {tag}.")
    return {"tag": tag, "revision": None}


async def _described(services: Services, prompt: PromptDescriptor, tag: str, found: OverrideSet) -> dict[str, Any]:
    resolved = await services.overrides.resolve(prompt, tag, strict=False)
    return {"tag": tag, "revision": found.revision, "stale": list(resolved.stale), **_wire(found)}


def _wire(found: OverrideSet) -> dict[str, Any]:
    wire: dict[str, Any] = found.model_dump(mode="json", by_alias=True)
    return wire

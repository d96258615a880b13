"""The overrides in service: those of the tag `stable` in the repository, on the prompts they belong to."""

from collections.abc import Mapping
from typing import NamedTuple

from uhlp.errors import DefinitionInvalid, OverrideRefused
from uhlp.prompts import Prompt
from uhlp.prompts.overrides.git_documents import override_of_path, override_path, read_override_file
from uhlp.prompts.overrides.override_set import STABLE, OverrideId, OverrideSet, SectionOverride
from uhlp.prompts.overrides.resolution import Layer, resolve_layers
from uhlp.prompts.overrides.write_checks import check_override, check_whole
from uhlp.registry.definition_files import Files, prompt_path
from uhlp.registry.problems import Problems

_MOST_LAYERS = 8


class OverriddenPrompts(NamedTuple):
    """Prompts by path as they serve, and the sections ("triage/rules") that are overridden for another body."""

    prompts: Mapping[str, Prompt]
    stale: tuple[str, ...]


def overridden_prompts(
    app_id: str, prompts: Mapping[str, Prompt | None], files: Files, problems: Problems
) -> OverriddenPrompts:
    """`prompts` with the overrides under `stable`. What is wrong with an override file goes to `problems`; a stale
    section is none: the prompt's file was changed since, and what it says now holds.
    """
    sets = _sets(app_id, files, problems)
    served = {path: prompt for path, prompt in prompts.items() if prompt is not None}
    stale: list[str] = []
    for identity in sets:
        if identity.tag != STABLE:
            continue
        source = served.get(prompt_path(identity.key))
        if source is None:  # the prompt is gone, or does not parse, which is told
            continue
        layers = _chain(identity, sets, problems)
        resolved = resolve_layers(source, STABLE, layers)
        stale += [f"{identity.key}/{section}" for section in resolved.stale]
        if _is_sound(source, identity, layers, problems):
            served[prompt_path(identity.key)] = resolved.prompt
    return OverriddenPrompts(served, tuple(sorted(stale)))


def _sets(app_id: str, files: Files, problems: Problems) -> dict[OverrideId, OverrideSet]:
    sets = {}
    for file, raw in files.items():
        identity = override_of_path(app_id, file)
        if identity is None:
            continue
        try:
            sets[identity] = read_override_file(raw, path=file)
        except DefinitionInvalid as error:
            problems.take(error, file)
    return sets


def _chain(identity: OverrideId, sets: Mapping[OverrideId, OverrideSet], problems: Problems) -> list[Layer]:
    """The sets of a tag and its parents, the outermost first."""
    layers: list[Layer] = []
    tag: str | None = identity.tag
    while tag is not None:
        at = identity._replace(tag=tag)
        if at not in sets or any(layer.tag == tag for layer in layers) or len(layers) == _MOST_LAYERS:
            problems.add(override_path(identity), f"the parent {tag} is not there, or its parents do not end")
            break
        layers.append(Layer(tag, sets[at]))
        tag = sets[at].parent
    return layers[::-1]


def _is_sound(source: Prompt, identity: OverrideId, layers: list[Layer], problems: Problems) -> bool:
    """Whether every body keeps the parts of the one it takes the place of; people may write these files, too."""
    below = source
    for layer in layers:
        sections = {section.key: section for section in below.sections}
        file = override_path(identity._replace(tag=layer.tag))
        for key, kept in layer.overrides.sections.items():
            section = sections.get(key)
            if section is None or section.sha256 != kept.expected_hash:
                continue
            try:
                check_override(SectionOverride(path=(key,), expected_hash=kept.expected_hash, body=kept.body), section)
            except OverrideRefused as refused:
                problems.add(file, refused.message, path=f"/sections/{key}/body")
                return False
        below = resolve_layers(below, layer.tag, [layer]).prompt
    try:
        check_whole(below, source)
    except OverrideRefused as refused:
        problems.add(override_path(identity), refused.message)
        return False
    return True

"""What an override must keep of the section it takes the place of. It is refused or taken, never repaired."""

from uhlp.errors import OverrideRefused
from uhlp.prompts.overrides.override_set import SectionOverride
from uhlp.prompts.prompt import Prompt, Section
from uhlp.prompts.syntax import TemplateError, parts_of, variables_of

MAX_BODY_CHARS = 65_536


def check_override(override: SectionOverride, section: Section | None) -> None:
    """Raises OverrideRefused: `section`, which it takes the place of, is not there, must not be changed, is another one
    by now, or the new body leaves out or adds a placeholder or a control structure.
    """
    key = override.key
    if section is None:
        raise _refused(key, "there is no such section")
    if not section.compressible:
        raise _refused(key, "the section is marked `compressible: false`")
    if override.expected_hash != section.sha256:
        raise _refused(key, "the section has changed since: read it again")
    if len(override.body) > MAX_BODY_CHARS:
        raise _refused(key, f"the body is longer than {MAX_BODY_CHARS:,} characters")
    if not override.body.strip():
        raise _refused(key, "the body is empty")
    try:
        before, after = parts_of(section.body), parts_of(override.body)
    except TemplateError as error:
        raise _refused(key, f"the body is no template: {error}") from None
    if missing := sorted(before.placeholders - after.placeholders):
        raise _refused(key, f"the body lacks {_shown(missing)}")
    if added := sorted(after.placeholders - before.placeholders):
        raise _refused(key, f"the body adds {_shown(added)}")
    if before.statements != after.statements:
        raise _refused(key, "the body changes the control structures ({% … %})")


def check_whole(changed: Prompt, source: Prompt) -> None:
    """Raises OverrideRefused: with its new bodies the prompt is no template any more, or asks for other variables."""
    try:
        variables = variables_of(changed.text)
    except TemplateError as error:
        raise OverrideRefused(f"With the overrides the prompt is no template: line {error.line}: {error}") from None
    if variables - {"input", "flags"} != source.variables:
        raise OverrideRefused("With the overrides the prompt asks for other variables than its file.")


def _refused(key: str, why: str) -> OverrideRefused:
    return OverrideRefused(f"The override of section {key!r} is refused: {why}.", details={"section": key})


def _shown(placeholders: list[str]) -> str:
    return ", ".join("{{ " + one + " }}" for one in placeholders[:5])

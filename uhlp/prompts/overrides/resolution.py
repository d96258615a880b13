"""Resolution: from a prompt and the chain of its override sets to the text that is really used."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from uhlp.prompts.overrides.override_set import OverrideSet
from uhlp.prompts.prompt import Prompt


@dataclass(frozen=True, slots=True)
class Layer:
    """One set of a chain and its tag."""

    tag: str
    overrides: OverrideSet


@dataclass(frozen=True, slots=True)
class ResolvedPrompt:
    """A prompt as a tag has it. `layers` are (tag, revision) from the outermost parent to the tag itself.

    `stale` sections were overridden for another body than the one that is there now: they are as below that override.
    """

    tag: str
    prompt: Prompt
    layers: tuple[tuple[str, str], ...] = ()
    stale: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of what a runner gets, in hex: two arms of an experiment with equal digests compare nothing."""
        return sha256(self.prompt.artifact()).hexdigest()


def resolve_layers(prompt: Prompt, tag: str, layers: Sequence[Layer]) -> ResolvedPrompt:
    """`prompt` with the sets of `layers` on it, the outermost parent first."""
    resolved = prompt
    stale: list[str] = []
    for layer in layers:
        hashes = {section.key: section.sha256 for section in resolved.sections}
        bodies: dict[str, str] = {}
        for key, kept in layer.overrides.sections.items():
            if hashes.get(key) == kept.expected_hash:
                bodies[key] = kept.body
            else:
                stale.append(key)
        resolved = resolved.with_bodies(bodies)
    return ResolvedPrompt(
        tag, resolved, tuple((one.tag, one.overrides.revision) for one in layers), tuple(dict.fromkeys(stale))
    )

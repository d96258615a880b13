"""Prompt overrides: other bodies for a prompt's sections, kept in sets by tag (seed 004)."""

from uhlp.prompts.overrides.override_set import OverrideId, OverrideSet, SectionOverride
from uhlp.prompts.overrides.prompt_descriptor import PromptDescriptor, PromptRegistry
from uhlp.prompts.overrides.prompt_overrides_store import ANY_REVISION, PromptOverridesStore
from uhlp.prompts.overrides.resolution import ResolvedPrompt

__all__ = [
    "ANY_REVISION",
    "OverrideId",
    "OverrideSet",
    "PromptDescriptor",
    "PromptOverridesStore",
    "PromptRegistry",
    "ResolvedPrompt",
    "SectionOverride",
]

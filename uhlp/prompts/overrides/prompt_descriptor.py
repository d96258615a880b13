"""PromptDescriptor: a prompt with the name that overrides know it by; PromptRegistry finds them (seed 004)."""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

from uhlp.prompts.prompt import Prompt, Section


@dataclass(frozen=True, slots=True)
class PromptDescriptor:
    """`ns` is the application, `key` the name of the prompt's file without `.yaml`; `prompt` as it stands there."""

    ns: str
    key: str
    prompt: Prompt

    @classmethod
    def of(cls, ns: str, prompt: Prompt) -> "PromptDescriptor":
        """A prompt of the application `ns`, named by its file."""
        return cls(ns, PurePosixPath(prompt.path).stem, prompt)

    @property
    def sections(self) -> tuple[Section, ...]:
        return self.prompt.sections


class PromptRegistry(Protocol):
    """Resolves prompt references."""

    def get(self, ns: str, key: str) -> PromptDescriptor:
        """The prompt in service. Raises AppNotFound, PromptNotFound."""
        ...

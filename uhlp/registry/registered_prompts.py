"""RegisteredPrompts: the prompts of applications in service, by application and name (seed 004's PromptRegistry)."""

from uhlp.errors import PromptNotFound
from uhlp.models.faults import did_you_mean
from uhlp.prompts.overrides import PromptDescriptor
from uhlp.registry.snapshot import ComponentSnapshot, Snapshots

_MOST_TOLD = 10


class RegisteredPrompts:
    """Finds prompts that some component runs."""

    def __init__(self, *, registry: Snapshots) -> None:
        self._registry = registry

    def get(self, ns: str, key: str) -> PromptDescriptor:
        """The prompt as its file has it. Raises AppNotFound, PromptNotFound."""
        for component in self.components(ns, key):
            if component.prompt is not None:
                return PromptDescriptor.of(ns, component.prompt)
        components = self._registry.snapshot(ns).components.values()
        names = sorted({PromptDescriptor.of(ns, one.prompt).key for one in components if one.prompt is not None})
        told = did_you_mean(key, names) or f"; there are {', '.join(names[:_MOST_TOLD]) or 'none'}"
        raise PromptNotFound(f"No component of {ns} runs a prompt named {key}{told}")

    def components(self, ns: str, key: str) -> list[ComponentSnapshot]:
        """The components that run this prompt."""
        return [
            component
            for component in self._registry.snapshot(ns).components.values()
            if component.prompt is not None and PromptDescriptor.of(ns, component.prompt).key == key
        ]

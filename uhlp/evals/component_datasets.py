"""ComponentDatasets: what is known to be right of a component, and by what its outputs are judged."""

from typing import Literal

from uhlp.errors import ComponentNotFound, ValidationFailed
from uhlp.evals.comparator import Comparator
from uhlp.evals.dataset import Dataset, known_dataset
from uhlp.evals.evaluators import Compared, EvaluatorSpec
from uhlp.registry.registered_prompts import RegisteredPrompts
from uhlp.registry.snapshot import ComponentSnapshot, Snapshots
from uhlp.traffic.redaction import Redaction
from uhlp.traffic.samples import SampleStore

Origin = Literal["golden", "human", "recorded", "all"]
MOST_RECORDED = 500


class ComponentDatasets:
    """Golden examples come from the definition, adjudications and recorded answers from the samples."""

    def __init__(self, *, registry: Snapshots, samples: SampleStore) -> None:
        self._registry = registry
        self._prompts = RegisteredPrompts(registry=registry)
        self._samples = samples

    def component_of(self, ns: str, prompt_key: str, *, wanted: str | None = None) -> str:
        """The component that runs the prompt: the one that is wanted, or the only one. ValidationFailed when there is
        none, or several."""
        found = [one.definition.component_id for one in self._prompts.components(ns, prompt_key)]
        if wanted is not None and wanted in found:
            return wanted
        if wanted is not None:
            who = f"it is run by {', '.join(found)}" if found else "no component runs it"
            raise ValidationFailed(f"The component {wanted} does not run {prompt_key} of {ns}: {who}.")
        if len(found) != 1:
            who = f"{len(found)} components run it ({', '.join(found)}): name one" if found else "no component runs it"
            raise ValidationFailed(f"Whose prompt is {prompt_key}? {who}.")
        return found[0]

    def evaluator_of(self, ns: str, component_id: str) -> EvaluatorSpec:
        """The component's comparator. ValidationFailed where it leaves text to a judge: then name an evaluator."""
        component = self._component(ns, component_id)
        comparator = Comparator(component.definition.optimization.comparator)
        if comparator.not_comparable_fields:
            raise ValidationFailed(
                f"{component_id} has free text ({', '.join(comparator.not_comparable_fields)}), which no comparator "
                'judges: name an evaluator, such as {"kind": "judge", "model": …, "rubric": …}.'
            )
        return Compared(policies=dict(component.definition.optimization.comparator))

    async def dataset_of(
        self, ns: str, component_id: str, *, origin: Origin = "all", limit: int | None = None
    ) -> Dataset:
        """One sample an input, by the highest word on it; `origin` leaves the others out."""
        component = self._component(ns, component_id)
        said = self._samples.adjudications.all_of(ns, component_id) if origin in ("human", "all") else []
        recorded = (
            await self._samples.samples(
                ns, component_id, handler="llm", spec_hash=component.spec_hash, limit=limit or MOST_RECORDED
            )
            if origin in ("recorded", "all")
            else []
        )
        dataset = known_dataset(component.golden if origin in ("golden", "all") else (), said, recorded)
        return dataset if limit is None else dataset.first(limit)

    def redaction_of(self, ns: str, component_id: str) -> Redaction:
        """What may be shown of the component's outputs."""
        return Redaction(self._component(ns, component_id).configuration.get("redact", ()))

    def _component(self, ns: str, component_id: str) -> ComponentSnapshot:
        component = self._registry.snapshot(ns).components.get(component_id)
        if component is None:
            raise ComponentNotFound(f"The application {ns} has no component {component_id}.")
        return component

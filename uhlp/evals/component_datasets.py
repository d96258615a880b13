"""ComponentDatasets: what is known to be right of a component, and by what its outputs are judged."""

from typing import Literal

from uhlp.errors import ComponentNotFound, ValidationFailed
from uhlp.evals.comparator import Comparator
from uhlp.evals.dataset import Dataset, known_dataset
from uhlp.evals.evaluators import Compared, EvaluatorSpec, Judged
from uhlp.evals.undeclared_text import undeclared_text
from uhlp.registry.registered_prompts import RegisteredPrompts
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot, Snapshots
from uhlp.traffic.redaction import Redaction
from uhlp.traffic.samples import SampleStore

Origin = Literal["golden", "human", "recorded", "all"]
MOST_RECORDED = 500
_RUBRIC = (
    "The output says what the expected output says, in whatever words: the same facts, names, numbers and requests, "
    "nothing left out that matters to the reader and nothing invented."
)
_OR_NAME_ONE = 'or name an evaluator in the request: {"kind": "judge", "model": …, "rubric": …}'


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
        """The component's comparator, or the application's judge where that leaves text to one. ValidationFailed: there
        is no judge."""
        app, component = self._registry.snapshot(ns), self._component(ns, component_id)
        evaluator = own_evaluator(app, component, is_judged=False)
        if isinstance(evaluator, Compared) and (free := Comparator(evaluator.policies).not_comparable_fields):
            raise ValidationFailed(
                f"{component_id} has free text ({', '.join(free)}), which no comparator judges: "
                f"set llm.judgeModel of {ns}, {_OR_NAME_ONE}."
            )
        return evaluator

    async def checked_evaluator_of(self, ns: str, component_id: str, dataset: Dataset | None = None) -> EvaluatorSpec:
        """The same, after a look at what the right answers are: where they are prose that nobody has declared, the
        judge, too. ValidationFailed, before anything is spent, where there is none."""
        evaluator = self.evaluator_of(ns, component_id)
        if not isinstance(evaluator, Compared):
            return evaluator
        known = await self.dataset_of(ns, component_id) if dataset is None else dataset
        field = undeclared_text(known, evaluator.policies)
        if field is None:
            return evaluator
        app, component = self._registry.snapshot(ns), self._component(ns, component_id)
        if app.definition.llm.judge_model is None:
            raise ValidationFailed(
                f"The answers of {component_id} look like free text in {field} (long, and no two alike): only a judge "
                f"can compare them, so nothing was run. Set llm.judgeModel of {ns}, {_OR_NAME_ONE}. Where every word "
                f'must be the same, declare that: optimization.comparator {{"{field}": exact}}.'
            )
        return own_evaluator(app, component, is_judged=True)

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


def own_evaluator(app: AppSnapshot, component: ComponentSnapshot, *, is_judged: bool) -> EvaluatorSpec:
    """By what a component's outputs are judged: its comparator, or the application's judge where that leaves text to
    one, or where it `is_judged` anyway."""
    policies = component.definition.optimization.comparator
    judge = app.definition.llm.judge_model
    if judge is not None and (is_judged or Comparator(policies).not_comparable_fields):
        return Judged(model=judge, rubric=_RUBRIC)
    return Compared(policies=dict(policies))

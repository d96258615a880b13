"""Compilability: what keeps a component from being compiled, whatever a proposer could write for it."""

import dataclasses

from uhlp.evals.comparator import Comparator
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate import Candidate
from uhlp.evolution.config import ConfigInForce
from uhlp.evolution.measuring import MeasurementFailed, Spending
from uhlp.evolution.noise import NoiseReport, measure_noise
from uhlp.evolution.reference import Reference
from uhlp.evolution.verification import Verifier
from uhlp.models.definition import HandlerType
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot
from uhlp.traffic.samples import Sample


class Compilability:
    """Asked before a proposer is; the free questions first."""

    def __init__(self, *, book: CandidateBook, reference: Reference, verifier: Verifier, config: ConfigInForce) -> None:
        self._book = book
        self._reference = reference
        self._verifier = verifier
        self._config = config

    async def why_not(
        self,
        candidate: Candidate,
        app: AppSnapshot,
        component: ComponentSnapshot,
        comparator: Comparator,
        train: list[Sample],
        spending: Spending,
    ) -> tuple[str, str] | None:
        """(cause, reason), or None when it can be compiled.

        Raises MeasurementFailed when the model cannot be asked, Unavailable when the pool's image cannot be seen.
        """
        refusal = await self._by_definition(app, component, comparator, spending)
        return refusal or await self._noise(candidate, app, component, train, comparator, spending)

    async def _by_definition(
        self, app: AppSnapshot, component: ComponentSnapshot, comparator: Comparator, spending: Spending
    ) -> tuple[str, str] | None:
        """Why this component must not be compiled, whatever its traffic."""
        definition = component.definition
        decision_field = definition.optimization.decision_field
        is_ours = self._book.in_service(app.app_id, definition.component_id) is not None
        if not (definition.handler_type is HandlerType.LLM or is_ours) or component.prompt_artifact is None:
            return "not_llm", "only a component that a model runs can be compiled"
        if not await self._verifier.can_examine(app, component):
            return "image", _why_not_in_this_image(app, component)
        if comparator.not_comparable_fields:
            fields = ", ".join(comparator.not_comparable_fields)
            if decision_field is not None and comparator.is_free_text(decision_field):
                return "not_comparable", f"{decision_field} decides and is free text: a judge alone must not say so"
            calibration = await self._reference.calibration(app, component, comparator, spending=spending)
            if calibration is None:
                return "not_comparable", (
                    f"free text in {fields}: no comparator can hold a handler to it without a judge (llm.judgeModel)"
                )
            if not calibration.is_trusted:
                return "not_comparable", f"free text in {fields}: {calibration.describe()}"
        if definition.effective_effects == "write":
            return "effects", (
                "its effects are write: no handler can be held against the model without writing twice, so nothing can "
                "be proven of one, and an approval is no proof. Make the part that only decides a component of its "
                "own, or declare `effects: read` or `none` where its tools do not write"
            )
        return None

    async def _noise(
        self,
        candidate: Candidate,
        app: AppSnapshot,
        component: ComponentSnapshot,
        train: list[Sample],
        comparator: Comparator,
        spending: Spending,
    ) -> tuple[str, str] | None:
        """A/A: a model that disagrees with itself is no function, and is not compiled. Measured once a candidate."""
        noise = self._config.now.noise
        known = candidate.measurements.get("noise")
        if known is not None:
            report = NoiseReport(**known)
        else:
            by_model = [s for s in train if self._reference.known(app, component, s.input_hash) is None]
            live = [sample for sample in by_model if sample.source == "live"]
            report = await measure_noise(
                self._reference, app, component, live or by_model, comparator, config=noise, spending=spending
            )
            if report.unmeasured > report.n:
                raise MeasurementFailed(f"the model could not be asked again: {report.trouble}")
            self._book.grow(candidate.id, measurements={**candidate.measurements, "noise": dataclasses.asdict(report)})
        if report.is_noise(noise.max_self_disagreement):
            figures = report.describe(noise.max_self_disagreement)
            if all(sample.source == "import" for sample in train):
                return "not_a_function", (
                    f"the model answers otherwise than the imported log on {figures}: "
                    "it is not the function that the log shows. Import a log of this model."
                )
            return "not_a_function", (
                f"the model disagreed with itself on {figures}: not a function. "
                "Loosen the comparator, compress the prompt instead, or leave it to the model."
            )
        return None


def _why_not_in_this_image(app: AppSnapshot, component: ComponentSnapshot) -> str:
    name = component.definition.target_pool_name
    pool = app.definition.pool(name)
    image = pool.docker_image if pool is not None else ""
    return (
        f"handlers and their tests are Python, and no sandbox here runs that from the image {image} of its pool "
        f"{name}: build one on it (uhlp sandbox build-image --base {image} --tag NAME) for sandbox.driver docker, or "
        "name another pool in targetPoolName"
    )

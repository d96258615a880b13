"""Recordings: what a compilation works with: its component as it is now, and the answers that the model has given."""

import dataclasses

from uhlp.errors import ComponentNotFound, StateConflict
from uhlp.evolution.candidate import Candidate
from uhlp.evolution.reference import Reference
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot
from uhlp.traffic.redaction import Redaction
from uhlp.traffic.samples import Sample, SampleStore
from uhlp.traffic.split import Split

_REPLAY_LIMIT = 2000


class Recordings:
    """Reads only."""

    def __init__(self, *, samples: SampleStore, reference: Reference, app_registry: ApplicationRegistry) -> None:
        self._samples = samples
        self._reference = reference
        self._registry = app_registry

    async def answers(self, candidate: Candidate, split: Split) -> list[Sample]:
        """Model answers to this specification on one side of the split; what people said is right stands above them."""
        app, component = self.place(candidate)
        samples = await self._samples.samples(
            candidate.app_id, candidate.component_id, split=split, ok=True, handler="llm",
            spec_hash=candidate.spec_hash, limit=_REPLAY_LIMIT,
        )  # fmt: skip
        masked = Redaction(component.configuration.get("redact", ())).apply  # as the samples themselves are
        corrected = []
        for sample in samples:
            known = self._reference.known(app, component, sample.input_hash)
            corrected.append(sample if known is None else dataclasses.replace(sample, output=masked(known.expected)))
        return corrected

    def place(self, candidate: Candidate) -> tuple[AppSnapshot, ComponentSnapshot]:
        """Raises NotFound or StateConflict when there is no such component any more, or it means something else."""
        app = self._registry.snapshot(candidate.app_id)
        component = app.components.get(candidate.component_id)
        if component is None:
            raise ComponentNotFound(f"{candidate.app_id} has no component {candidate.component_id} any more.")
        if component.spec_hash != candidate.spec_hash:
            raise StateConflict(f"{candidate.component_id} has changed its specification.")
        return app, component

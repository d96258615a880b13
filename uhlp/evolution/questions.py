"""Questions: comparisons that neither model nor judge can settle wait for a person, and count for nothing meanwhile."""

from uhlp.clock import Clock
from uhlp.evolution.comparison import Comparison
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot
from uhlp.traffic.adjudications import Adjudications, Question
from uhlp.traffic.redaction import Redaction


class Questions:
    """Keeps them beside the adjudications that answer them, redacted as the component's samples are."""

    def __init__(self, *, adjudications: Adjudications, clock: Clock) -> None:
        self._adjudications = adjudications
        self._clock = clock

    async def ask(
        self, candidate_id: str, app: AppSnapshot, component: ComponentSnapshot, comparison: Comparison
    ) -> None:
        """Keep an ambiguous comparison as a question."""
        redaction = Redaction(component.configuration.get("redact", ()))
        await self._adjudications.ask(
            Question(
                app_id=app.app_id,
                component_id=component.definition.component_id,
                input_hash=comparison.input_hash,
                candidate_id=candidate_id,
                stage=comparison.stage,
                why=comparison.why,
                input=redaction.apply(comparison.input),
                got=redaction.apply(comparison.got),
                answers=tuple(redaction.apply(one) for one in comparison.answers),
                ts=self._clock.now(),
            )
        )

"""EvolutionGauges: candidates by state, and of those in traffic what has been measured."""

from uhlp.catalogue import evolution
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.governor import SafetyGovernor
from uhlp.evolution.leadership import Leadership
from uhlp.metering import Meter, SampledGauge

_Series = dict[tuple[str, ...], float]


class EvolutionGauges:
    """Shown every few seconds; figures that are not known yet have no series."""

    def __init__(self, *, book: CandidateBook, governor: SafetyGovernor, leadership: Leadership, meter: Meter) -> None:
        self._book = book
        self._governor = governor
        self._leadership = leadership
        self._candidates = SampledGauge(evolution.CANDIDATES.on(meter))
        self._leading = evolution.LEADING.on(meter).labels()
        self._of_candidate = {
            metric.name: SampledGauge(metric.on(meter))
            for metric in (
                evolution.GATE_COMPARISONS,
                evolution.GATE_WRONG,
                evolution.GATE_LOG_EVIDENCE,
                evolution.GATE_LOG_EVIDENCE_NEEDED,
                evolution.GATE_PROVEN,
                evolution.AGREEMENT,
                evolution.COVERAGE,
            )
        }

    def show(self) -> None:
        """Show what the book and the governor know now."""
        states: _Series = {(app_id, str(state)): number for (app_id, state), number in self._book.states().items()}
        figures: dict[str, _Series] = {name: {} for name in self._of_candidate}
        for candidate in self._book.active():
            for name, value in self._measured(candidate.id).items():
                if value is not None:
                    figures[name][candidate.app_id, candidate.component_id, candidate.id] = value
        self._candidates.show(states)
        self._leading.set(self._leadership.is_leading)
        for name, series in figures.items():
            self._of_candidate[name].show(series)

    def _measured(self, candidate_id: str) -> dict[str, float | None]:
        evidence = self._governor.evidence_of(candidate_id)
        if evidence is None:
            return {}
        account, figures = evidence.account, evidence.figures
        return {
            evolution.GATE_COMPARISONS.name: account.n,
            evolution.GATE_WRONG.name: account.k,
            evolution.GATE_LOG_EVIDENCE.name: account.log_e_accept,
            evolution.GATE_LOG_EVIDENCE_NEEDED.name: account.log_threshold_accept,
            evolution.GATE_PROVEN.name: account.proven,
            evolution.AGREEMENT.name: figures.agreement,
            evolution.COVERAGE.name: figures.coverage,
        }

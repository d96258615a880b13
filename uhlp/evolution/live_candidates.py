"""LiveCandidates: the candidates in live traffic, what is measured of each, and the part each takes."""

from dataclasses import replace

from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate import Candidate, CandidateState
from uhlp.evolution.live_evidence import LiveEvidence
from uhlp.evolution.traffic_switch import TrafficSwitch
from uhlp.execution import Implementation
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.registry.snapshot import Artifact, ComponentSnapshot

S = CandidateState
IN_TRAFFIC = frozenset({S.SHADOW, S.CANARY, S.PROMOTED})
"""States in which a candidate's handler runs on live requests."""


class LiveCandidates:
    """Memory only: the ledger has decided before anything is switched here."""

    def __init__(self, *, book: CandidateBook, traffic: TrafficSwitch, app_registry: ApplicationRegistry) -> None:
        self._book = book
        self._traffic = traffic
        self._registry = app_registry
        self._evidence: dict[str, LiveEvidence] = {}
        self._handlers: dict[str, Implementation] = {}
        self._previous: dict[str, Artifact] = {}
        """By candidate: the prompt that its own is held against."""

    def admit(
        self,
        candidate: Candidate,
        implementation: Implementation,
        evidence: LiveEvidence,
        previous: Artifact | None = None,
    ) -> None:
        """Take a candidate into traffic as its state says; a prompt with the one that it is held against."""
        if previous is not None:
            self._previous[candidate.id] = previous
        self._evidence[candidate.id] = evidence
        self._handlers[candidate.id] = implementation
        self.switch(candidate)

    def evidence_of(self, candidate_id: str) -> LiveEvidence | None:
        """What is measured of a candidate in live traffic; None for any other."""
        return self._evidence.get(candidate_id)

    def component_of(self, candidate: Candidate) -> ComponentSnapshot | None:
        """None when application or component are out of service."""
        if candidate.app_id not in self._registry.app_ids():
            return None
        return self._registry.snapshot(candidate.app_id).components.get(candidate.component_id)

    def switch(self, candidate: Candidate) -> None:
        """Make the rollout table say what the candidate's state says."""
        if candidate.state in IN_TRAFFIC:
            self._traffic.put(
                candidate, self._handlers[candidate.id], self._evidence[candidate.id], self._previous.get(candidate.id)
            )
        else:
            self._traffic.take_out(candidate, self._previous.get(candidate.id))

    def dismiss(self, candidate: Candidate) -> None:
        """Its end is written: out of traffic, and nothing more is measured."""
        self.switch(candidate)
        self._evidence.pop(candidate.id, None)
        self._handlers.pop(candidate.id, None)
        self._previous.pop(candidate.id, None)

    def take_out_as(self, candidate: Candidate, state: CandidateState) -> None:
        """Out of traffic although its end could not be written."""
        self._traffic.take_out(replace(candidate, state=state), self._previous.get(candidate.id))

    def audit_share(self, candidate: Candidate) -> float:
        """Share of this candidate's answers that the reference checks now."""
        return self._traffic.audit_share(candidate, self._evidence[candidate.id])

    def keep(self, candidate_id: str, *, whole: bool = True) -> None:
        """Let the book know what has been measured; with every comparison, decision and cycle, not every request."""
        live = self._evidence.get(candidate_id)
        if live is not None:
            self._book.grow(candidate_id, **live.progress(whole=whole))

    def keep_all(self) -> None:
        """`keep` for every one: the server ends."""
        for candidate_id in self._evidence:
            self.keep(candidate_id)

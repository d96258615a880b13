"""Candidates change by decisions, and the ledger's entries alone rebuild them."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uhlp.errors import StateConflict
from uhlp.evolution.attempts import attempts_of
from uhlp.evolution.candidate import (
    FAILED,
    MISMATCHES_KEPT,
    OPEN,
    TRANSITIONS,
    Candidate,
    CandidateState,
    Checkpoint,
    Costs,
    Draft,
    Figures,
    Mismatch,
    new_candidate_id,
)
from uhlp.evolution.decisions import Decision, apply, create, decide, fold
from uhlp.evolution.ledger import Event, LedgerEntry

S = CandidateState
TO_PROMOTED = (S.SYNTHESIZED, S.VERIFIED, S.SHADOW, S.CANARY, S.CANARY, S.PROMOTED)


def discovered(attempt: int = 1, **fields: Any) -> Decision:
    return create(
        fields.pop("candidate_id", "c-1"),
        app_id="shop",
        component_id="triage",
        proposer="coder",
        spec_hash="spec",
        attempt=attempt,
        ts=100.0,
        actor="oracle",
        reason="the rule was true",
        **fields,
    )


def walked(*states: CandidateState, **fields: Any) -> tuple[Candidate, list[LedgerEntry]]:
    candidate, entry = discovered(**fields)
    entries = [entry]
    for ts, state in enumerate(states, 101):
        changes = {"code_sha": f"sha of {candidate.id}"} if state is S.SYNTHESIZED else {}
        candidate, entry = decide(candidate, state, ts=float(ts), actor="governor", reason=f"to {state}", **changes)
        entries.append(entry)
    return candidate, entries


def test_a_candidate_walks_to_promotion_and_folds_back() -> None:
    candidate, entries = walked(*TO_PROMOTED)
    assert (candidate.state, candidate.created_at, candidate.entered_at) == (S.PROMOTED, 100.0, 106.0)
    assert candidate.is_serving
    assert not candidate.is_open
    assert fold(entries) == candidate


@pytest.mark.parametrize("state", list(S))
def test_every_transition_outside_the_table_is_refused(state: CandidateState) -> None:
    candidate = replace(discovered()[0], state=state)
    for to in S:
        if to in TRANSITIONS[state]:
            assert decide(candidate, to, ts=1.0, actor="a", reason="r")[0].state is to
        else:
            with pytest.raises(StateConflict, match="does not go from"):
                decide(candidate, to, ts=1.0, actor="a", reason="r")


def test_every_state_can_be_reached_and_every_open_state_can_be_superseded() -> None:
    assert set(TRANSITIONS) == set(S)
    assert {to for reachable in TRANSITIONS.values() for to in reachable} == set(S) - {S.DISCOVERED}
    assert all(S.SUPERSEDED in TRANSITIONS[state] for state in OPEN | {S.PROMOTED, S.QUARANTINED})
    assert all(TRANSITIONS[state] <= FAILED | {S.SUPERSEDED} for state in FAILED)


def test_a_decision_without_a_reason_is_refused() -> None:
    with pytest.raises(ValueError, match="its reason"):
        decide(discovered()[0], S.SYNTHESIZED, ts=1.0, actor="governor", reason=" ")


def test_what_the_entry_sets_cannot_be_changed_beside_it() -> None:
    with pytest.raises(ValueError, match="state"):
        decide(discovered()[0], ts=1.0, actor="a", reason="r", state=S.PROMOTED)


def test_notes_leave_the_state_and_its_reason() -> None:
    candidate, _ = discovered()
    checkpoint = Checkpoint("abc", {"p50_ms": 812.5})
    noted, entry = decide(candidate, ts=150.0, actor="governor", reason="restore rehearsed", checkpoint=checkpoint)
    assert (noted.state, noted.reason, noted.entered_at, noted.updated_at) == (
        S.DISCOVERED,
        "the rule was true",
        100.0,
        150.0,
    )
    assert (entry.event, entry.baseline_revision, noted.checkpoint) == (Event.NOTED, "abc", checkpoint)


def test_progress_is_kept_by_decisions_but_not_in_the_ledger() -> None:
    candidate, entry = discovered()
    grown = replace(candidate, figures=Figures(10, 8, 7), costs=Costs(5, 6, 0.25), executions=3)
    moved, second = decide(grown, S.REJECTED, ts=2.0, actor="a", reason="r", measurements={"p99_ms": 3})
    assert (moved.figures, moved.executions, moved.measurements) == (Figures(10, 8, 7), 3, {"p99_ms": 3})
    assert second.patch == {}
    assert fold([entry, second]) == replace(moved, figures=Figures(), costs=Costs(), executions=0, measurements={})


def test_an_entry_that_does_not_follow_is_refused() -> None:
    candidate, entries = walked(S.SYNTHESIZED, S.VERIFIED)
    with pytest.raises(StateConflict, match="moved on"):
        apply(candidate, entries[1])
    with pytest.raises(StateConflict, match="unknown"):
        apply(None, entries[1])
    with pytest.raises(StateConflict, match="exists already"):
        apply(candidate, entries[0])
    with pytest.raises(ValueError, match="no entries"):
        fold([])


def test_figures_divide_only_what_was_judged() -> None:
    figures = Figures(seen=100, answered=50, agreed=44, wrong=1, ambiguous=5)
    assert (figures.coverage, figures.agreement) == (0.5, 44 / 45)
    assert (Figures().coverage, Figures(seen=3).agreement) == (None, None)


def test_only_the_newest_mismatches_are_kept() -> None:
    candidate, _ = discovered()
    for i in range(MISMATCHES_KEPT + 5):
        candidate = candidate.with_mismatch(Mismatch(f"digest {i}", "shadow", "majority", float(i), "train"))
    assert len(candidate.mismatches) == MISMATCHES_KEPT
    assert candidate.mismatches[-1].payload == f"digest {MISMATCHES_KEPT + 4}"


def test_ids_differ() -> None:
    assert len({new_candidate_id() for _ in range(100)}) == 100


CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "code_sha": st.text("0123456789abcdef", min_size=4, max_size=4),
        "version": st.integers(1, 9),
        "cause": st.sampled_from(["tests", "audit", None]),
        "canary_step": st.integers(0, 3),
        "paused": st.booleans(),
        "approved_by": st.none() | st.text(max_size=5),
        "drafts": st.lists(st.builds(Draft, st.text(max_size=3), reason=st.text(max_size=3))).map(tuple),
        "checkpoint": st.builds(Checkpoint, st.text(max_size=3), st.just({"p50_ms": 1.5})),
        "executions": st.integers(0, 100),
        "evidence": st.just({"n": 3, "k": 1}),
    },
)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_state_is_the_fold_of_the_ledger_after_any_walk(data: st.DataObject) -> None:
    candidate, entry = discovered(trust=data.draw(st.sampled_from(["prove-first", "serve-and-check"])))
    entries = [entry]
    for ts in range(101, 101 + data.draw(st.integers(0, 12))):
        to = data.draw(st.none() | st.sampled_from(sorted(S)))
        before, changes = candidate, data.draw(CHANGES)
        try:
            candidate, entry = decide(before, to, ts=float(ts), actor="a", reason="r", **changes)
        except StateConflict:
            assert to not in TRANSITIONS[before.state]
            continue
        assert to is None or to in TRANSITIONS[before.state]
        entries.append(entry)
    travelled = [LedgerEntry.from_dict(json.loads(json.dumps(one.to_dict()))) for one in entries]
    assert fold(travelled).decided() == fold(entries).decided()
    assert fold(entries) == Candidate.from_dict(candidate.decided())
    assert Candidate.from_dict(json.loads(json.dumps({**candidate.decided(), **candidate.progress()}))) == candidate


def test_failures_count_once_and_bar_their_code() -> None:
    entries: list[LedgerEntry] = []
    for attempt, states in enumerate([(S.SYNTHESIZED, S.REJECTED), (*TO_PROMOTED, S.ROLLED_BACK, S.QUARANTINED)], 1):
        entries += walked(*states, attempt=attempt, candidate_id=f"c-{attempt}")[1]
    attempts = attempts_of(entries)
    assert (attempts.attempt, attempts.failures, attempts.quarantined) == (2, 2, True)
    assert attempts.barred == {"sha of c-1", "sha of c-2"}
    assert attempts.last_failure_at == 107.0


def test_an_attempt_that_expired_before_there_was_code_spends_nothing() -> None:
    attempts = attempts_of(walked(S.EXPIRED)[1])
    assert (attempts.attempt, attempts.failures) == (0, 0)


def test_good_behaviour_is_forgiven_and_clearing_ends_quarantine() -> None:
    candidate, entries = walked(S.SYNTHESIZED, S.QUARANTINED, S.REJECTED)
    forgiven = decide(candidate, ts=200.0, actor="governor", reason="seven clean days", event=Event.FORGIVEN)[1]
    assert (attempts_of(entries).failures, attempts_of(entries).quarantined) == (1, False)
    assert attempts_of([*entries, forgiven, forgiven]).failures == 0


def test_the_same_cause_is_counted_in_a_row() -> None:
    entries: list[LedgerEntry] = []
    for i, cause in enumerate(["tests", "audit", "audit"]):
        candidate, entry = discovered(candidate_id=f"c-{i}")
        entries += [entry, decide(candidate, S.REJECTED, ts=1.0, actor="a", reason="r", cause=cause)[1]]
    assert attempts_of(entries).causes == ("tests", "audit", "audit")
    assert attempts_of(entries).same_cause_in_a_row() == 2
    assert attempts_of([]).same_cause_in_a_row() == 0

"""Figures: what is shown of a candidate's answers follows from what was said of them, one by one."""

from uhlp.evolution.figures import Figures


def test_an_answered_question_is_ambiguous_no_more() -> None:
    asked = Figures(ambiguous=2, agreed=5)
    assert asked.after_question(was_right=True) == Figures(ambiguous=1, agreed=6, handler_right=1)
    assert asked.after_question(was_right=False) == Figures(ambiguous=1, agreed=5)
    assert Figures().after_question(was_right=False) == Figures()


def test_a_loss_that_was_none_is_moved_and_counted() -> None:
    overruled = Figures(agreed=5, wrong=1).after_overruling()
    assert overruled == Figures(agreed=6, handler_right=1, overruled=1)
    assert overruled.after_overruling() == Figures(agreed=6, handler_right=1, overruled=2), "it was never used"


def test_coverage_counts_what_was_answered_of_what_was_seen() -> None:
    seen = Figures().after_input(is_answered=True).after_input(is_answered=False)
    assert (seen.seen, seen.answered, seen.coverage) == (2, 1, 0.5)

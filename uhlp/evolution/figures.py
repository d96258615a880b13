"""Figures: what is shown of a candidate's answers. They decide nothing: that is the evidence account's."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:  # candidates have figures, and comparisons belong to candidates
    from uhlp.evolution.comparison import Comparison


@dataclass(frozen=True, slots=True)
class Figures:
    """`seen` inputs, of which the handler `answered` some; of the answers that were compared, `agreed` were right.

    In service only a share of the answers is compared. `handler_right` of the agreed differed from the first model call
    and were upheld, `wrong` answers were not; `ambiguous` are left out. Where a component has a `decisionField`,
    `answered` are the answers in classes that are trusted now, `withheld` those in others: they are left to the model.
    `overruled` losses were no losses, a person said later: they are among the agreed now, and still among the account's
    evidence.
    """

    seen: int = 0
    answered: int = 0
    agreed: int = 0
    handler_right: int = 0
    ambiguous: int = 0
    wrong: int = 0
    withheld: int = 0
    overruled: int = 0

    @property
    def coverage(self) -> float | None:
        return self.answered / self.seen if self.seen else None

    @property
    def agreement(self) -> float | None:
        """Share of the judged answers that match the reference."""
        judged = self.agreed + self.wrong
        return self.agreed / judged if judged else None

    def after_input(self, *, is_answered: bool) -> Self:
        """One more input was put to the handler."""
        return replace(self, seen=self.seen + 1, answered=self.answered + is_answered)

    def after_comparison(self, comparison: "Comparison") -> Self:
        """An answer that counts was held against the reference; a failure is no wrong answer."""
        is_wrong = comparison.outcome == "wrong"
        return replace(
            self,
            agreed=self.agreed + (not is_wrong),
            wrong=self.wrong + (is_wrong and comparison.has_answered),
            handler_right=self.handler_right + comparison.model_was_wrong,
        )

    def after_question(self, *, was_right: bool) -> Self:
        """A person has answered what was ambiguous."""
        return replace(
            self,
            ambiguous=max(0, self.ambiguous - 1),
            agreed=self.agreed + was_right,
            handler_right=self.handler_right + was_right,
        )

    def after_overruling(self) -> Self:
        """One wrong answer was right after all (one that was never used is not among `wrong`)."""
        moved = min(1, self.wrong)
        return replace(
            self,
            wrong=self.wrong - moved,
            agreed=self.agreed + moved,
            handler_right=self.handler_right + moved,
            overruled=self.overruled + 1,
        )

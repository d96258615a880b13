"""Sameness: by what two answers by two prompts count as the same.

The component's comparator says so, as for handlers. But where it finds that the model disagrees with itself (A/A), it
finds every prompt otherwise, and says nothing about any. There the application's judge is asked whether both answers
are right, as about free text.
"""

from uhlp.evals.comparator import Comparator
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.observation import comparator_of
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot

NO_FUNCTION = "not_a_function"
_ALL_TEXT = {"$": "free_text"}


def is_judged(book: CandidateBook, app: AppSnapshot, component: ComponentSnapshot) -> bool:
    """Whether a judge compares its answers: there is one, and an attempt to compile it has found no function."""
    if app.definition.llm.judge_model is None:
        return False
    return any(
        one.cause == NO_FUNCTION and one.spec_hash == component.spec_hash
        for one in book.candidates(app.app_id, component.definition.component_id)
    )


def comparator_of_prompts(component: ComponentSnapshot, *, is_judged: bool) -> Comparator:
    """By what answers by two prompts of this component are compared."""
    return Comparator(_ALL_TEXT) if is_judged else comparator_of(component)

"""PromptWishes: when a rule's wish is for a shorter prompt, because it says so or because no handler is to be had."""

from dataclasses import replace

from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate import CandidateState, Kind
from uhlp.evolution.discoveries import Wish
from uhlp.evolution.prompt_synthesis import why_no_shorter_prompt
from uhlp.registry.application_registry import ApplicationRegistry

S = CandidateState
_NO_HANDLER = frozenset({"not_a_function", "not_comparable", "effects", "image"})
"""Causes of ends that say: no proposer can write a handler for this component as it is."""


class PromptWishes:
    """Reads memory only."""

    def __init__(self, *, book: CandidateBook, app_registry: ApplicationRegistry) -> None:
        self._book = book
        self._registry = app_registry

    def instead(self, wish: Wish) -> tuple[Wish, Kind]:
        """The wish as it can be met, and by what kind of candidate.

        Where a rule asks for a handler and the last attempt at one ended because the component is no function, nor can
        become one, a shorter prompt is offered, if it may be tried.
        """
        if wish.discovery.action == "compress":
            return replace(wish, expected=None), "prompt"
        app_id, component_id = wish.place
        app = self._registry.snapshot(app_id)
        component = app.components.get(component_id)
        if component is None or why_no_shorter_prompt(self._book, app, component) is not None:
            return wish, "jit"
        handlers = [one for one in self._book.candidates(app_id, component_id) if not one.is_prompt]
        last = handlers[0] if handlers else None
        if last is None or last.spec_hash != component.spec_hash or last.state is not S.REJECTED:
            return wish, "jit"
        if last.cause not in _NO_HANDLER:
            return wish, "jit"
        reason = f"{wish.discovery.reason}; it cannot be compiled ({last.cause}), so its prompt is to be shortened"
        return Wish(replace(wish.discovery, reason=reason), None), "prompt"

    def is_wanted(self, app_id: str, component_id: str) -> bool:
        """Whether a rule may ask: what was shortened once is not shortened again and again; a person may ask for it."""
        return self._book.in_service(app_id, component_id, "prompt") is None

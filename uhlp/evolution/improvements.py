"""Improvements: handlers in service that a better one might replace, found without a rule.

Asked for when the handler leaves much to the model, or has answered inputs wrongly that its proposer has not been shown
yet; that it was cut off now and then is no reason to pay a proposer. Clocks, limits and what it is worth are the
daemon's business, as for every discovery.
"""

from collections.abc import Iterator

from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate import Candidate, CandidateState
from uhlp.evolution.config import ConfigInForce
from uhlp.metrics.windows import Windows
from uhlp.optimization.optimization_oracle import Discovery
from uhlp.registry.application_registry import ApplicationRegistry

_HOUR_S = 3600.0
_ITS_OWN = ("guard", "exception", "schema")
"""Why requests went to the model that another handler might answer; not so those for which there was no sandbox."""


class Improvements:
    """Reads memory only."""

    def __init__(
        self, *, book: CandidateBook, app_registry: ApplicationRegistry, windows: Windows, config: ConfigInForce
    ) -> None:
        self._book = book
        self._registry = app_registry
        self._windows = windows
        self._config = config

    def found(self) -> Iterator[Discovery]:
        """A discovery for each handler in service that could be better, unless somebody works at it already."""
        served = self._registry.app_ids()
        for one in self._book.candidates(state=CandidateState.PROMOTED):
            if (
                one.is_prompt
                or one.app_id not in served
                or self._book.open_candidate(one.app_id, one.component_id) is not None
            ):
                continue
            app = self._registry.snapshot(one.app_id)
            component = app.components.get(one.component_id)
            if component is None or component.spec_hash != one.spec_hash:
                continue
            mode = component.definition.optimization.mode
            if mode == "off" or not app.definition.optimization_config.enabled:
                continue
            unseen = self._unseen_counterexamples(one)
            plural = "s" if unseen > 1 else ""
            reason = (
                f"v{one.version} has {unseen} new counterexample{plural}" if unseen else self._left_to_the_model(one)
            )
            if reason is not None:
                is_recommended = mode == "recommend"
                yield Discovery(
                    one.app_id, one.component_id, "recommend" if is_recommended else "jit", reason,
                    because="its optimisation mode is recommend" if is_recommended else "",
                    is_correction=unseen > 0,
                )  # fmt: skip

    def _unseen_counterexamples(self, one: Candidate) -> int:
        newest = next(self._book.newest_first(one.app_id, one.component_id))
        wrong = [case for case in one.mismatches if case.split == "train" and not (case.overruled or case.unanswered)]
        return sum(case.ts > newest.created_at for case in wrong)

    def _left_to_the_model(self, one: Candidate) -> str | None:
        window = self._windows.window(one.app_id, one.component_id, _HOUR_S).as_dict()
        left, replace = sum(window["deoptimized"].get(why, 0) for why in _ITS_OWN), self._config.now.replace
        if window["count"] >= replace.min_requests and left >= replace.deoptimised_share * window["count"]:
            return f"v{one.version} left {left} of {window['count']} requests to the model within the hour"
        return None

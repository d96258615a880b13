"""Releases: a component is promoted, rolled back and returned to code, again and again, while it is asked."""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from tests.e2e.soak.applications import LINES, ORDERS, PROMPT
from tests.e2e.soak.load import PATIENCE_S, Load, Wrong, right
from tests.e2e.support_desk import FOLDER

_ANSWERS_TO_LEARN_FROM = 120
_ANSWERS_TO_SEE = 20
_LOOK_EVERY_S = 0.2
_COMPONENT = f"/admin/v1/apps/{ORDERS}/components/{LINES}"
_OVER = ("promoted", "rejected", "rolled_back", "quarantined", "superseded")


class _Ended(Exception):
    """The soak is over in the middle of a release."""


@dataclass(frozen=True, slots=True)
class Release:
    """Seconds that one took until its handler was promoted, and to its end."""

    promoted_s: float
    whole_s: float


class Releases:
    """One begins every `period_s`:

    1. The owner commits another wording of the prompt. What was promoted was for the old one: the model answers.
    2. When there are answers to learn from, a handler is asked for, and goes the whole way: written and tested,
       replayed, shadowed, given a quarter of the traffic, promoted.
    3. When code answers, it is rolled back by hand, and the model answers.
    4. By hand again, it returns to service as the version it was, and code answers until the next release.

    Each step waits until callers of `load` were given answers by whom it says. `wrong` has what went otherwise.
    """

    def __init__(self, url: str, load: Load, *, admin: dict[str, str], period_s: float) -> None:
        self.done: list[Release] = []
        self.wrong: Counter[str] = Counter()
        self._url, self._admin = url, admin
        self._load = load
        self._period_s = period_s
        self._numbers = itertools.count(1)
        self._ending = threading.Event()

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Until the block ends; one that is under way then is given up where it is."""
        self._ending.clear()
        thread = threading.Thread(target=self._run, name="releases")
        thread.start()
        try:
            yield
        finally:
            self._ending.set()
            thread.join(PATIENCE_S)

    def _run(self) -> None:
        with httpx.Client(base_url=self._url, headers=self._admin, timeout=PATIENCE_S, trust_env=False) as self._http:
            for number in self._numbers:
                began = time.monotonic()
                try:
                    self._release(number, began)
                except _Ended:
                    return
                except (Wrong, httpx.HTTPError) as error:
                    self.wrong[f"release {number}: {error!r}"[:600]] += 1
                if self._ending.wait(max(0.0, began + self._period_s - time.monotonic())):
                    return

    def _release(self, number: int, began: float) -> None:
        text = (FOLDER / PROMPT).read_text().replace("# Task\n", f"# Task, as of release {number}\n")
        change = {"content": text, "commitMessage": f"Word it anew, release {number}"}
        right(self._http.put(f"/admin/v1/apps/{ORDERS}/definition/{PROMPT}", json=change), 200)
        self._answered_by("llm", _ANSWERS_TO_LEARN_FROM)
        asked = self._http.post(f"{_COMPONENT}/optimize", json={"action": "jit", "reason": f"release {number}"})
        right(asked, 202)
        place = f"/admin/v1/candidates/{asked.json()['candidateId']}"
        self._until(lambda: self._candidate(place)["state"] in _OVER, f"{place} is decided about")
        candidate = self._candidate(place)
        if candidate["state"] != "promoted":
            raise Wrong(f"{candidate['state']}: {candidate['reason']}")
        promoted = time.monotonic()
        self._answered_by("jit", _ANSWERS_TO_SEE)
        right(self._http.post(f"{place}/rollback", json={"reason": "to see the model answer"}), 200)
        self._answered_by("llm", _ANSWERS_TO_SEE)
        back = {"to": f"v{candidate['version']}", "reason": "to see code answer"}
        right(self._http.post(f"{_COMPONENT}/rollback", json=back), 200)
        self._answered_by("jit", _ANSWERS_TO_SEE)
        self.done.append(Release(promoted - began, time.monotonic() - began))

    def _candidate(self, place: str) -> dict[str, Any]:
        answer = self._http.get(place)
        right(answer, 200)
        return dict(answer.json())

    def _answered_by(self, handler: str, times: int) -> None:
        before = self._load.answered["promoted", handler]
        self._until(lambda: self._load.answered["promoted", handler] >= before + times, f"{handler} answers")

    def _until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            if time.monotonic() > deadline:
                raise Wrong(f"not within {PATIENCE_S:g} s: {what}")
            if self._ending.wait(_LOOK_EVERY_S):
                raise _Ended

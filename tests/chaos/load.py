"""Load, and what became of each of its requests: an answer, a clear error, or nothing."""

import itertools
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import httpx

from tests.chaos.storm import BY_HANDLER, BY_MODEL
from tests.e2e.server import Server
from uhlp import errors

JIT, LLM = "the handler's answer", "the model's answer"
LOST_AFTER_S = 60.0
"""Far beyond every limit of time that the server keeps: whoever hears nothing until then has been forgotten."""

PATIENCE_S = 120.0
PAUSE_S = 0.02


class Target(NamedTuple):
    """Where requests go, and what each says."""

    path: str
    body: Mapping[str, Any]


def _leaves(error: type[errors.UhlpError]) -> Iterator[type[errors.UhlpError]]:
    yield error
    for below in error.__subclasses__():
        yield from _leaves(below)


_CLEAR = {(each.status, each.code): each for each in _leaves(errors.UhlpError)}


def outcome(response: httpx.Response) -> str:
    """JIT, LLM, or the code of an error of the tree with the status, `retryable` and Retry-After that belong to it.

    Anything else that a server may say comes back in words that no test allows.
    """
    body = response.json()
    if response.status_code == 200:
        by = response.headers.get("X-UHLP-Handler")
        if (by, body) == ("jit", BY_HANDLER):
            return JIT
        return LLM if (by, body) == ("llm", BY_MODEL) else f"wrong answer by {by}: {body}"
    code = body.get("error", {}).get("code")
    error = _CLEAR.get((response.status_code, code))
    if error is None or error is errors.InternalError or error is errors.UhlpError:
        return f"unclear: {response.status_code} {body}"
    if body["error"]["retryable"] is not error.retryable:
        return f"{code} with retryable {body['error']['retryable']}"
    if error.status == 503 and error.retryable and "Retry-After" not in response.headers:
        return f"{code} without Retry-After"
    return error.code


class Load:
    """Posts to `targets` in turn until the block ends; each caller keeps its connection, and one that was refused
    pauses before it asks again.

        with Load(server, {"sort": Target("/apps/desk/sort", ANSWERS)}, callers=4) as load:
            load.hear(100)
        assert_none_lost(load, {"sort": (JIT,)})
    """

    def __init__(self, server: Server, targets: Mapping[str, Target], *, callers: int) -> None:
        self.lost: list[str] = []
        self._url = server.url
        self._heard: dict[str, Counter[str]] = {name: Counter() for name in targets}
        self._requests = itertools.cycle(targets.items())
        self._done = 0
        self._change = threading.Condition()
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._call, name=f"caller {number}") for number in range(callers)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)
        assert not any(thread.is_alive() for thread in self._threads), "a caller waits for ever"
        print(*(f"{name}: {dict(heard)}" for name, heard in self._heard.items()), sep="\n")

    def hear(self, more: int) -> None:
        """Returns when so many more requests have ended."""
        with self._change:
            wanted = self._done + more
            assert self._change.wait_for(lambda: self._done >= wanted, PATIENCE_S), "nothing is heard any more"

    def outcomes(self, *names: str) -> Counter[str]:
        """How many requests ended in which way, of these targets or of all."""
        with self._change:
            return sum((self._heard[name] for name in names or self._heard), Counter())

    def _call(self) -> None:
        with httpx.Client(base_url=self._url, timeout=LOST_AFTER_S, trust_env=False, verify=False) as http:
            while not self._ending.is_set():
                with self._change:
                    name, target = next(self._requests)
                heard, is_lost = _heard(http, target)
                with self._change:
                    self._heard[name][heard] += 1
                    self._done += 1
                    if is_lost:
                        self.lost.append(f"{name}: {heard}")
                    self._change.notify_all()
                if heard not in (JIT, LLM):
                    self._ending.wait(PAUSE_S)


def _heard(http: httpx.Client, target: Target) -> tuple[str, bool]:
    try:
        return outcome(http.post(target.path, json=target.body)), False
    except (httpx.HTTPError, ValueError) as error:
        return repr(error), True


def assert_none_lost(load: Load, allowed: Mapping[str, Sequence[str]]) -> None:
    """Every request was heard of, in one of the ways that are allowed for its target."""
    assert load.lost == []
    for name, ways in allowed.items():
        heard = load.outcomes(name)
        assert heard.keys() <= set(ways), f"{name}: {dict(heard)}"

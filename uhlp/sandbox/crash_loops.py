"""CrashLoops: code that ends its worker call after call is refused, and tried again after growing pauses."""

from collections.abc import Callable
from math import inf

import structlog

from uhlp.backoff import backoff_s
from uhlp.clock import Clock
from uhlp.errors import CrashLoop, SandboxDied, SandboxOutOfMemory, UhlpError
from uhlp.sandbox.client import Identity, NothingRan, WorkerClient
from uhlp.sandbox.config import SandboxSettings
from uhlp.sandbox.driver import Group
from uhlp.sandbox.instruments import PoolInstruments

log = structlog.get_logger(__name__)


class _Crashes:
    """Crashes of one identity since its last answer, the last one at `last_s`. `tries` counts the calls let through
    since it is refused."""

    __slots__ = ("cause", "count", "last_s", "next_try_s", "tries")

    def __init__(self) -> None:
        self.cause = ""
        self.count = 0
        self.last_s = -inf
        self.tries = 0
        self.next_try_s = 0.0


class CrashLoops:
    """The code in service of one pool that has crashed since its last answer; an answer forgets it.

    A crash is a worker that ended under a call: os._exit, a segmentation fault, memory. A call that ran out of time is
    neither a crash nor an answer. Calls that were under way at a crash and end so as well are that one crash: whatever
    ends a sandbox ends all of them.
    """

    def __init__(self, *, group: Group, settings: SandboxSettings, clock: Clock, counts: PoolInstruments) -> None:
        self._is_in_service = group == "serving"
        self._settings = settings
        self._clock = clock
        self._counts = counts
        self.by_identity: dict[Identity, _Crashes] = {}
        """Empty in good times; callers on the hot path look here first."""

    def admit(self, identity: Identity) -> None:
        """Raise CrashLoop while the code is refused; once after each pause a call is let through to try it."""
        crashes = self.by_identity.get(identity)
        if crashes is None or not self._is_loop(crashes):
            return
        wait_s = crashes.next_try_s - self._clock.monotonic()
        if wait_s > 0:
            self._counts.waited(0.0, "refused")
            raise CrashLoop(self._message(identity, crashes), retry_after_s=wait_s)
        crashes.tries += 1
        self._pause(crashes)

    def judge(self, worker: WorkerClient, failure: UhlpError | None) -> None:
        """Learn how a call ended: whether it crashed, was answered, or neither.

        What ends a model worker is the fault of none of its templates; NothingRan is nobody's. Code on trial
        runs every time: all that it does is evidence.
        """
        identity = worker.identity
        if identity is None or not self._is_in_service or isinstance(failure, NothingRan):
            return
        if isinstance(failure, SandboxDied | SandboxOutOfMemory):
            self._crashed(identity, failure, since_s=worker.called_s)
        elif not worker.broken:
            self._answered(identity)

    def _crashed(self, identity: Identity, cause: UhlpError, *, since_s: float) -> None:
        crashes = self.by_identity.setdefault(identity, _Crashes())
        if since_s < crashes.last_s:
            return
        crashes.last_s = self._clock.monotonic()
        was_loop = self._is_loop(crashes)
        crashes.count += 1
        crashes.cause = cause.message
        if self._is_loop(crashes) and not was_loop:
            self._pause(crashes)
            log.warning("crash_loop", component=identity[0], sha256=identity[1], crashes=crashes.count)

    def _answered(self, identity: Identity) -> None:
        crashes = self.by_identity.pop(identity, None)
        if crashes is not None and self._is_loop(crashes):
            log.info("crash_loop_over", component=identity[0], sha256=identity[1])

    def keep(self, is_in_service: Callable[[Identity], bool]) -> None:
        """Forget code that the application no longer runs."""
        for identity in [each for each in self.by_identity if not is_in_service(each)]:
            del self.by_identity[identity]

    def problems(self) -> list[str]:
        """A sentence for each component whose code is refused."""
        return [self._message(*each) for each in self.by_identity.items() if self._is_loop(each[1])]

    def _is_loop(self, crashes: _Crashes) -> bool:
        return crashes.count >= self._settings.crash_loop_after

    def _pause(self, crashes: _Crashes) -> None:
        first_s, longest_s = self._settings.backoff_initial_s, self._settings.backoff_max_s
        pause_s = backoff_s(crashes.tries + 1, first_s=first_s, longest_s=longest_s)
        crashes.next_try_s = self._clock.monotonic() + pause_s

    def _message(self, identity: Identity, crashes: _Crashes) -> str:
        times = f"{crashes.count} times in a row"
        return f"The code of {identity[0]} ({identity[1][:12]}) crashed {times}, the last time: {crashes.cause}"

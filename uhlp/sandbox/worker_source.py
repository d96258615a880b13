"""WorkerSource: where a pool's new workers come from: one sandbox, started at first need and replaced when it ends or
can start no more workers. Those it has may then finish their calls."""

import asyncio

import structlog

from uhlp.backoff import backoff_s
from uhlp.clock import Clock
from uhlp.errors import IsolationRefused, NoSandboxAvailable, SandboxDied, UhlpError
from uhlp.sandbox.client import WorkerClient
from uhlp.sandbox.config import SandboxSettings
from uhlp.sandbox.driver import Driver, Sandbox, SandboxSpec
from uhlp.sandbox.instruments import PoolInstruments
from uhlp.sandbox.open_client import open_client

log = structlog.get_logger(__name__)


class StartedSandbox:
    """A sandbox and what is known of it beside its workers."""

    __slots__ = ("requests", "sandbox", "set_aside_because", "started_s", "was_asked")

    def __init__(self, sandbox: Sandbox, started_s: float) -> None:
        self.sandbox = sandbox
        self.started_s = started_s
        self.requests = 0
        """Calls that workers served here who have ended."""
        self.set_aside_because: str | None = None
        self.was_asked = False
        """It was set aside because somebody asked for another."""


class WorkerSource:
    """Starts workers, one sandbox start at a time, and backs off exponentially while starts fail."""

    def __init__(
        self,
        *,
        driver: Driver,
        spec: SandboxSpec,
        settings: SandboxSettings,
        clock: Clock,
        counts: PoolInstruments,
    ) -> None:
        self.failures = 0
        """Starts that failed since a worker last answered."""
        self._driver = driver
        self._spec = spec
        self._settings = settings
        self._clock = clock
        self._counts = counts
        self._current: StartedSandbox | None = None
        self._sandbox_start = asyncio.Lock()
        self._set_aside: list[StartedSandbox] = []
        self._cause: UhlpError | None = None
        self._failed_s = self._next_try_s = clock.monotonic()

    @property
    def sandboxes(self) -> list[StartedSandbox]:
        """The one that starts workers, and those set aside."""
        return [*([self._current] if self._current is not None else ()), *self._set_aside]

    @property
    def is_starting_sandbox(self) -> bool:
        return self._sandbox_start.locked()

    @property
    def sandbox_id(self) -> str | None:
        return self._current.sandbox.sandbox_id if self._current is not None else None

    @property
    def set_aside(self) -> frozenset[str]:
        """Ids of sandboxes that start no more workers; their workers take no further call."""
        return frozenset(each.sandbox.sandbox_id for each in self._set_aside)

    @property
    def may_start(self) -> bool:
        """False while starts back off."""
        return self.failures == 0 or self._clock.monotonic() >= self._next_try_s

    @property
    def problem(self) -> str | None:
        """Why starts fail, from the first failure until a worker answers."""
        return self.refusal().message if self.failures else None

    def refusal(self) -> UhlpError:
        """Why no worker starts now, and when the next attempt may be made."""
        if isinstance(self._cause, IsolationRefused):
            return self._cause
        reason = self._cause.message if self._cause else "the driver fails."
        return NoSandboxAvailable(
            f"No sandbox of pool {self._spec.pool.pool_name} starts: {reason}",
            retry_after_s=max(0.1, self._next_try_s - self._clock.monotonic()),
        )

    def failed(self, cause: UhlpError) -> None:
        """A start failed, or a worker ended before its first call: wait twice as long as after the failure before.

        Failures at the same time count once.
        """
        self._cause = cause
        self._failed_s = self._clock.monotonic()
        if not self.may_start:
            return
        self.failures += 1
        first_s, longest_s = self._settings.backoff_initial_s, self._settings.backoff_max_s
        wait_s = backoff_s(self.failures, first_s=first_s, longest_s=longest_s)
        self._next_try_s = self._clock.monotonic() + wait_s

    def succeeded(self) -> None:
        """A worker answered: the next failure is a first one again."""
        if self.failures:
            log.info("sandbox_starts_again", app_id=self._spec.app_id, pool=self._spec.pool.pool_name)
        self.failures = 0

    def has_started_since_failure(self, worker: WorkerClient) -> bool:
        """True of a worker that is younger than the last failure."""
        return worker.started_s > self._failed_s

    def served(self, sandbox_id: str, requests: int) -> None:
        """A worker of this sandbox leaves after so many calls."""
        for each in self.sandboxes:
            if each.sandbox.sandbox_id == sandbox_id:
                each.requests += requests

    def recycle(self, sandbox_id: str) -> bool:
        """Set the sandbox aside because somebody asked for it; False when it is none of this pool's."""
        for each in self.sandboxes:
            if each.sandbox.sandbox_id == sandbox_id:
                each.was_asked = True
                self._put_aside(each, "Somebody asked for another.")
                return True
        return False

    async def start_worker(self) -> WorkerClient | None:
        """A new worker, ready for its first call; None when the start failed (see `refusal`)."""
        since_s = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._settings.start_timeout_s):
                worker = await self._start_worker()
            self._counts.start_seconds.observe(self._clock.monotonic() - since_s)
            return worker
        except TimeoutError:
            if self._current is not None:
                self._put_aside(self._current, "It starts no worker in time.")
            self.failed(SandboxDied(f"it was not ready within {self._settings.start_timeout_s:g} s."))
        except UhlpError as error:
            self.failed(error)
        except Exception as error:
            log.exception("sandbox_driver_failed", app_id=self._spec.app_id)
            self.failed(SandboxDied(f"the driver failed with {type(error).__name__}."))
        self._counts.start_failures.inc()
        log.warning(
            "sandbox_start_failed",
            app_id=self._spec.app_id,
            pool=self._spec.pool.pool_name,
            reason=self._cause.message if self._cause else "",
        )
        return None

    async def _start_worker(self) -> WorkerClient:
        started = await self._running_sandbox()
        since_s = self._clock.monotonic()
        try:
            worker = await started.sandbox.start_worker()
        except SandboxDied as died:  # it has ended, or cannot fork: replaced once, then the failure stands
            self._put_aside(started, died.message)
            started = await self._running_sandbox()
            since_s = self._clock.monotonic()
            worker = await started.sandbox.start_worker()
        try:
            client = await open_client(worker, started.sandbox, self._settings, self._clock)
        except BaseException:
            await worker.kill()
            raise
        self._counts.worker_seconds.observe(self._clock.monotonic() - since_s)
        return client

    async def _running_sandbox(self) -> StartedSandbox:
        async with self._sandbox_start:
            if self._current is None:
                since_s = self._clock.monotonic()
                sandbox = await self._driver.start(self._spec)
                now_s = self._clock.monotonic()
                self._counts.starts.inc()
                self._counts.sandbox_seconds.observe(now_s - since_s)
                self._current = StartedSandbox(sandbox, now_s)
            return self._current

    def _put_aside(self, started: StartedSandbox, reason: str) -> None:
        if self._current is started:
            log.warning("sandbox_set_aside", sandbox_id=started.sandbox.sandbox_id, reason=reason)
            started.set_aside_because = reason
            self._set_aside.append(started)
            self._current = None

    async def sweep(self, in_use: set[str]) -> None:
        """Stop sandboxes that were set aside and have no worker left; `in_use` names sandboxes with live workers."""
        for started in [each for each in self._set_aside if each.sandbox.sandbox_id not in in_use]:
            self._set_aside.remove(started)
            await self._stop(started.sandbox, "it starts no more workers")

    async def stop(self, reason: str) -> None:
        """Stop the sandbox and all its workers; the next `start_worker` starts another."""
        stopping, self._set_aside, self._current = self.sandboxes, [], None
        for started in stopping:
            await self._stop(started.sandbox, reason)

    async def _stop(self, sandbox: Sandbox, reason: str) -> None:
        try:
            await sandbox.stop(reason)
        except Exception:
            log.exception("sandbox_stop_failed", sandbox_id=sandbox.sandbox_id)

"""WorkerSource: where a pool's new workers come from: one sandbox, started at first need and replaced when it ends or
can start no more workers. Those it has may then finish their calls."""

import asyncio

import structlog

from uhlp.clock import Clock
from uhlp.errors import IsolationRefused, NoSandboxAvailable, SandboxDied, UhlpError
from uhlp.sandbox.client import WorkerClient
from uhlp.sandbox.config import SandboxSettings
from uhlp.sandbox.driver import Driver, Sandbox, SandboxSpec
from uhlp.sandbox.open_client import open_client

log = structlog.get_logger(__name__)


class WorkerSource:
    """Starts workers, one sandbox start at a time, and backs off exponentially while starts fail."""

    def __init__(self, *, driver: Driver, spec: SandboxSpec, settings: SandboxSettings, clock: Clock) -> None:
        self._driver = driver
        self._spec = spec
        self._settings = settings
        self._clock = clock
        self._sandbox: Sandbox | None = None
        self._sandbox_start = asyncio.Lock()
        self._set_aside: list[Sandbox] = []
        self._failures = 0
        self._cause: UhlpError | None = None
        self._next_try_s = clock.monotonic()

    @property
    def has_sandbox(self) -> bool:
        return self._sandbox is not None or bool(self._set_aside)

    @property
    def sandbox_id(self) -> str | None:
        return self._sandbox.sandbox_id if self._sandbox is not None else None

    @property
    def set_aside(self) -> frozenset[str]:
        """Ids of sandboxes that start no more workers; their workers take no further call."""
        return frozenset(sandbox.sandbox_id for sandbox in self._set_aside)

    @property
    def may_start(self) -> bool:
        """False while starts back off."""
        return self._failures == 0 or self._clock.monotonic() >= self._next_try_s

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
        if not self.may_start:
            return
        wait_s = min(self._settings.backoff_max_s, self._settings.backoff_initial_s * 2 ** min(self._failures, 30))
        self._failures += 1
        self._next_try_s = self._clock.monotonic() + wait_s

    def succeeded(self) -> None:
        """A worker answered: the next failure is a first one again."""
        self._failures = 0

    async def start_worker(self) -> WorkerClient | None:
        """A new worker, ready for its first call; None when the start failed (see `refusal`)."""
        try:
            async with asyncio.timeout(self._settings.start_timeout_s):
                return await self._start_worker()
        except TimeoutError:
            if self._sandbox is not None:
                self._put_aside(self._sandbox, "It starts no worker in time.")
            self.failed(SandboxDied(f"it was not ready within {self._settings.start_timeout_s:g} s."))
        except UhlpError as error:
            self.failed(error)
        except Exception as error:
            log.exception("sandbox_driver_failed", app_id=self._spec.app_id)
            self.failed(SandboxDied(f"the driver failed with {type(error).__name__}."))
        log.warning(
            "sandbox_start_failed",
            app_id=self._spec.app_id,
            pool=self._spec.pool.pool_name,
            reason=self._cause.message if self._cause else "",
        )
        return None

    async def _start_worker(self) -> WorkerClient:
        sandbox = await self._running_sandbox()
        try:
            worker = await sandbox.start_worker()
        except SandboxDied as died:  # it has ended, or cannot fork: replaced once, then the failure stands
            self._put_aside(sandbox, died.message)
            sandbox = await self._running_sandbox()
            worker = await sandbox.start_worker()
        try:
            return await open_client(worker, sandbox, self._settings, self._clock)
        except BaseException:
            await worker.kill()
            raise

    async def _running_sandbox(self) -> Sandbox:
        async with self._sandbox_start:
            if self._sandbox is None:
                self._sandbox = await self._driver.start(self._spec)
            return self._sandbox

    def _put_aside(self, sandbox: Sandbox, reason: str) -> None:
        if self._sandbox is sandbox:
            log.warning("sandbox_set_aside", sandbox_id=sandbox.sandbox_id, reason=reason)
            self._set_aside.append(sandbox)
            self._sandbox = None

    async def sweep(self, in_use: set[str]) -> None:
        """Stop sandboxes that were set aside and have no worker left; `in_use` names sandboxes with live workers."""
        for sandbox in [each for each in self._set_aside if each.sandbox_id not in in_use]:
            self._set_aside.remove(sandbox)
            await self._stop(sandbox, "it starts no more workers")

    async def stop(self, reason: str) -> None:
        """Stop the sandbox and all its workers; the next `start_worker` starts another."""
        sandboxes, self._set_aside = self._set_aside, []
        if self._sandbox is not None:
            sandboxes.append(self._sandbox)
            self._sandbox = None
        for sandbox in sandboxes:
            await self._stop(sandbox, reason)

    async def _stop(self, sandbox: Sandbox, reason: str) -> None:
        try:
            await sandbox.stop(reason)
        except Exception:
            log.exception("sandbox_stop_failed", sandbox_id=sandbox.sandbox_id)

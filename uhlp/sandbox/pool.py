"""SandboxPool: the sandboxes and workers of one application, pool and group.

`claims` hands its workers out, `workforce` starts and ends them, `upkeep` looks after them in each cycle.
"""

from uhlp.clock import Clock
from uhlp.models.definition import PoolDefinition
from uhlp.sandbox.claims import Claims
from uhlp.sandbox.config import SandboxSettings
from uhlp.sandbox.crash_loops import CrashLoops
from uhlp.sandbox.driver import Driver, Group, SandboxSpec
from uhlp.sandbox.instruments import SandboxInstruments
from uhlp.sandbox.lane import Lane
from uhlp.sandbox.upkeep import Upkeep
from uhlp.sandbox.worker_source import WorkerSource
from uhlp.sandbox.workforce import Workforce


class SandboxPool:
    """Made at first need, or when a minimum is asked for; closed once."""

    def __init__(
        self,
        *,
        app_id: str,
        definition: PoolDefinition,
        group: Group,
        driver: Driver,
        settings: SandboxSettings,
        clock: Clock,
        instruments: SandboxInstruments,
    ) -> None:
        self.app_id = app_id
        self.group: Group = group
        self._settings = settings
        self._clock = clock
        self.started_s = clock.monotonic()
        counts = instruments.of_pool(app_id, definition.pool_name, group)
        self.source = WorkerSource(
            driver=driver,
            spec=SandboxSpec(app_id=app_id, pool=definition, group=group),
            settings=settings,
            clock=clock,
            counts=counts,
        )
        self.workforce = Workforce(source=self.source, clock=clock, counts=counts, on_free=self._serve)
        self.crash_loops = CrashLoops(group=group, settings=settings, clock=clock, counts=counts)
        self.claims = Claims(
            definition=definition,
            workforce=self.workforce,
            crash_loops=self.crash_loops,
            settings=settings,
            clock=clock,
            counts=counts,
        )
        self._upkeep = Upkeep(workforce=self.workforce, settings=settings, clock=clock)
        self.definition = definition
        self.apply(definition)

    def apply(self, definition: PoolDefinition) -> None:
        """Exchange the numbers for those of a definition that starts the same sandbox."""
        self.definition = self.claims.definition = definition
        self.workforce.lanes["model"].each = definition.concurrency or self._settings.model_concurrency

    def _serve(self, lane: Lane | None) -> None:
        if lane is not None:
            self.claims.dispatch(lane)
        for each in self.workforce.lanes.values():
            self.claims.dispatch(each)

    async def reconcile(self, minimum: int, is_wanted: bool = True) -> None:
        """One cycle (see Upkeep); then free the queue, and stop the sandbox of a pool that nobody uses."""
        await self._upkeep.run(self.definition, minimum=minimum, is_wanted=is_wanted)
        self._serve(None)
        if self.is_unused(minimum, is_wanted):
            await self.source.stop("idle")

    def is_unused(self, minimum: int = 0, is_wanted: bool = True) -> bool:
        """True when nothing lives, starts or waits, and nothing has been asked for since the idle timeout."""
        quiet_s = self._clock.monotonic() - self.claims.used_s
        alive = minimum or self.claims.waiting or not self.workforce.is_at_rest
        return not alive and (quiet_s > self.definition.idle_timeout_s or not is_wanted)

    def recycle(self, sandbox_id: str) -> bool:
        """Replace the sandbox: no new calls there, those in flight finish. False when it is none of this pool's."""
        is_current = self.source.sandbox_id == sandbox_id
        if not self.source.recycle(sandbox_id):
            return False
        self.workforce.leave_set_aside("asked")
        if is_current:
            self.workforce.start_spare()
        return True

    def problems(self) -> list[str]:
        """Why it cannot serve all that it is there for: starts that fail, code that crashes call after call."""
        starts = [self.source.problem] if self.source.problem is not None else []
        return starts + self.crash_loops.problems()

    async def close(self, drain_s: float) -> None:
        """Refuse new calls, let those in flight finish for `drain_s`, then end everything."""
        await self.claims.close(drain_s)
        await self.workforce.finish()

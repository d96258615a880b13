"""Everything that a server does by itself, as one loop group."""

from collections.abc import Awaitable, Callable
from functools import partial

from uhlp.access.access_tokens import AccessTokens
from uhlp.evals.eval_runs import AT_ONCE
from uhlp.execution.workflow.workflow_runs import WorkflowRuns
from uhlp.loops import LoopGroup, PeriodicLoop
from uhlp.loops.event_loop_lag import EventLoopLag
from uhlp.sources.sources import Sources
from uhlp.wiring.evals import Evals
from uhlp.wiring.evolution import Evolution
from uhlp.wiring.foundation import Foundation
from uhlp.wiring.gauges import make_gauges

_OBSERVERS = 8
_COMPILERS = 4
_RECONCILE_S = 10.0
_FOLLOW_S = 1.0
"""A key that was revoked by a push to a repository serves no longer than this."""
_SERVERS_S = 1.0
"""A server that comes back is found no later than this after its time."""
_SWEEP_S = 60.0
_REMOTE_S = 30.0
_ANCHOR_S = 3600.0
_WEBHOOK_S = 1.0
_KEEP_USAGE_S = 1.0
_RECORD_S = 1.0
_LOOK_S = 5.0
_FORGET_SERIES_S = 60.0
_KEEP_WINDOWS_S = 60.0
_CRON_S = 1.0


def make_loops(
    ground: Foundation,
    evolution: Evolution,
    tokens: AccessTokens,
    sources: Sources,
    workflows: WorkflowRuns,
    evals: Evals,
) -> LoopGroup:
    """Not started yet; what happens wakes what waits for it."""
    clock, metrics = ground.clock, ground.metrics

    def loop(name: str, cycle: Callable[[], Awaitable[object]], period_s: float | Callable[[], float]) -> PeriodicLoop:
        return PeriodicLoop(name, cycle, period_s, clock, meter=metrics)

    def workers(name: str, cycle: Callable[[], Awaitable[object]], number: int) -> list[PeriodicLoop]:
        return [
            PeriodicLoop(f"{name}-{one}", cycle, 0.0, clock, meter=metrics, waits_for_work=True)
            for one in range(1, number + 1)
        ]

    lag = EventLoopLag(clock=clock, meter=metrics)

    def cycle_s() -> float:
        return ground.numbers.now.cycle_s

    loops = LoopGroup(
        [
            loop("registry", ground.registry.run_cycle, _FOLLOW_S),
            loop("remotes", ground.registry.run_remote_cycle, _REMOTE_S),
            loop("runtime-store", ground.runtime.run_cycle, _SWEEP_S),
            loop("models", ground.gateway.run_cycle, _RECONCILE_S),
            *([loop("cassette", ground.cassette.run_cycle, _RECORD_S)] if ground.cassette is not None else []),
            loop("mcp-servers", ground.mcp_servers.run_cycle, _SERVERS_S),
            loop("sandboxes", ground.sandboxes.run_cycle, ground.settings.sandbox.cycle_s),
            loop("sandbox-driver", ground.sandboxes.run_driver_cycle, ground.settings.sandbox.cycle_s),
            loop("leadership", evolution.leadership.run_cycle, evolution.leadership.renew_every_s),
            loop("oracle", evolution.leadership.when_leading(evolution.oracle.run_optimization_cycle), cycle_s),
            loop("evolution", evolution.leadership.when_leading(evolution.daemon.run_cycle), cycle_s),
            loop("ledger-anchors", evolution.leadership.when_leading(evolution.anchors.run_cycle), _ANCHOR_S),
            loop("windows", evolution.windows_archive.run_cycle, _KEEP_WINDOWS_S),
            loop("usage", evolution.usage.run_cycle, _KEEP_USAGE_S),
            loop("gauges", make_gauges(ground, evolution), _LOOK_S),
            loop("event-loop-lag", lag.run_cycle, lag.every_s),
            loop("metrics", lambda: metrics.run_cycle(ground.registry.known_app_ids()), _FORGET_SERIES_S),
            loop("access", tokens.run_cycle, _RECONCILE_S),
            loop("queues", sources.consumers.run_cycle, _RECONCILE_S),
            loop("queue-gauges", sources.consumers.show, _LOOK_S),
            loop("cron", sources.cron.run_cycle, _CRON_S),
            loop("workflows", workflows.run_cycle, workflows.until_next_cycle_s),
            PeriodicLoop("workflow-runs", workflows.run_walks, 0.0, clock, meter=metrics, waits_for_work=True),
            loop("alerts", evolution.alert_watch.run_cycle, cycle_s),
            *(
                PeriodicLoop(
                    one.name, one.run_cycle, _WEBHOOK_S, ground.clock, meter=ground.metrics, waits_for_work=True
                )
                for one in evolution.webhooks
            ),
            *workers("eval", evals.eval_loop.run_cycle, evals.eval_loop.concurrency),
            *workers("eval-replies", evals.evaluation.run_cycle, 1),
            *workers("evaluations", evals.eval_runs.run_cycle, AT_ONCE),
            *workers("optimize", evals.optimize_loop.run_cycle, evals.optimize_loop.concurrency),
            *workers("compiler", evolution.leadership.once_leading(evolution.compiler.run_cycle), _COMPILERS),
            *workers("observer", evolution.leadership.measuring(evolution.observer.run_cycle), _OBSERVERS),
        ]
    )
    workflows.on_earlier_cycle(partial(loops.wake, "workflows"))
    for webhook in evolution.webhooks:
        webhook.on_offer(partial(loops.wake, webhook.name))
    evolution.leadership.on_gain(lambda: loops.wake("evolution"))
    for name in ("oracle", "evolution", "alerts"):
        evolution.run_time.on_change(partial(loops.wake, name))  # their period may have changed, and what they find
    ground.registry.on_change(lambda app_id: loops.wake("evolution"))  # a changed specification voids at once
    ground.registry.on_change(lambda app_id: loops.wake("mcp-servers"))  # what a definition no longer has is closed
    ground.registry.on_change(lambda app_id: loops.wake("sandboxes"))  # pools follow what is desired at once
    ground.registry.on_change(lambda app_id: loops.wake("queues"))  # and so do consumers

    def forget(app_id: str) -> None:
        if not ground.registry.is_known(app_id):
            loops.wake("metrics")
            ground.answer_cache.forget(app_id)

    ground.registry.on_change(forget)
    return loops

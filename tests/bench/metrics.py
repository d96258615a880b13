"""Metrics in, out and inside, beside prometheus_client and a pushgateway: `python -m tests.bench.metrics [rounds]`.

POST /record is held against Debian's prometheus-pushgateway with one core for each server. What is rendered and counted
inside is measured in this process, in CPU time of its thread, because the machine has other work too.
"""

import asyncio
import contextlib
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import prometheus_client
from prometheus_client import CollectorRegistry, generate_latest

from tests.bench.load import API_KEY, SERVER_CORE, measure
from tests.bench.processes import Running, free_port, server, uhlp_serve
from tests.bench.rounds import Results, Target, print_table, run_rounds, verdict
from uhlp.catalogue import traffic
from uhlp.clock import SystemClock
from uhlp.jsonschemas import schema_file
from uhlp.metrics import Form, MetricCollector, MetricsConfig
from uhlp.routing.instruments import RouterInstruments

UHLP, GATEWAY = "UHLP /record", "pushgateway"
ONE, HUNDRED = "one sample", "100 samples"
SIZES = (1_000, 10_000, 100_000)
TRACE = "0af7651916cd43dd8448eb211c80319c"


def record_against_a_pushgateway(*, rounds: int, seconds: int) -> Results:
    """Requests per second at 16 connections, one sample and a hundred a POST."""
    one = {"metric_name": "app.custom.orders", "metric_type": "counter", "value": 1, "labels": {"zone": "a"}}
    hundred = [{**one, "labels": {"zone": "a", "user": str(n)}, "metric_name": "app.custom.seen"} for n in range(100)]
    lines = "".join(f'app_custom_seen_total{{zone="a",user="{n}"}} 1\n' for n in range(100))
    port = free_port()
    command = ["prometheus-pushgateway", f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
    with ExitStack() as stack:
        gateway = stack.enter_context(server(command, port, core=SERVER_CORE))
        recorder = stack.enter_context(uhlp_serve({"UHLP_ADMIN_TOKEN": API_KEY}))
        pushed, recorded = f"{gateway.url}/metrics/job/bench", f"{recorder.url}/record"
        targets = {
            f"{GATEWAY}, {ONE}": Target(pushed, 'app_custom_orders_total{zone="a"} 1\n'),
            f"{UHLP}, {ONE}": Target(recorded, one),
            f"{GATEWAY}, {HUNDRED}": Target(pushed, f"# TYPE app_custom_seen_total counter\n{lines}"),
            f"{UHLP}, {HUNDRED}": Target(recorded, hundred),
        }
        results = run_rounds(targets, connections=(16,), rounds=rounds, seconds=seconds)
        costs = {
            name: _microseconds_of(recorder if name.startswith(UHLP) else gateway, target)
            for name, target in targets.items()
        }
    print_table(results)
    for what, goal in ((ONE, 2.5), (HUNDRED, 1.2)):
        ours, theirs = f"{UHLP}, {what}", f"{GATEWAY}, {what}"
        over = results[ours][16].requests_per_s / results[theirs][16].requests_per_s
        print(verdict(f"{what} a POST over pushgateway", over, goal, at_least=True))
        print(f"  CPU of the server a POST: {costs[ours]:.0f} µs, pushgateway's {costs[theirs]:.0f} µs")
    return results


def _microseconds_of(running: Running, target: Target, seconds: int = 2) -> float:
    """CPU of a server and its children for each request: a busy machine lengthens the wait, hardly this."""
    before = _cpu_s(running.pid)
    figures = measure(target.url, target.body, connections=16, seconds=seconds)
    return (_cpu_s(running.pid) - before) / (figures.requests_per_s * seconds) * 1e6


def _cpu_s(pid: int) -> float:
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if pid in (int(stat.parent.name), int(fields[1])):
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def collector() -> MetricCollector:
    return MetricCollector(schema=schema_file("metric_record"), config=MetricsConfig(), clock=SystemClock())


def scrape(size: int, *, rounds: int) -> tuple[float, float, float]:
    """Milliseconds of CPU for `size` series: prometheus_client's, ours, and the longest that ours held the loop."""
    registry = CollectorRegistry()
    theirs = prometheus_client.Counter("app_custom_many", "Many", ("appId", "componentId", "user"), registry=registry)
    metrics = collector()
    ours = metrics.counter("app_custom_many", "Many", ("appId", "componentId", "user"))
    for number in range(size):
        labels = ("shop", f"component-{number % 10}", str(number))
        theirs.labels(*labels).inc(number)
        ours.labels(*labels).inc(number)

    def reference() -> float:
        started = time.thread_time()
        generate_latest(registry)
        return time.thread_time() - started

    async def rendered() -> tuple[float, float]:
        longest, is_over = 0.0, False

        async def watch() -> None:
            nonlocal longest
            before = time.thread_time()
            while not is_over:
                await asyncio.sleep(0)
                now = time.thread_time()
                longest, before = max(longest, now - before), now

        watcher = asyncio.create_task(watch())
        await asyncio.sleep(0)
        started = time.thread_time()
        await metrics.latest(Form())
        took = time.thread_time() - started
        is_over = True
        await watcher
        return took, longest

    ours_took = [asyncio.run(rendered()) for _ in range(rounds)]
    return (
        statistics.median(reference() for _ in range(rounds)) * 1000,
        statistics.median(took for took, _ in ours_took) * 1000,
        statistics.median(longest for _, longest in ours_took) * 1000,
    )


def events() -> dict[str, float]:
    """Microseconds of CPU for each kind of event inside."""
    metrics = collector()
    calls = metrics.counter("uhlp_bench_calls", "Calls", ("appId", "componentId"))
    kept = calls.labels("shop", "echo")
    wait = metrics.histogram("uhlp_bench_wait_seconds", "Wait", ("appId",))
    router, executions = RouterInstruments(metrics), traffic.EXECUTIONS.on(metrics)

    def request() -> None:
        in_flight = router.in_flight("shop", "echo")
        in_flight.inc()
        kept.inc()
        executions.labels("shop", "echo", "JIT", "serving", "ok").inc()
        router.finished("shop", "echo", by_model=False, is_ok=True, seconds=0.003, trace_id=TRACE)
        in_flight.dec()

    return {
        "count, child kept": _microseconds(kept.inc),
        "count, by labels": _microseconds(lambda: calls.labels("shop", "echo").inc()),
        "observe, by labels": _microseconds(lambda: wait.labels("shop").observe(0.3)),
        "observe with a trace": _microseconds(lambda: wait.labels("shop").observe(0.3, TRACE)),
        "all of one request": _microseconds(request),
    }


def _microseconds(event: Callable[[], object], times: int = 20_000) -> float:
    spells = []
    for _ in range(5):
        started = time.thread_time()
        for _ in range(times):
            event()
        spells.append((time.thread_time() - started) / times * 1e6)
    return statistics.median(spells)


def run(
    *, rounds: int = 3, seconds: int = 3
) -> tuple[Results, dict[int, tuple[float, float, float]], dict[str, float]]:
    """Measure all, and print tables and ratios."""
    results = record_against_a_pushgateway(rounds=rounds, seconds=seconds) if has_pushgateway() else {}
    print(f"{'GET /metrics, series':>24}{'prometheus_client ms':>24}{'UHLP ms':>12}{'longest hold ms':>18}")
    scrapes = {}
    for size in SIZES:
        theirs, ours, longest = scrapes[size] = scrape(size, rounds=rounds)
        print(f"{size:24,}{theirs:24.1f}{ours:12.1f}{longest:18.2f}")
    theirs, ours, longest = scrapes[SIZES[-1]]
    print(verdict("a scrape of 100,000 series over prometheus_client's", ours / theirs, 0.1, at_least=False))
    print(verdict("its longest hold of the loop, ms", longest, 10, at_least=False))
    inside = events()
    for what, took in inside.items():
        goal = 15 if what == "all of one request" else 3
        print(verdict(f"{what}, µs", took, goal, at_least=False))
    return results, scrapes, inside


def has_pushgateway() -> bool:
    return shutil.which("wrk") is not None and shutil.which("prometheus-pushgateway") is not None


if __name__ == "__main__":
    run(rounds=int(sys.argv[1]) if len(sys.argv) > 1 else 3)

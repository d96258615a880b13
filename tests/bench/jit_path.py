"""A handler end to end, beside what a web framework alone costs: `python -m tests.bench.jit_path [rounds]`.

The server has one core, as each floor has; its sandboxes share the other with the load. Ingress, schemas, router,
worker, metrics and sample are all in the measured path.
"""

import sys
from contextlib import ExitStack

from tests.bench.application import APP_ID, TICKET, register
from tests.bench.load import LOAD_CORE, measure
from tests.bench.processes import asgi, move_sandboxes, uhlp_serve
from tests.bench.rounds import Results, Target, print_table, run_rounds, verdict

UHLP, BARE, STARLETTE, PYDANTIC = "UHLP, JIT component", "bare ASGI echo", "Starlette echo", "FastAPI + Pydantic echo"


def run(*, rounds: int = 5, seconds: int = 3) -> Results:
    """Measure at 16 connections and at one, and print table and ratios."""
    with ExitStack() as stack:
        targets = {
            BARE: Target(stack.enter_context(asgi("tests.bench.floors:bare")) + "/echo", TICKET),
            STARLETTE: Target(stack.enter_context(asgi("tests.bench.floors:starlette")) + "/echo", TICKET),
            PYDANTIC: Target(stack.enter_context(asgi("tests.bench.floors:pydantic")) + "/echo", TICKET),
        }
        running = stack.enter_context(uhlp_serve())
        register(running.url)
        targets[UHLP] = Target(f"{running.url}/apps/{APP_ID}/code", TICKET)
        measure(targets[UHLP].url, TICKET, connections=16, seconds=1)  # starts the sandboxes
        move_sandboxes(running, LOAD_CORE)
        results = run_rounds(targets, connections=(16, 1), rounds=rounds, seconds=seconds)
    print_table(results)
    uhlp, bare, pydantic = results[UHLP], results[BARE], results[PYDANTIC]
    for what, value, goal, at_least in (
        ("req/s at c=16 over FastAPI + Pydantic", uhlp[16].requests_per_s / pydantic[16].requests_per_s, 1.3, True),
        ("req/s at c=16 over bare ASGI", uhlp[16].requests_per_s / bare[16].requests_per_s, 0.3, True),
        ("p50 at c=1 over FastAPI + Pydantic", uhlp[1].p50_ms / pydantic[1].p50_ms, 1.5, False),
    ):
        print(verdict(what, value, goal, at_least=at_least))
    return results


if __name__ == "__main__":
    run(rounds=int(sys.argv[1]) if len(sys.argv) > 1 else 5)

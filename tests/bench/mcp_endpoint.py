"""/mcp beside the bare SDK: `python -m tests.bench.mcp_endpoint [rounds]`.

Authentication, the caller's context, limits, metrics and the SDK are all in the measured path; the bare server is the
SDK with one tool.
"""

import sys
from contextlib import ExitStack

import httpx

from tests.bench.application import APP_ID
from tests.bench.bare_mcp import TOOL
from tests.bench.load import API_KEY
from tests.bench.processes import asgi, uhlp_serve
from tests.bench.rounds import Results, Target, print_table, run_rounds, verdict

UHLP, BARE = "UHLP /mcp", "bare SDK server"
_MESSAGE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": TOOL, "arguments": {"key": "tone", "default": 1}},
}


def run(*, rounds: int = 5, seconds: int = 3) -> Results:
    """Measure at 16 connections and at one, and print table and ratios."""
    with ExitStack() as stack:
        running = stack.enter_context(uhlp_serve({"UHLP_ADMIN_TOKEN": API_KEY}))
        bare = stack.enter_context(asgi("tests.bench.bare_mcp:app"))
        _register(running.url)
        targets = {BARE: Target(f"{bare}/mcp", _MESSAGE), UHLP: Target(f"{running.url}/mcp", _MESSAGE)}
        results = run_rounds(targets, connections=(16, 1), rounds=rounds, seconds=seconds)
    print_table(results)
    ours, theirs = results[UHLP], results[BARE]
    for count in (16, 1):
        over = ours[count].requests_per_s / theirs[count].requests_per_s
        print(verdict(f"calls/s at c={count} over the bare SDK server", over, 1.0, at_least=True))
    return results


def _register(url: str) -> None:
    answer = httpx.post(
        f"{url}/admin/v1/apps",
        json={"definition": {"appId": APP_ID}},
        headers={"Authorization": f"Bearer {API_KEY}"},
        timeout=60,
    )
    answer.raise_for_status()


if __name__ == "__main__":
    run(rounds=int(sys.argv[1]) if len(sys.argv) > 1 else 5)

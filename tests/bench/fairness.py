"""What one application's flood does to another's answers: `python -m tests.bench.fairness [rounds]`.

Two applications on one server. The quiet one sends steadily over eight connections; the other floods over eighty, each
sending again as soon as it is answered. Once their components are code, once prompts whose model takes 200 ms: so the
flood stays below what the bench's provider bears, which shares a core with the load. Rounds alternate, so that a noisy
minute hits both alike; figures are medians. A machine that others keep busy measures them: a server that works all the
time waits for its core, an idle one does not.
"""

import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.bench.application import TICKET, register
from tests.bench.load import API_KEY, LOAD_CORE, SCRIPT, on_core
from tests.bench.processes import asgi, move_sandboxes, uhlp_serve
from tests.bench.rounds import verdict

QUIET, FLOOD = "quiet", "flood"
CODE, MODEL = "code", "model"
CONNECTIONS, TIMES = 8, 10
RATES_PER_S = {CODE: 80, MODEL: 30}
MODEL_S = 0.2


@dataclass(frozen=True, slots=True)
class Fairness:
    """p95 of the quiet application, alone and beside the flood, and how many times its requests the flood had answered
    (refusals included)."""

    alone_ms: float
    flooded_ms: float
    times: float


def run(*, rounds: int = 5, seconds: int = 3) -> dict[str, Fairness]:
    """Measure both kinds of component, and print them."""
    with ExitStack() as stack:
        provider = stack.enter_context(
            asgi("tests.bench.provider:app", core=LOAD_CORE, environment={"BENCH_PROVIDER_S": str(MODEL_S)})
        )
        environment = {
            "UHLP_LLM__PROVIDERS": json.dumps({"bench": {"kind": "openai", "base_url": f"{provider}/v1"}}),
            "UHLP_LLM__DEFAULT_MODEL": "bench",
        }
        server = stack.enter_context(uhlp_serve(environment))
        for app_id in (QUIET, FLOOD):
            register(server.url, app_id)
        found = {}
        for kind in (CODE, MODEL):
            quiet, flood = (f"{server.url}/apps/{app_id}/{kind}" for app_id in (QUIET, FLOOD))
            with flooding(flood, seconds=2):
                asyncio.run(latencies(quiet, RATES_PER_S[kind], seconds=1))  # sandboxes start
            move_sandboxes(server, LOAD_CORE)
            spells = [_round(quiet, flood, RATES_PER_S[kind], seconds) for _ in range(rounds)]
            found[kind] = Fairness(*(statistics.median(figures) for figures in zip(*spells, strict=True)))
    for kind, one in found.items():
        print(f"{kind}: p95 {one.alone_ms:.2f} ms alone, {one.flooded_ms:.2f} ms beside {one.times:.1f} times its load")
        print(verdict(f"{kind}: p95 beside the flood over alone", one.flooded_ms / one.alone_ms, 2, at_least=False))
    print("load average of the machine: {:.2f} {:.2f} {:.2f}".format(*os.getloadavg()))
    return found


def _round(quiet: str, flood: str, rate_per_s: int, seconds: int) -> tuple[float, float, float]:
    """The three figures of `Fairness`, measured once."""
    alone = asyncio.run(latencies(quiet, rate_per_s, seconds=seconds))
    with flooding(flood, seconds=seconds + 2) as answered:
        time.sleep(1)
        flooded = asyncio.run(latencies(quiet, rate_per_s, seconds=seconds))
    return p95_ms(alone), p95_ms(flooded), answered() / rate_per_s


def p95_ms(taken_s: list[float]) -> float:
    """The 95th percentile in milliseconds."""
    return sorted(taken_s)[int(len(taken_s) * 0.95)] * 1000


async def latencies(url: str, rate_per_s: int, *, seconds: int) -> list[float]:
    """Seconds that each request of the quiet application took, from when it was due. RuntimeError when one failed."""
    every_s = CONNECTIONS / rate_per_s
    callers = (
        _caller(url, first_s=every_s * n / CONNECTIONS, every_s=every_s, seconds=seconds) for n in range(CONNECTIONS)
    )
    return [taken for of_caller in await asyncio.gather(*callers) for taken in of_caller]


async def _caller(url: str, *, first_s: float, every_s: float, seconds: int) -> list[float]:
    parts, body = urlsplit(url), json.dumps(TICKET).encode()
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = f"POST {parts.path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    loop, taken = asyncio.get_running_loop(), []
    due, end = loop.time() + first_s, loop.time() + seconds
    with contextlib.closing(writer):
        while due < end:
            await asyncio.sleep(due - loop.time())
            writer.write(head.encode() + b"\r\n\r\n" + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            if not answer.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"the quiet application was refused: {answer.splitlines()[0].decode()}")
            length = next(line for line in answer.lower().splitlines() if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.partition(b":")[2]))
            taken.append(loop.time() - due)
            due += every_s
    return taken


@contextmanager
def flooding(url: str, *, seconds: int) -> Iterator["Answered"]:
    """wrk on eighty connections while the block runs; what is yielded gives answers a second when it is over."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS * TIMES}", f"-d{seconds}s", "-s", str(SCRIPT), url, "--"]
    command += [json.dumps(TICKET), API_KEY]
    process = subprocess.Popen(on_core(LOAD_CORE, command), stdout=subprocess.PIPE, text=True)
    answered = Answered(process)
    try:
        yield answered
    finally:
        answered.wait()


class Answered:
    """What wrk counted; wait for it before asking."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._per_s = 0.0

    def wait(self) -> None:
        said, _ = self._process.communicate(timeout=60)
        result = json.loads(said.strip().splitlines()[-1])
        self._per_s = result["requests"] / (result["duration_us"] / 1e6)

    def __call__(self) -> float:
        return self._per_s


if __name__ == "__main__":
    run(rounds=int(sys.argv[1]) if len(sys.argv) > 1 else 5)

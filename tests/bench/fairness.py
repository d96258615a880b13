"""What one application's flood does to another's answers: `python -m tests.bench.fairness [seconds]`.

Two applications on one server. The quiet one sends a steady 80 requests a second over eight connections; the other
floods over eighty, each sending again as soon as it is answered. Once their components are code, once prompts whose
model takes 50 ms.
"""

import asyncio
import contextlib
import json
import os
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
CONNECTIONS, RATE_PER_S, TIMES = 8, 80, 10
MODEL_S = 0.05


@dataclass(frozen=True, slots=True)
class Fairness:
    """p95 of the quiet application, alone and beside the flood, and how many times its requests the flood had answered
    (refusals included)."""

    alone_ms: float
    flooded_ms: float
    times: float


def run(*, seconds: int = 5) -> dict[str, Fairness]:
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
                asyncio.run(latencies(quiet, seconds=1))  # sandboxes start
            move_sandboxes(server, LOAD_CORE)
            alone = asyncio.run(latencies(quiet, seconds=seconds))
            with flooding(flood, seconds=seconds + 2) as answered:
                time.sleep(1)
                flooded = asyncio.run(latencies(quiet, seconds=seconds))
            flood_per_s = answered()
            found[kind] = Fairness(p95_ms(alone), p95_ms(flooded), flood_per_s / RATE_PER_S)
    for kind, one in found.items():
        print(f"{kind}: p95 {one.alone_ms:.2f} ms alone, {one.flooded_ms:.2f} ms beside {one.times:.1f} times its load")
        print(verdict(f"{kind}: p95 beside the flood over alone", one.flooded_ms / one.alone_ms, 2, at_least=False))
    print("load average of the machine: {:.2f} {:.2f} {:.2f}".format(*os.getloadavg()))
    return found


def p95_ms(taken_s: list[float]) -> float:
    """The 95th percentile in milliseconds."""
    return sorted(taken_s)[int(len(taken_s) * 0.95)] * 1000


async def latencies(url: str, *, seconds: int) -> list[float]:
    """Seconds that each request of the quiet application took, from when it was due. RuntimeError when one failed."""
    every_s = CONNECTIONS / RATE_PER_S
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
    run(seconds=int(sys.argv[1]) if len(sys.argv) > 1 else 5)

"""Load from another process: wrk on a core of its own, one JSON body posted over and over."""

import json
import os
import secrets
import shutil
import statistics
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SERVER_CORE = 0
LOAD_CORE = 1
API_KEY = f"sk-{secrets.token_hex(32)}"
"""Sent with every request; of all servers only LiteLLM, which wants one, looks at it."""
SCRIPT = Path(__file__).with_name("post.lua")


@dataclass(frozen=True, slots=True)
class Figures:
    """What one spell of load measured; latencies in milliseconds."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float


def on_core(core: int, command: list[str]) -> list[str]:
    """`command` pinned to one core where that is possible; children inherit it."""
    if shutil.which("taskset") and core in os.sched_getaffinity(0):
        return ["taskset", "-c", str(core), *command]
    return command


def measure(url: str, body: Any, *, connections: int, seconds: int) -> Figures:
    """Post `wire_body(body)` over `connections` connections for `seconds`. RuntimeError when an answer was no 2xx."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(SCRIPT), url, "--"]
    command += [wire_body(body), API_KEY]
    ended = subprocess.run(on_core(LOAD_CORE, command), capture_output=True, text=True, check=True)
    result = json.loads(ended.stdout.strip().splitlines()[-1])
    if result["errors"] or not result["requests"]:
        raise RuntimeError(f"{result['errors']} of {result['requests']} requests to {url} failed")
    return Figures(
        requests_per_s=result["requests"] / (result["duration_us"] / 1e6),
        p50_ms=result["p50_us"] / 1000,
        p99_ms=result["p99_us"] / 1000,
    )


def wire_body(body: Any) -> str:
    """What is sent: text as it is, all else as JSON."""
    return body if isinstance(body, str) else json.dumps(body)


def median(spells: Iterable[Figures]) -> Figures:
    """The median of each figure on its own."""
    spells = list(spells)
    return Figures(
        *(statistics.median(getattr(one, name) for one in spells) for name in ("requests_per_s", "p50_ms", "p99_ms"))
    )

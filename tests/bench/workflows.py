"""What a workflow adds to its steps: `python -m tests.bench.workflows [seconds]`.

The same handler is asked by itself and as each step of workflows of several lengths, one request after the other. A
step's begin waits for the journal, and its end goes with the next step's begin: that wait, the mapping of inputs and
one more request through the router are what is measured here. Direct calls pay for HTTP each, a workflow once.
"""

import json
import re
import sys
import time
from dataclasses import dataclass
from statistics import median, quantiles

import httpx

from tests.bench.processes import ADMIN_TOKEN, uhlp_serve

APP_ID = "flow"
LENGTHS = (1, 5, 20)
_HANDLER = "def handle(inputs, context):\n    return {'n': inputs['n'] + 1}\n"
_TIMING = re.compile(r"(\w+);dur=([0-9.]+)")


@dataclass(frozen=True, slots=True)
class Figures:
    """Milliseconds: what a caller waited, and what the server says that the component took."""

    p50_ms: float
    p99_ms: float
    inside_ms: float


def run(*, seconds: float = 3.0) -> dict[int, Figures]:
    """Measure and print; key 0 is the handler by itself."""
    with uhlp_serve() as running:
        register(running.url)
        with httpx.Client(base_url=f"{running.url}/apps/{APP_ID}", timeout=30.0, trust_env=False) as client:
            for length in (0, *LENGTHS):
                _measured(client, length, 0.5)  # sandboxes start, caches fill
            spells: dict[int, list[Figures]] = {length: [] for length in (0, *LENGTHS)}
            for _ in range(3):
                for length, found in spells.items():
                    found.append(_measured(client, length, seconds / 3))
    figures = {length: _median(found) for length, found in spells.items()}
    _print(figures)
    return figures


def register(url: str) -> None:
    """POST /code runs the handler, POST /of<n> a workflow of n steps that each run it."""
    components = [{"componentId": "code", "handlerType": "JIT", "taskDetails": _task(), **_route("code")}]
    files = {"_jit_code/code/v1/handler.py": _HANDLER}
    for length in LENGTHS:
        name = f"of{length}"
        components.append(
            {"componentId": name, "handlerType": "WORKFLOW", "taskDetails": {"workflowId": name}, **_route(name)}
        )
        files[f"workflows/{name}.yaml"] = json.dumps({"steps": _steps(length)})
    files["component_registry.yaml"] = json.dumps({"components": components})
    answer = httpx.post(
        f"{url}/admin/v1/apps",
        json={"definition": {"appId": APP_ID, "public": True}, "files": files},
        headers={"Authorization": f"Bearer {ADMIN_TOKEN}"},
        timeout=60,
    )
    if answer.status_code != 201:
        raise RuntimeError(f"the application was refused: {answer.text}")


def _task() -> dict[str, str]:
    return {"script": "_jit_code/code/v1/handler.py", "function": "handle"}


def _route(name: str) -> dict[str, object]:
    return {"routeMatcher": {"pathPattern": f"/{name}", "methods": ["POST"]}}


def _steps(length: int) -> list[dict[str, object]]:
    steps: list[dict[str, object]] = []
    for number in range(1, length + 1):
        before = "trigger.input.n" if number == 1 else f"steps.s{number - 1}.output.n"
        step = {"id": f"s{number}", "type": "jit", "componentId": "code", "inputMapping": {"n": before}}
        steps.append(step | ({"end": True} if number == length else {"onSuccess": f"s{number + 1}"}))
    return steps


def _measured(client: httpx.Client, length: int, seconds: float) -> Figures:
    path, expected = ("/code", 1) if length == 0 else (f"/of{length}", length)
    waited, inside = [], []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        begun = time.perf_counter()
        answer = client.post(path, json={"n": 0})
        waited.append((time.perf_counter() - begun) * 1000)
        if answer.status_code != 200 or answer.json() != {"n": expected}:
            raise RuntimeError(f"{path} answered {answer.status_code}: {answer.text}")
        timing = dict(_TIMING.findall(answer.headers["Server-Timing"]))
        inside.append(float(timing["handler" if length == 0 else "workflow"]))
    return Figures(median(waited), quantiles(waited, n=100)[98], median(inside))


def _median(found: list[Figures]) -> Figures:
    return Figures(
        median(one.p50_ms for one in found), median(one.p99_ms for one in found), median(one.inside_ms for one in found)
    )


def _print(figures: dict[int, Figures]) -> None:
    alone = figures[0]
    print(f"{'':34}{'p50 ms':>9}{'p99 ms':>9}{'inside ms':>11}{'a step ms':>11}{'added ms':>10}")
    print(f"{'the handler by itself':34}{alone.p50_ms:9.3f}{alone.p99_ms:9.2f}{alone.inside_ms:11.3f}")
    for length in LENGTHS:
        one = figures[length]
        a_step = one.inside_ms / length
        print(
            f"{f'a workflow of {length} steps':34}{one.p50_ms:9.3f}{one.p99_ms:9.2f}{one.inside_ms:11.3f}"
            f"{a_step:11.3f}{a_step - alone.inside_ms:10.3f}"
        )
    most = max(LENGTHS)
    print(
        f"{most} direct calls of a caller: {most * alone.p50_ms:.1f} ms, as one workflow {figures[most].p50_ms:.1f} ms"
    )


if __name__ == "__main__":
    run(seconds=float(sys.argv[1]) if len(sys.argv) > 1 else 3.0)

"""Opens and closes what a server runs on, several times in one process: `python -m tests.e2e.left_behind LIVES`.

In each life an evaluation and an optimisation are worked off, and another of each is under way when it ends, which the
next one goes on with. It prints a line of JSON for each: the tasks, threads, descriptors and child processes that are
there afterwards.
"""

import asyncio
import gc
import json
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.e2e.applications import APP, BILLING, desk
from uhlp.evals import Dataset, Sample
from uhlp.evals.eval_record import EvalOrder
from uhlp.models.definition import AppDefinition
from uhlp.optimization.compress import OptimizeRequest
from uhlp.optimization.compress.optimize_run import Step
from uhlp.web.services import Services
from uhlp.wiring.server import open_services

COMPONENT = "classify"
WORDY = "Think about it, and then think about it once more before you say anything at all.\n  " * 6
BOUND_S = 60


def dataset() -> Dataset:
    return Dataset(samples=tuple(Sample(id=str(n), input={"text": f"Bill {n}"}, expected=BILLING) for n in range(30)))


async def live(life: int) -> None:
    async with open_services() as services:
        if life == 0:
            await register(services)
        await evaluated(services, lambda state: state == "done")
        await optimised(services, f"run-{life}", lambda step: step is Step.DONE)
        await optimised(services, f"run-{life + 1}", lambda step: step is not Step.QUEUED)
        await evaluated(services, lambda state: state in ("running", "queued"))


async def register(services: Services) -> None:
    body = desk()
    files = {path: text.encode() for path, text in body["files"].items()}
    prompt = files["prompts/classify.yaml"].decode().replace("  Ticket:", f"  {WORDY}Ticket:")
    files["prompts/classify.yaml"] = prompt.encode()
    await services.registry.register_application(AppDefinition.model_validate(body["definition"]), files=files)


async def evaluated(services: Services, is_enough: Callable[[str], bool]) -> None:
    record = await services.eval_runs.order(APP, EvalOrder(component_id=COMPONENT, samples=dataset()))

    async def state() -> bool:
        return is_enough((await services.eval_runs.get(APP, record.id)).state)

    await until(state)


async def optimised(services: Services, request_id: str, is_enough: Callable[[Step], bool]) -> None:
    request = OptimizeRequest(
        prompt_ns=APP, prompt_key=COMPONENT, component_id=COMPONENT, dataset=dataset(), strategies=("deterministic",),
        request_id=request_id,
    )  # fmt: skip
    await services.optimize_requests.send(request)

    async def step() -> bool:
        run = await services.optimize_runs.find(request_id)
        return run is not None and is_enough(run.step)

    await until(step)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(BOUND_S):
        while not await holds():  # noqa: ASYNC110  the store has no event for it
            await asyncio.sleep(0.02)


def there_is() -> dict[str, object]:
    gc.collect()
    threads = [one.name for one in threading.enumerate() if not one.name.startswith("asyncio_")]
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    tasks = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    return {"tasks": tasks, "threads": sorted(threads), "descriptors": descriptors, "children": children}


async def main(lives: int) -> None:
    for life in range(lives):
        await live(life)
        print(json.dumps(there_is()), flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))

"""Samples a second that are run and scored, with a model that takes no time: `python -m tests.bench.evals [samples]`.

Apart: the evaluation's own work (mailboxes, scoring, collecting) over a loop that answers at once, on each store; and
a whole server, whose runs go through sandboxes and the gateway to a provider.
"""

import asyncio
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx

from tests.bench.application import APP_ID, TICKET, register
from tests.bench.load import LOAD_CORE
from tests.bench.processes import ADMIN_TOKEN, asgi, uhlp_serve
from tests.bench.state import redis_server
from uhlp.errors import MailboxUnavailable
from uhlp.evals import Dataset, EvalLoop, EvalRequest, EvalResult, Evaluation, Exact, Sample
from uhlp.loops import LoopGroup
from uhlp.mailbox import InMemoryMailbox, Mailbox, MailboxFile, SqliteMailbox
from uhlp.mailbox.redis_mailbox import RedisMailbox
from uhlp.mailbox.redis_server import MailboxRedis
from uhlp.models.main_loop import MainLoopRequest, MainLoopResult

SERVER = "a server, its sandboxes and a provider"
_AT_ONCE = 8
_WINDOW = 32
_SHIPPING = {"queue": "shipping"}
Requests = Mailbox[EvalRequest, EvalResult]


class AnswersAtOnce:
    """A MainLoop whose model takes no time."""

    async def execute(self, request: MainLoopRequest) -> MainLoopResult:
        return MainLoopResult(request_id=request.request_id, output=_SHIPPING)


def dataset(samples: int) -> Dataset:
    return Dataset(
        samples=tuple(
            Sample(id=str(number), input={**TICKET, "subject": str(number)}, expected=_SHIPPING)
            for number in range(samples)
        )
    )


async def rate(requests: Requests, samples: int) -> float:
    """Samples a second of one evaluation."""
    data = dataset(samples)
    evaluation = Evaluation(requests=requests, window=_WINDOW)
    evals = EvalLoop(loop=AnswersAtOnce(), requests=requests, concurrency=_AT_ONCE)
    async with LoopGroup(loops=[evals, evaluation]):
        started = perf_counter()
        (report,) = await evaluation.evaluate(data, app_id=APP_ID, component_id="model", evaluator=Exact())
        took_s = perf_counter() - started
    if report.passed != samples:
        raise RuntimeError(f"only {report.passed} of {samples} samples passed")
    return samples / took_s


async def _on_stores(folder: Path, samples: int) -> dict[str, float]:
    figures: dict[str, float] = {}
    memory: InMemoryMailbox[EvalRequest, EvalResult] = InMemoryMailbox(name="evals", body=EvalRequest, reply=EvalResult)
    figures["memory"] = await rate(memory, samples)
    await memory.aclose()
    file = MailboxFile(folder / "mailbox.db")
    figures["sqlite"] = await rate(SqliteMailbox(name="evals", body=EvalRequest, reply=EvalResult, file=file), samples)
    await file.aclose()
    if shutil.which("redis-server") is not None:
        with redis_server(folder) as url:
            client = MailboxRedis(url)
            while True:
                try:
                    await client.ring("up")
                    break
                except MailboxUnavailable:
                    continue
            box: Requests = RedisMailbox(name="evals", body=EvalRequest, reply=EvalResult, client=client)
            figures["redis"] = await rate(box, samples)
            await client.aclose()
    return figures


def _on_a_server(samples: int) -> float:
    with asgi("tests.bench.provider:app", core=LOAD_CORE) as provider:
        environment = {
            "UHLP_LLM__PROVIDERS": json.dumps({"bench": {"kind": "openai", "base_url": f"{provider}/v1"}}),
            "UHLP_LLM__DEFAULT_MODEL": "bench",
            "UHLP_EVALS__CONCURRENCY": str(_AT_ONCE),
        }
        with uhlp_serve(environment) as running:
            register(running.url)
            headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
            place = f"{running.url}/admin/v1/apps/{APP_ID}/evals"
            with httpx.Client(headers=headers, timeout=60, trust_env=False) as http:
                _evaluated(http, place, 20)  # the sandbox is there
                record = _evaluated(http, place, samples)
    figures = record["figures"]
    if figures["passed"] != samples:
        raise RuntimeError(f"only {figures['passed']} of {samples} samples passed")
    return float(samples / (record["endedAt"] - record["createdAt"]))


def _evaluated(http: httpx.Client, place: str, samples: int) -> dict[str, Any]:
    order = {"componentId": "model", "samples": dataset(samples).model_dump(mode="json", by_alias=True)}
    answer = http.post(place, json=order)
    answer.raise_for_status()
    eval_id = answer.json()["id"]
    while True:
        record: dict[str, Any] = http.get(f"{place}/{eval_id}").json()
        if record["state"] not in ("queued", "running"):
            return record
        time.sleep(0.1)


def run(*, samples: int = 1_000) -> dict[str, float]:
    """Measure and print; the figures by their names."""
    with tempfile.TemporaryDirectory(prefix="uhlp-bench-") as folder:
        stores = asyncio.run(_on_stores(Path(folder), samples))
    figures = {f"{store}, a loop that answers at once, samples/s": figure for store, figure in stores.items()}
    figures[f"{SERVER}, samples/s"] = _on_a_server(samples)
    for what, figure in figures.items():
        print(f"{what:56}{figure:12,.0f}")
    return figures


if __name__ == "__main__":
    run(samples=int(sys.argv[1]) if len(sys.argv) > 1 else 1_000)

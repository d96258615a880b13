"""SlowWork: steps of a soak that begin something and wait until it is done."""

import time
from collections.abc import Callable
from typing import Any

import httpx

from tests.e2e.applications import BILLING
from tests.e2e.soak.applications import DESK, SHOP
from tests.e2e.soak.load import PATIENCE_S, Wrong, right

_LOOK_EVERY_S = 0.1
_OVERRIDES = f"/admin/v1/apps/{DESK}/prompts/classify/overrides"
_EVALUATIONS = f"/admin/v1/apps/{DESK}/evals"
_SAMPLES = 5


class SlowWork:
    """A run that a callback wakes; a set of overrides that is put, evaluated and removed."""

    def __init__(self, *, admin: dict[str, str], shop_key: str) -> None:
        self._admin = admin
        self._shop_key = {"X-API-Key": shop_key}

    def approval(self, http: httpx.Client, number: int) -> str:
        sent = {"orderId": f"o-{number}"}
        begun = http.post(f"/apps/{SHOP}/approvals", json=sent, headers={"Prefer": "respond-async"})
        right(begun, 202)
        place = begun.headers["Location"]

        def run() -> dict[str, Any]:
            return dict(http.get(place).json())

        _until(lambda: run()["state"] == "waiting", "the run waits")
        callback = f"/apps/{SHOP}/-/callbacks/approved?correlation=o-{number}"
        right(http.post(callback, json={"count": number}, headers=self._shop_key), 202)
        _until(lambda: run()["state"] not in ("waiting", "running"), "the run is done")
        done = run()
        if (done["state"], done["result"]) != ("succeeded", {"usd": 4.0 * number}):
            raise Wrong(str(done))
        return ""

    def evaluation(self, http: httpx.Client, number: int) -> str:
        tag = f"opt-{number}"
        (section,) = http.get(_OVERRIDES, headers=self._admin).json()["sections"]
        other = {"path": [section["key"]], "expectedHash": section["sha256"], "body": "Which queue? {{ text }}"}
        right(http.post(_OVERRIDES, json={"tag": tag, "overrides": [other], "ttlS": 600}, headers=self._admin), 200)
        samples = [{"id": str(at), "input": {"text": f"Bill {number}, {at}"}, "expected": BILLING}
                   for at in range(_SAMPLES)]  # fmt: skip
        order = {"componentId": "classify", "tag": tag, "samples": {"samples": samples}}
        ordered = http.post(_EVALUATIONS, json=order, headers=self._admin)
        right(ordered, 202)
        place = f"{_EVALUATIONS}/{ordered.json()['id']}"

        def record() -> dict[str, Any]:
            return dict(http.get(place, headers=self._admin).json())

        _until(lambda: record()["state"] not in ("queued", "running"), "the evaluation is done")
        done = record()
        if (done["state"], done["figures"]["passed"]) != ("done", _SAMPLES):
            raise Wrong(str(done)[:300])
        right(http.delete(f"{_OVERRIDES}/{tag}", headers=self._admin), 200)
        return ""


def _until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > deadline:
            raise Wrong(f"not within {PATIENCE_S:g} s: {what}")
        time.sleep(_LOOK_EVERY_S)

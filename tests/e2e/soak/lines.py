"""Lines: lines of orders for the component that is promoted and rolled back, and what is right for each."""

import random
import threading

import httpx

from tests.e2e.soak.applications import LINES, ORDERS
from tests.e2e.soak.load import right
from uhlp.demo.simulated_model.tasks import order_lines
from uhlp.demo.traffic import generator

_DICE = random.Random(1)


class Lines:
    """A step of a load; each line is another one, and says who answered it: `llm` or `jit`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines = generator(LINES, seed=1)

    def __call__(self, http: httpx.Client, number: int) -> str:
        with self._lock:
            body = next(self._lines)
        answer = http.post(f"/apps/{ORDERS}/{LINES}", json=body)
        right(answer, 200, order_lines.answer(body["line"], _DICE))
        return answer.headers["X-UHLP-Handler"]
